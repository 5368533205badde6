"""The `openai` package: BASE_URL RECORDING."""

import asyncio
import base64
import io
import sys
from pathlib import Path
from typing import Any

import soundfile
from openai import AsyncOpenAI

ORDER = (
    "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
    "response.created", "response.output_audio.delta", "response.output_audio.done",
)  # fmt: skip

TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


def told(what: str) -> None:
    print(f"openai (Python)\t{what}", flush=True)


def picture() -> str:
    """A red square as a data URL."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def pcm(recording: Path) -> bytes:
    """Its samples, 24 kHz, and 1.5 s of silence."""
    wave, rate = soundfile.read(recording, dtype="int16")
    assert rate == 24_000
    return bytes(wave.tobytes()) + bytes(72_000)


class Events:
    """What a connection received."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.seen: list[Any] = []                                       # of the package's own types

    async def until(self, kind: str) -> list[Any]:
        """All events up to the first of this kind."""
        start = len(self.seen)
        while True:
            try:
                event = await asyncio.wait_for(self.connection.recv(), 60)
            except TimeoutError:
                raise AssertionError(f"no {kind} after {[event.type for event in self.seen[start:]]}") from None
            assert event.type != "error", event
            self.seen.append(event)
            if event.type == kind:
                return self.seen[start:]


async def written(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="omni") as connection:
        events = Events(connection)
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await connection.conversation.item.create(item={
            "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello"}],
        })  # fmt: skip
        await connection.response.create()
        seen = await events.until("response.done")
        text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
        item = seen[-1].response.output[0]
        assert text == item.content[0].text and seen[-1].response.status == "completed"
        await connection.conversation.item.retrieve(item_id=item.id)
        assert (await events.until("conversation.item.retrieved"))[-1].item.id == item.id
        await connection.conversation.item.delete(item_id=item.id)
        await events.until("conversation.item.deleted")
    told("realtime: a text is answered in text, the item retrieved and deleted")


async def spoken(client: AsyncOpenAI, recording: Path) -> None:
    async with client.realtime.connect(model="omni") as connection:
        events, sound = Events(connection), pcm(recording)
        audio: Any = {"input": {"transcription": {"model": "whisper-1"}}, "output": {"voice": "marin"}}
        await connection.session.update(session={"type": "realtime", "audio": audio})
        await connection.conversation.item.create(item={
            "type": "message", "role": "user", "content": [{"type": "input_image", "image_url": picture()}],
        })  # fmt: skip
        await events.until("session.updated")

        async def speak() -> None:
            for first in range(0, len(sound), 4800):
                await connection.input_audio_buffer.append(audio=base64.b64encode(sound[first : first + 4800]).decode())
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        seen = await events.until("response.done")
        await speaking
        kinds = [event.type for event in events.seen]
        assert [kind for kind in dict.fromkeys(kinds) if kind in ORDER] == list(ORDER), kinds
        voice = b"".join(base64.b64decode(event.delta) for event in seen if event.type == "response.output_audio.delta")
        item, ms = seen[-1].response.output[0], len(voice) // 48
        await connection.conversation.item.truncate(item_id=item.id, content_index=0, audio_end_ms=ms // 2)
        await events.until("conversation.item.truncated")
        if not any(event.type == TRANSCRIBED for event in events.seen):
            await events.until(TRANSCRIBED)
    told(f"realtime: a picture and speech are answered by {ms} ms of speech, which is truncated; both transcribed")


async def transcribed(client: AsyncOpenAI, recording: Path) -> None:
    """A session that only writes down: its address has no model, as the API documents it."""
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        events, sound = Events(connection), pcm(recording)
        await events.until("session.created")
        audio: Any = {"input": {
            "transcription": {"model": "gpt-4o-transcribe", "language": "en"}, "turn_detection": {"type": "server_vad"},
        }}  # fmt: skip
        await connection.session.update(session={"type": "transcription", "audio": audio})
        assert (await events.until("session.updated"))[-1].session.type == "transcription"
        for first in range(0, len(sound), 4800):
            data = base64.b64encode(sound[first : first + 4800]).decode()
            await connection.input_audio_buffer.append(audio=data)
        seen = await events.until(TRANSCRIBED)
        text = "".join(event.delta for event in seen if event.type == TRANSCRIBED.replace("completed", "delta"))
        assert text == seen[-1].transcript != ""
        assert not any(event.type.startswith("response.") for event in seen)
    told("realtime: a session of type transcription writes down what is said, and answers nothing")


async def chat(client: AsyncOpenAI, recording: Path) -> None:
    data = base64.b64encode(recording.read_bytes()).decode()
    content: Any = [
        {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
        {"type": "image_url", "image_url": {"url": picture()}},
        {"type": "text", "text": "What is this?"},
    ]
    asked: Any = {"model": "omni", "messages": [{"role": "user", "content": content}], "modalities": ["text", "audio"]}
    whole = await client.chat.completions.create(**asked, audio={"voice": "alloy", "format": "wav"})
    audio = whole.choices[0].message.audio
    assert audio is not None and whole.usage is not None
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(audio.data)))
    assert len(wave) and whole.usage.completion_tokens
    pieces = []
    streamed = await client.chat.completions.create(**asked, audio={"voice": "alloy", "format": "pcm16"}, stream=True)
    async for chunk in streamed:
        delta: Any = chunk.choices[0].delta.model_dump().get("audio") or {}
        pieces.append(base64.b64decode(delta.get("data") or ""))
    assert len(b"".join(pieces)) > 0
    hello: Any = [{"role": "user", "content": "Hello"}]
    text = await client.chat.completions.create(model="omni", messages=hello, max_tokens=20)
    assert text.choices[0].message.content is not None
    seconds = len(wave) / rate
    told(f"chat: speech, picture and text in; {seconds:.1f} s of wav, pcm16 in {len(pieces)} pieces, and text out")


async def rest(client: AsyncOpenAI, recording: Path) -> None:
    models = [model.id async for model in client.models.list()]
    assert (await client.models.retrieve(models[0])).id == models[0]
    speech = await client.audio.speech.create(model="omni", voice="alloy", input="one two", response_format="wav")
    assert speech.content[:4] == b"RIFF"
    async with client.audio.speech.with_streaming_response.create(
        model="omni", voice="alloy", input="one two", response_format="pcm"
    ) as response:
        streamed = b"".join([chunk async for chunk in response.iter_bytes()])
    assert len(streamed) > 0 and len(streamed) % 2 == 0
    mp3 = await client.audio.speech.create(model="omni", voice="alloy", input="one two")
    assert len(soundfile.read(io.BytesIO(mp3.content))[0])
    with recording.open("rb") as file:
        whole = await client.audio.transcriptions.create(model="omni", file=file)
    assert isinstance(whole.text, str)
    with recording.open("rb") as file:
        stream = await client.audio.transcriptions.create(model="omni", file=file, stream=True)
        pieces = [event async for event in stream]
    assert pieces[-1].type == "transcript.text.done"
    drawn = await client.images.generate(model="omni", prompt="an owl", n=1)
    assert drawn.data and base64.b64decode(drawn.data[0].b64_json or "")[:4] == b"\x89PNG"
    told(f"models ({', '.join(models)}); speech wav, streamed pcm and mp3; transcription whole and streamed; a picture")


async def main(base: str, recording: Path) -> None:
    client = AsyncOpenAI(base_url=base, api_key="none", max_retries=0, timeout=120)
    await written(client)
    await spoken(client, recording)
    await transcribed(client, recording)
    await chat(client, recording)
    await rest(client, recording)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
