"""A model's process that stands still: its clients have to wait, and the door's memory does not grow meanwhile."""

import asyncio
import base64
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from fuzzing.client import Client, children, models, session

from omni.eval.live.serving import server
from omni.live.hearing.pcm import to_base64

PART = {"type": "input_audio", "audio": to_base64(np.zeros(60 * 24_000, np.float32), "audio/pcm")}
ITEM = {"type": "message", "role": "user", "content": [PART]}           # 4 MiB on the wire, 6 in memory
MOST, ENOUGH = 60, 150.0                                                # items, MiB
pytestmark = pytest.mark.slow


def resident(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


async def pushed(client: Client) -> int:
    """How many items a client gets rid of before it has to wait."""
    for count in range(MOST):
        try:
            async with asyncio.timeout(5):
                await client.send("conversation.item.create", item=ITEM)
        except TimeoutError:
            return count
    return MOST


@contextmanager
def jammed(*flags: str) -> Iterator[tuple[str, Callable[[], float], Callable[[], None]]]:
    """A server whose model stands still: its address, MiB that its door has grown since, and what has it go on."""
    with server(None, None, *flags) as url:
        (door,) = children(os.getpid(), "omni.cli serve")
        (model,) = models(door)
        before = resident(door)
        os.kill(model, signal.SIGSTOP)
        try:
            yield url, lambda: resident(door) - before, lambda: os.kill(model, signal.SIGCONT)
        finally:
            os.kill(model, signal.SIGCONT)


def test_who_speaks_to_a_model_that_stands_still_has_to_wait() -> None:
    async def run(url: str, grown: Callable[[], float], go_on: Callable[[], None]) -> None:
        async with session(url) as client:
            assert await pushed(client) < MOST
            assert grown() < ENOUGH
            go_on()
            await client.until("conversation.item.done")
        async with session(url) as client:
            await client.send("response.create", response={"output_modalities": ["text"]})
            await client.until("response.done")

    with jammed() as (url, grown, go_on):
        asyncio.run(run(url, grown, go_on))


def test_what_is_asked_over_http_waits_too() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(120 * 8_000), 8_000, format="WAV")
    sound = {"data": base64.b64encode(file.getvalue()).decode(), "format": "wav"}
    asked = {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": sound}]}]}
    with jammed("--idle", "0.5") as (url, grown, _), httpx.Client(timeout=60, trust_env=False) as client:
        address = url.replace("ws://", "http://").replace("realtime", "chat/completions")
        assert {client.post(address, json=asked).status_code for _ in range(MOST // 2)} == {504}
        assert grown() < ENOUGH
