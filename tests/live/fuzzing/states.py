"""Clients that go away without a word, in every state that a session can be in."""

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from fuzzing.client import TEXT, Client, FoundError, emptied, session, silence

from omni.live.hearing.pcm import Wave

TRIES = 5                                                               # where the model may be quicker than we are
BY_HAND = {"turn_detection": None}
WRITTEN = {"turn_detection": None, "transcription": {"model": "whisper-1"}}
CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Paris"}'}
FUNCTION = {
    "type": "function", "name": "weather", "description": "The weather in a city.",
    "parameters": {"properties": {"city": {"type": "string"}}, "required": ["city"], "type": "object"},
}  # fmt: skip
Reach = Callable[[Client, Wave], Awaitable[None]]


async def idle(client: Client, voice: Wave) -> None:
    """The session is open and nothing was said."""


async def updated(client: Client, voice: Wave) -> None:
    await client.send("session.update", session={"type": "realtime", "output_modalities": ["text"]})
    await client.until("session.updated")


async def speech(client: Client, voice: Wave) -> None:
    """The user is in the middle of a sentence."""
    await client.hear(np.concatenate((silence(0.3), voice[: len(voice) // 2])))
    await client.until("input_audio_buffer.speech_started")
    absent(client, "input_audio_buffer.speech_stopped")


async def stopped(client: Client, voice: Wave) -> None:
    await client.hear(np.concatenate((silence(0.3), voice, silence(1.5))))
    await client.until("input_audio_buffer.speech_started")
    await client.until("input_audio_buffer.speech_stopped")


async def committed(client: Client, voice: Wave) -> None:
    await by_hand(client, voice, BY_HAND)
    absent(client, "response.created")


async def transcribing(client: Client, voice: Wave) -> None:
    """What was said is being written down."""
    await by_hand(client, voice, WRITTEN)
    await client.until("conversation.item.input_audio_transcription.delta")
    absent(client, "conversation.item.input_audio_transcription.completed")


async def created(client: Client, voice: Wave) -> None:
    """A response has begun and said nothing yet."""
    await client.send("conversation.item.create", item=TEXT)
    await client.send("response.create")
    await client.until("response.created")


async def responding(client: Client, voice: Wave) -> None:
    await created(client, voice)
    await client.until("response.output_audio.delta")
    absent(client, "response.done")


async def answered_aloud(client: Client, voice: Wave) -> None:
    """What was said aloud is being answered."""
    await stopped(client, voice)
    await client.until("response.output_audio.delta")
    absent(client, "response.done")


async def interrupted(client: Client, voice: Wave) -> None:
    """The user speaks into an answer, which is stopped."""
    for _ in range(TRIES):
        await responding(client, voice)
        await client.hear(np.concatenate((silence(0.1), voice)))
        done = await client.until("response.done")
        if done["response"]["status"] == "cancelled":
            assert done["response"]["status_details"]["reason"] == "turn_detected", done
            return
        await client.send("input_audio_buffer.clear")
        client.seen.clear()
    raise FoundError("interrupted: no answer was stopped by speech")


async def cancelled(client: Client, voice: Wave) -> None:
    for _ in range(TRIES):
        await created(client, voice)
        await client.send("response.cancel")
        if (await client.until("response.done"))["response"]["status"] == "cancelled":
            return
    raise FoundError("cancelled: no answer could be cancelled")


async def called(client: Client, voice: Wave) -> None:
    """A call of the client's function stands in the conversation, and nobody has told what it returns."""
    await client.send("conversation.item.create", item=CALL)
    item = (await client.until("conversation.item.done"))["item"]
    assert item["type"] == "function_call", item


async def calling(client: Client, voice: Wave) -> None:
    """The model itself has called it; of a model that was taught to (tests/live/clients/calls)."""
    await client.send("session.update", session={"type": "realtime", "tools": [FUNCTION]})
    item = {**TEXT, "content": [{"type": "input_text", "text": "What is the weather in Paris?"}]}
    await client.send("conversation.item.create", item=item)
    await client.send("response.create")
    await client.until("response.function_call_arguments.done")
    (call,) = (await client.until("response.done"))["response"]["output"]
    assert call["type"] == "function_call", call


async def returned(client: Client, voice: Wave) -> None:
    """It has returned, and the answer to that has begun."""
    await called(client, voice)
    output = {"type": "function_call_output", "call_id": CALL["call_id"], "output": "rain"}
    await client.send("conversation.item.create", item=output)
    await client.send("response.create")
    await client.until("response.created")


async def done(client: Client, voice: Wave) -> None:
    await responding(client, voice)
    response = (await client.until("response.done"))["response"]
    assert response["status"] in ("completed", "incomplete"), response


STATES: tuple[Reach, ...] = (
    idle, updated, speech, stopped, committed, transcribing, created, responding, answered_aloud, interrupted,
    cancelled, called, returned, done,
)  # fmt: skip


async def leave(url: str, voice: Wave, states: Sequence[Reach]) -> None:
    """Reach each state and go, once by cutting the connection and once by closing it; nothing may be kept."""
    for reach in states:
        for cut in (True, False):
            async with session(url) as client:
                await reach(client, voice)
                if cut:
                    client.socket.transport.abort()
            await emptied(url, f"disconnected at {reach.__name__}")


async def by_hand(client: Client, voice: Wave, how: dict[str, object]) -> None:
    """The client tells itself that all was said."""
    await client.send("session.update", session={"type": "realtime", "audio": {"input": how}})
    await client.hear(voice)
    await client.send("input_audio_buffer.commit")
    await client.until("input_audio_buffer.committed")


def absent(client: Client, kind: str) -> None:
    """The state has not passed yet."""
    if kind in client.kinds:
        raise FoundError(f"{kind} came too early: {client.kinds}")
