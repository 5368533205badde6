"""Many sessions: at once, one after the other, apart from each other, and one that never reads."""

import asyncio
import json
import secrets
import time
from typing import Any

import numpy as np
from fuzzing.client import Client, FoundError, counted, emptied, handles, memory, session, silence
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from omni.live.hearing.pcm import Wave

ASKED, LONG = 1500, 4000                                                # by a client that does not read; words of each
ANSWERS = 10                                                            # of so many sessions one is answered


async def many(url: str, count: int) -> tuple[int, int]:
    """So many connections at once: (served, refused with a reason)."""

    async def one() -> bool:
        try:
            async with asyncio.timeout(60), connect(url, compression=None, proxy=None, open_timeout=50) as socket:
                first = json.loads(await socket.recv())
                if first["type"] == "error":
                    assert first["error"]["code"] == "server_full", first
                    return False
                await asyncio.sleep(1)
                return True
        except ConnectionClosed:
            return False

    served = await asyncio.gather(*(one() for _ in range(count)))
    return sum(served), count - sum(served)


async def slow(url: str) -> float:
    """A client that asks for long answers and never reads them is shut out. Returns seconds until it is."""
    taken = 'omni_client_events_total{type="session.update"}'
    before = counted(url, taken)
    socket = await connect(url, compression=None, proxy=None, max_queue=1)
    client = Client(socket)
    await client.send("session.update", session={"type": "realtime", "instructions": "long " * LONG})
    await client.until("session.updated")                               # refused, they would not make answers long
    socket.transport.pause_reading()
    began = time.monotonic()
    for _ in range(ASKED):                                              # 30 MiB of answers
        await client.send("session.update", session={"type": "realtime"})
        await asyncio.sleep(0.006)
    while await asyncio.to_thread(counted, url, "omni_sessions"):
        if time.monotonic() - began > 60:
            raise FoundError("a reader that never reads is not shut out")
        await asyncio.sleep(0.1)
    socket.transport.abort()
    if counted(url, taken) - before > ASKED:                            # it was shut out because no ping came back
        raise FoundError("a reader that never reads was answered to the end")
    return time.monotonic() - began


async def churn(url: str, door: int, sessions: int, voice: Wave) -> tuple[float, float, int]:
    """So many sessions that speak, of which every tenth is answered: memory of door and models, in MiB, after the
    first of them and after all, and how many were answered. Raises FoundError where it grows, or files stay open.

    The first are a tenth or ten: before that the model's process has not yet been as large as it gets. Sessions that
    have just ended may take a busy machine some time.
    """
    early, opened, answered = 0.0, 0, 0
    for number in range(sessions):
        async with session(url) as client:
            if number % ANSWERS:
                await client.hear(voice)
                await client.until("input_audio_buffer.speech_started")
            else:
                await client.hear(np.concatenate((voice, silence(1.5))))
                response = (await client.until("response.done"))["response"]
                assert response["status"] in ("completed", "incomplete"), response
                answered += 1
        if number == max(10, sessions // 10):
            await emptied(url, "churn")
            early, opened = memory(door), handles(door)
    await emptied(url, "churn")
    for _ in range(30):
        if not grown(early, memory(door)):
            break
        await asyncio.sleep(1)
    else:
        raise FoundError(f"memory grows with the number of sessions: {early:.0f} MiB, then {memory(door):.0f}")
    if handles(door) > opened + 5:
        raise FoundError(f"open files grow with the number of sessions: {opened}, then {handles(door)}")
    return early, memory(door), answered


def grown(early: float, late: float) -> bool:
    """Whether that is more than what allocators keep."""
    return late > early * 1.1 + 20


async def apart(url: str, count: int) -> None:
    """No session sees what another says, has, or is answered, nor can it touch it: so many at once, all alike by name.

    The model's side too: an answer is billed for what its own session has said, in a crowd as alone.
    """
    words = [f"{secrets.token_hex(8)} " + "again " * number for number in range(count)]
    alone = [await billed(url, text) for text in words]
    async with asyncio.TaskGroup() as group:
        ready = asyncio.Barrier(count)
        known: dict[int, dict[str, Any]] = {}
        tasks = [group.create_task(member(url, number, words, ready, known)) for number in range(count)]
    if [task.result() for task in tasks] != alone:
        raise FoundError(f"answers in a crowd are billed {[task.result() for task in tasks]}, alone {alone}")


async def member(
    url: str, number: int, words: list[str], ready: asyncio.Barrier, known: dict[int, dict[str, Any]]
) -> int:  # fmt: skip
    """One of the crowd: says its words, is answered, and reaches for what the next one has."""
    async with session(url) as client:
        await ready.wait()
        response = known[number] = await answered(client, words[number])
        await ready.wait()
        other = known[(number + 1) % len(words)]
        await refused(client, "conversation.item.retrieve", item_id=other["output"][0]["id"])
        await refused(client, "conversation.item.delete", item_id=other["output"][0]["id"])
        await refused(client, "response.cancel", response_id=other["id"])
        await client.send("conversation.item.retrieve", item_id="mine")
        own = await client.until("conversation.item.retrieved")
        if own["item"]["content"][0]["text"] != words[number]:
            raise FoundError(f"a session has what another said: {own}")
        await ready.wait()
        told = "".join(json.dumps(event) for event in client.seen if event["type"] != "error")
        foreign = [text.split()[0] for at, text in enumerate(words) if at != number]
        foreign += [one["id"] for at, each in known.items() if at != number for one in (each, *each["output"])]
        if seen := [mark for mark in foreign if mark in told]:
            raise FoundError(f"a session was sent what is another's: {seen}")
    return int(response["usage"]["input_tokens"])


async def refused(client: Client, kind: str, **fields: str) -> None:
    await client.send(kind, **fields)
    event = await client.read()
    if event["type"] != "error":
        raise FoundError(f"{kind} reaches another session: {event}")


async def answered(client: Client, text: str) -> dict[str, Any]:
    """The response to these words, whose item has the same name in every session."""
    item = {"id": "mine", "type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    await client.send("conversation.item.create", item=item)
    await client.send("response.create", response={"max_output_tokens": 50})
    response: dict[str, Any] = (await client.until("response.done"))["response"]
    return response


async def billed(url: str, text: str) -> int:
    """Tokens that the model is given for these words."""
    async with session(url) as client:
        return int((await answered(client, text))["usage"]["input_tokens"])
