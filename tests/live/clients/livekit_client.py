"""LiveKit's OpenAI plugin, its realtime session without a room: BASE_URL RECORDING"""

import asyncio
import sys
import wave

from livekit import rtc
from livekit.agents import llm
from livekit.plugins.openai import realtime


async def answer(generation: llm.GenerationCreatedEvent) -> tuple[str, float]:
    """The text of an answer and its seconds of sound."""
    text, seconds = "", 0.0
    async for message in generation.message_stream:
        async for piece in message.text_stream:
            text += str(piece)
        async for frame in message.audio_stream:
            seconds += frame.duration
    return text, seconds


async def main(base: str, recording: str) -> None:
    model = realtime.RealtimeModel(base_url=base, api_key="none")
    session = model.session()
    errors: list[object] = []
    session.on("error", errors.append)
    generations: asyncio.Queue[llm.GenerationCreatedEvent] = asyncio.Queue()
    session.on("generation_created", generations.put_nowait)
    started = asyncio.Event()
    session.on("input_speech_started", lambda _: started.set())
    await session.update_instructions("Answer briefly.")
    with wave.open(recording) as file:
        sound = file.readframes(file.getnframes()) + bytes(72_000)
    async with asyncio.timeout(90):
        for first in range(0, len(sound), 4800):
            piece = sound[first : first + 4800]
            session.push_audio(rtc.AudioFrame(piece, 24_000, 1, len(piece) // 2))
            await asyncio.sleep(0.1)
        _, spoken = await answer(await generations.get())
        assert started.is_set()
        written = await session.generate_reply(instructions="Say hello.")
        _, replied = await answer(written)
        cut = await session.generate_reply(instructions="Say the alphabet.")
        message = await anext(aiter(cut.message_stream))
        await anext(aiter(message.audio_stream))
        session.interrupt()
        session.truncate(message_id=message.message_id, modalities=["audio"], audio_end_ms=1)
        await asyncio.sleep(1)
    await session.aclose()
    await model.aclose()
    assert spoken and replied and not errors, (spoken, replied, errors)
    lengths = f"speech is answered by {spoken:.1f} s of speech, a reply on demand has {replied:.1f} s"
    print(f"livekit-plugins-openai\t{lengths}, a third is interrupted")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
