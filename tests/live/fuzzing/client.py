"""A client of the server under test, and what can be seen of the server from outside."""

import asyncio
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from omni.live.hearing.pcm import Wave, to_base64

TEXT = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Count to ten."}]}
PATIENCE = 60.0                                                         # seconds until a server counts as mute
MEBIBYTE = 1 << 20


class FoundError(Exception):
    """A fault of the server: what a run is for."""


class Client:
    """One session over the wire. `seen` is all that was read of what the server sent."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def hear(self, wave: Wave, chunk: int = 4800) -> None:
        """Have the server hear a wave at 24 kHz, all at once."""
        for start in range(0, len(wave), chunk):
            sound = to_base64(wave[start : start + chunk], "audio/pcm")
            await self.send("input_audio_buffer.append", audio=sound)

    async def read(self) -> dict[str, Any]:
        """The next event. Raises FoundError for a fault that the server admits, or none for so long."""
        try:
            async with asyncio.timeout(PATIENCE):
                event: dict[str, Any] = json.loads(await self.socket.recv())
        except TimeoutError:
            raise FoundError(f"a session says nothing any more after {self.kinds[-5:]}") from None
        self.seen.append(event)
        if event["type"] == "error" and event["error"]["type"] == "server_error":
            raise FoundError(f"a fault of the server: {event['error']['message']}")
        return event

    async def until(self, *kinds: str) -> dict[str, Any]:
        """The first event of one of these types. Raises FoundError where it does not come."""
        while True:
            try:
                event = await self.read()
            except ConnectionClosed as closed:
                raise FoundError(f"no {' or '.join(kinds)} before the end ({closed})") from None
            if event["type"] in kinds:
                return event

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.seen]


@asynccontextmanager
async def session(url: str, **how: Any) -> AsyncIterator[Client]:
    """A client whose session is open."""
    async with connect(url, max_size=None, compression=None, proxy=None, **how) as socket:
        client = Client(socket)
        await client.until("session.created")
        yield client


def silence(seconds: float) -> Wave:
    """A quiet room at 24 kHz."""
    return np.random.default_rng(0).normal(0, 2e-4, int(seconds * 24_000)).astype(np.float32)


# ---- the server


def asked(url: str, path: str) -> str:
    """What it answers to GET, whatever the status."""
    address = re.sub(r"^ws(.*)/v1/realtime$", rf"http\1{path}", url)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Answers())
    with opener.open(address, timeout=20) as answer:
        return str(answer.read().decode())


class Answers(urllib.request.HTTPErrorProcessor):
    """Takes every status for an answer."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response


def counted(url: str, name: str) -> float:
    """One of the server's metrics; one with labels is not there before it counts."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", asked(url, "/metrics"), re.MULTILINE)
    return float(found[1]) if found else 0.0


async def emptied(url: str, what: str) -> None:
    """Wait until the server holds no conversation any more. Raises FoundError where one stays."""
    async with asyncio.timeout(2 * PATIENCE):
        for _ in range(int(PATIENCE / 0.1)):
            if not await asyncio.to_thread(counted, url, "omni_conversations"):
                return
            await asyncio.sleep(0.1)
    raise FoundError(f"{what}: the server still holds a conversation")


def models(door: int) -> list[int]:
    """Its processes with a model."""
    return children(door, "omni.live")


def children(parent: int, words: str) -> list[int]:
    """Processes that one has started, with these words in their command."""
    listed = subprocess.run(["pgrep", "-P", str(parent), "-f", words], capture_output=True, text=True)
    return [int(line) for line in listed.stdout.split()]


def memory(door: int) -> float:
    """Resident MiB of the door and its models."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (door, *models(door)))
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def handles(door: int) -> int:
    """Files and sockets that the door and its models have open."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (door, *models(door)))
