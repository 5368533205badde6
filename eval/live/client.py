"""A client that speaks recordings at the pace of real time and plays what it hears, on one clock.

Latency as docs/live.md defines it: from the last voiced sample of the user's clean waveform to the time of playback of
the first response sample above -50 dBFS for 20 ms.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from omni.errors import InputError
from omni.live.hearing.pcm import RATES, Resampler, Wave, from_base64, to_bytes
from omni.live.hearing.voiced import LOUD, levels, voiced

RATE = RATES["audio/pcm"]
CHUNK = 480                                                             # 20 ms, as microphones and WebRTC hand it over
ROOM = 10 ** (-72 / 20)                                                 # a quiet room's noise where nobody speaks


@dataclass
class Arrival:
    """Some sound of one response, and when it came."""

    at: float
    wave: Wave
    item: str


@dataclass
class Client:
    """A connection. `events` are (time, event); `sound` is what the assistant said."""

    socket: ClientConnection
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    sound: list[Arrival] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def read(self) -> None:
        """Take everything that the server sends, until the connection ends."""
        async for text in self.socket:
            now, event = time.monotonic(), json.loads(text)
            if event["type"] == "response.output_audio.delta":
                self.sound.append(Arrival(now, from_base64(event["delta"], "audio/pcm"), event["item_id"]))
                event = {**event, "delta": None}
            self.events.append((now, event))
            self.news.set()

    async def speak(self, wave: Wave, start: float | None = None) -> float:
        """Upload a wave [samples at 24 kHz] as a microphone would, each chunk once it was heard. Returns its start."""
        start = time.monotonic() if start is None else start
        for number, first in enumerate(range(0, len(wave), CHUNK), 1):
            await asyncio.sleep(max(0.0, start + number * CHUNK / RATE - time.monotonic()))
            data = base64.b64encode(to_bytes(wave[first : first + CHUNK], "audio/pcm")).decode()
            await self.send("input_audio_buffer.append", audio=data)
        return start

    async def until_any(self, kinds: Sequence[str], since: int = 0, timeout: float = 10.0) -> dict[str, Any]:
        """The first event of some kinds, whatever errors came before it."""
        limit = time.monotonic() + timeout
        while time.monotonic() < limit:
            found = next((event for _, event in self.events[since:] if event["type"] in kinds), None)
            if found is not None:
                return found
            await asyncio.sleep(0.005)
        raise InputError(f"no {' or '.join(kinds)} came within {timeout:g} s")

    async def until(self, kind: str, since: int = 0, timeout: float = 10.0) -> tuple[float, dict[str, Any]]:
        """The first event of a kind from index `since` on. Raises InputError when none or an error comes."""
        limit, looked = time.monotonic() + timeout, since
        while True:
            for at, event in self.events[looked:]:
                if event["type"] == kind:
                    return at, event
                if event["type"] == "error":
                    raise InputError(f"the server says: {event['error']['message']}")
            looked = len(self.events)
            self.news.clear()
            try:
                await asyncio.wait_for(self.news.wait(), max(0.01, limit - time.monotonic()))
            except TimeoutError:
                raise InputError(f"no {kind} came within {timeout:g} s") from None


@asynccontextmanager
async def connected(url: str, key: str = "", session: dict[str, Any] | None = None) -> AsyncIterator[Client]:
    """A client with its session open. Raises InputError when there is no server, or it refuses."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        socket = await connect(
            url, additional_headers=headers, max_size=1 << 26, compression=None, open_timeout=20, proxy=None
        )
    except (OSError, TimeoutError) as error:
        raise InputError(f"{url}: no server answers there ({error}); start `omni serve`") from None
    async with socket:
        client = Client(socket)
        reading = asyncio.create_task(client.read())
        try:
            await client.until("session.created")
            if session is not None:
                await client.send("session.update", session={"type": "realtime", **session})
                await client.until("session.updated")
            yield client
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def settle(client: Client) -> None:
    """Stop what is still being said, and let the server forget the sound that was on its way."""
    since = len(client.events)
    if sum(e["type"] == "response.created" for _, e in client.events) > sum(
        e["type"] == "response.done" for _, e in client.events
    ):
        await client.send("response.cancel")
        await asyncio.sleep(0.1)
    await client.send("input_audio_buffer.clear")
    await client.until_any(("input_audio_buffer.cleared",), since)


def room(seconds: float, random: np.random.Generator) -> Wave:
    """The sound of nobody speaking."""
    return random.normal(0, ROOM, int(seconds * RATE)).astype(np.float32)


def at_client_rate(wave: Wave, rate: int) -> Wave:
    """A recording as the client's microphone has it."""
    resampler = Resampler(rate, RATE)
    return np.concatenate((resampler(wave), resampler.finish()))


def last_voiced(wave: Wave, rate: int = RATE) -> int:
    """The sample at which the speech of a clean recording ends."""
    loud = voiced(levels(wave, rate))
    return int(loud[-1] + 1) * (rate // 100) if len(loud) else 0


def first_voiced(wave: Wave, below: float, rate: int = RATE) -> int:
    """The sample at which it begins, `below` dB under its loudest."""
    loud = voiced(levels(wave, rate), below)
    return int(loud[0]) * (rate // 100) if len(loud) else 0


def longest_pause(wave: Wave, rate: int = RATE) -> float:
    """Seconds of the longest silence between two voiced stretches."""
    return float(np.diff(voiced(levels(wave, rate))).max(initial=1) - 1) / 100


def playback(sound: Sequence[Arrival]) -> tuple[list[float], float]:
    """When each arrival begins to be played by a client that plays at once, and the seconds of gaps in between."""
    starts, gaps, free = [], 0.0, None
    for arrival in sound:
        start = arrival.at if free is None else max(arrival.at, free)
        gaps += 0.0 if free is None else start - free
        starts.append(start)
        free = start + len(arrival.wave) / RATE
    return starts, gaps


def first_audible(sound: Sequence[Arrival]) -> float | None:
    """When the first sample above -50 dBFS for 20 ms is played; None when there is none."""
    if not sound:
        return None
    starts, _ = playback(sound)
    waves = [arrival.wave for arrival in sound]
    whole = np.concatenate(waves)
    times = np.concatenate([start + np.arange(len(wave)) / RATE for start, wave in zip(starts, waves, strict=True)])
    if len(whole) < CHUNK:
        return None
    energy = np.concatenate(([0.0], np.cumsum(np.square(whole, dtype=np.float64))))
    rms = np.sqrt((energy[CHUNK:] - energy[:-CHUNK]) / CHUNK)           # of the 20 ms from each sample on
    found = np.flatnonzero((rms > LOUD) & (np.abs(whole[: len(rms)]) > LOUD))
    return float(times[found[0]]) if len(found) else None
