"""Events that are malformed, of wrong types, huge, rubbish or out of place, and frames beyond the limit."""

import asyncio
import base64
import json
import random
from collections.abc import Iterator
from typing import Any

from fuzzing.client import MEBIBYTE, TEXT, Client, FoundError, session
from websockets.exceptions import ConnectionClosed

from omni.live.protocol.events import KINDS

DETECTION = (
    "type", "threshold", "prefix_padding_ms", "silence_duration_ms", "idle_timeout_ms", "eagerness", "create_response",
    "interrupt_response",
)  # fmt: skip
SOUND = base64.b64encode(bytes(9600)).decode()
LIMIT = 16 * MEBIBYTE                                                   # of one message (omni.live.http.door)
TOO_BIG = 1009                                                          # close code (RFC 6455, 7.4.1)
# Each is of the right shape, and wrong where nothing, or not enough, came before it.
MISPLACED: tuple[dict[str, Any], ...] = (
    {"type": "response.cancel"},
    {"type": "response.cancel", "response_id": "resp_nobody"},
    {"type": "input_audio_buffer.commit"},
    {"type": "output_audio_buffer.clear"},
    {"type": "conversation.item.truncate", "item_id": "item_nobody", "content_index": 0, "audio_end_ms": 100},
    {"type": "conversation.item.delete", "item_id": "item_nobody"},
    {"type": "conversation.item.retrieve", "item_id": "item_nobody"},
    {"type": "conversation.item.create", "item": {**TEXT, "id": "twice"}},
    {"type": "conversation.item.create", "item": TEXT, "previous_item_id": "item_nobody"},
    {"type": "conversation.item.create",
     "item": {"type": "function_call_output", "call_id": "call_nobody", "output": "7"}},
    {"type": "response.create"},
    {"type": "response.create", "response": {"input": [{"type": "item_reference", "id": "item_nobody"}]}},
    {"type": "response.create", "response": {"conversation": "none", "input": []}},
    {"type": "session.update", "session": {"type": "transcription"}},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"output": {"voice": "nobody"}}}},
    {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}},
)  # fmt: skip


def wrong(draw: random.Random) -> str:
    """One event; now and then it is a right one."""
    kind = draw.choice([*KINDS, "nothing", "", "response.audio.delta"])
    event: dict[str, Any] = {"type": kind, "event_id": draw.choice(["a", 7, None, "x" * 2000])}
    for name in draw.sample(
        ["audio", "item", "item_id", "response", "session", "content_index", "audio_end_ms", "previous_item_id"], 4
    ):
        event[name] = value(draw, 0)
    match draw.randrange(13):
        case 0:
            return draw.choice(["", "{", "null", "7", '"x"', "[" * 5000, '{"type":', "\u0000", "{}", '{"type": []}'])
        case 1:
            return json.dumps(event)[: draw.randrange(1, 60)]
        case 2:
            # no million of "A": that is 16 s of sound, for which the door has its sender wait, as it should
            return json.dumps({"type": "input_audio_buffer.append", "audio": draw.choice(["AAA", "AAAA", "@" * 10**6])})
        case 3:
            sound = draw.choice(["@@", "AAA=", SOUND, SOUND[:-2]])
            return json.dumps({"type": "input_audio_buffer.append", "audio": sound})
        case 4:
            return json.dumps({"type": "conversation.item.create", "item": {**TEXT, "content": value(draw, 0)}})
        case 5:
            return json.dumps({"type": "session.update", "session": {"type": "realtime", "audio": value(draw, 0)}})
        case 6:
            return json.dumps({"type": draw.choice(list(KINDS))})
        case 7 | 8:
            return json.dumps(draw.choice(MISPLACED))
        case 9:
            return json.dumps({"type": "session.update", "session": mistyped(draw)})
    return json.dumps(event)


def mistyped(draw: random.Random) -> dict[str, Any]:
    """A session with fields of the right names."""
    kind = draw.choice(["server_vad", "semantic_vad"])
    vad = {"type": kind, **{name: value(draw, 3) for name in draw.sample(DETECTION, 2)}}
    rest = {draw.choice(["max_output_tokens", "instructions", "tools", "tool_choice"]): value(draw, 3)}
    return {"type": "realtime", "audio": {"input": {"turn_detection": vad}}, **rest}


def value(draw: random.Random, depth: int) -> Any:
    if depth < 3 and draw.random() < 0.4:
        names = ["type", "input", "output", "format", "voice", "text", "content", "turn_detection", "role", "rate"]
        return draw.choice([
            {name: value(draw, depth + 1) for name in draw.sample(names, 3)},
            [value(draw, depth + 1) for _ in range(3)],
        ])  # fmt: skip
    return draw.choice([
        None, True, -1, 10**30, 1e308, 500.0, 0.5, "", "x", "0.7", "500", "false", "\ud800", "\u202e", "message",
        "user", SOUND, [], {},
    ])  # fmt: skip


async def events(url: str, count: int, seed: int) -> None:
    """Every wrong event is answered, none by a fault of the server, and the session goes on."""
    draw, sent = random.Random(seed), 0
    while sent < count:
        async with session(url) as client, asyncio.TaskGroup() as group:
            group.create_task(to_the_end(client))
            for _ in range(min(200, count - sent)):
                await client.socket.send(wrong(draw))
                sent += 1
                await asyncio.sleep(0.004)                              # below the door's rate
            await client.send("conversation.item.delete", item_id="item_nobody", event_id="the last")


async def to_the_end(client: Client) -> None:
    """Read until the last event is answered."""
    while True:
        event = await client.until("error")
        if event["error"]["event_id"] == "the last":
            return
        client.seen.clear()


async def frames(url: str) -> None:
    """A message beyond the limit costs its sender the connection and nobody else anything; one within it, nothing."""
    async with session(url) as bystander:
        for message in (oversized(), oversized().encode(), pieces(oversized())):
            await shut_out(url, message)
        async with session(url) as client:
            within = json.dumps({"type": "input_audio_buffer.append", "audio": "@", "event_id": "large"})
            await client.socket.send(within + " " * (LIMIT - len(within)))
            assert (await client.until("error"))["error"]["event_id"] == "large"
        await bystander.send("conversation.item.create", item=TEXT)
        await bystander.until("conversation.item.done")


async def shut_out(url: str, message: str | bytes | Iterator[str]) -> None:
    async with session(url) as client:
        try:
            await client.socket.send(message)
            event = await client.read()
        except ConnectionClosed as closed:
            if closed.rcvd is None or closed.rcvd.code != TOO_BIG:
                raise FoundError(f"a message beyond the limit ends the connection with {closed.rcvd}") from None
        else:
            raise FoundError(f"a message beyond the limit was answered by {event['type']}")


def oversized() -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": "A" * LIMIT})


def pieces(text: str) -> Iterator[str]:
    """As frames of one message, each within the limit."""
    for start in range(0, len(text), MEBIBYTE):
        yield text[start : start + MEBIBYTE]
