"""kill -9 of the model's process: its sessions are told, the door stays up, and a new process takes its place."""

import asyncio
import json
import os
import signal
import time
from contextlib import AsyncExitStack
from typing import Any

from fuzzing.client import PATIENCE, Client, FoundError, asked, models, session
from fuzzing.states import called, idle, interrupted, responding, speech, transcribing
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from omni.live.hearing.pcm import Wave

BROKEN = 1011                                                           # close code (RFC 6455, 7.4.1)
REACHED = (idle, speech, transcribing, called, interrupted, responding)


async def killed(url: str, door: int, voice: Wave) -> float:
    """Kill it while sessions are in several states. Returns seconds until a new one answers."""
    async with AsyncExitStack() as stack:
        clients = []
        for reach in REACHED:
            client = await stack.enter_async_context(session(url))
            await reach(client, voice)
            clients.append(client)
        (model,) = models(door)
        os.kill(model, signal.SIGKILL)
        began = time.monotonic()
        await asyncio.gather(*(told(client, reach.__name__) for client, reach in zip(clients, REACHED, strict=True)))
        health = json.loads(await asyncio.to_thread(asked, url, "/healthz"))
        if health != {"status": "starting", "models": 0, "sessions": 0}:
            raise FoundError(f"without its model the door says {health}")
    while time.monotonic() - began < 2 * PATIENCE:
        if await opened(url):
            return time.monotonic() - began
        await asyncio.sleep(0.5)
    raise FoundError("the model did not return")


async def told(client: Client, state: str) -> None:
    """The session is told that its model died, and closed for it; an answer that was being given has failed."""
    events: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(20):
            async for message in client.socket:
                events.append(json.loads(message))
        code = client.socket.close_code
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else None
    if not any(event["type"] == "error" and event["error"]["code"] == "model_died" for event in events):
        raise FoundError(f"a session in the state {state} was not told that its model died")
    if code != BROKEN:
        raise FoundError(f"a session in the state {state} was closed with {code} when its model died")
    begun = {event["response"]["id"] for event in client.seen + events if event["type"] == "response.created"}
    ended = {event["response"]["id"] for event in client.seen + events if event["type"] == "response.done"}
    if begun != ended:
        raise FoundError(f"a response in the state {state} never ended when its model died")


async def opened(url: str) -> bool:
    """Whether a session can be opened; the door says why where not."""
    async with connect(url, compression=None, proxy=None) as socket:
        first = json.loads(await socket.recv())
    if first["type"] == "error" and first["error"]["code"] != "server_full":
        raise FoundError(f"the door refuses for another reason than its dead model: {first}")
    return bool(first["type"] == "session.created")
