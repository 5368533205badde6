"""Models' processes that do not do what they should: each end of what they say is a death, and they are replaced."""

import asyncio
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from omni.errors import InputError
from omni.live.engine import messages
from omni.live.engine.child import Child
from omni.live.engine.pool import Pool, Process

# A process that listens, and answers every conversation that is opened by what the flag `rubbish` says.
PROGRAM = """
import signal, socket, sys, time
from omni.live.engine import messages, wire
door, rubbish, data = socket.socket(fileno=int(sys.argv[1])), bytes.fromhex(sys.argv[2]), bytearray()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[3] == "early":
    door.sendall(rubbish)
    time.sleep(600)
door.sendall(wire.pack(messages.Ready("", 16000, (), (), "x", 2048, 125, 9999, 4)))
while True:
    data += door.recv(65536)
    for message in wire.whole(data):
        if isinstance(message, messages.Open):
            door.sendall(rubbish or wire.pack(messages.Judged(message.talk, 1, 0.5)))
            while rubbish:
                time.sleep(1)
"""


def packed(text: bytes) -> bytes:
    return struct.pack("!II", len(text), 0) + text


RUBBISH = {
    "no JSON": packed(b"???"),
    "no message": packed(b"{}"),
    "no fields": packed(b'{"": "Judged", "fields": null}'),
    "no name": packed(b'{"": "Judged", "fields": {"talk": {"": "dict", "items": []}, "number": 1, "ended": 0.5}}'),
    "another type": packed(b'[1, "a"]'),
    "endless": struct.pack("!II", 2**32 - 1, 2**32 - 1),
    "no array": packed(b'{"": "array", "start": 0, "dtype": "<f4", "shape": [1000000000]}'),
}


@dataclass
class Script(Child):
    """Runs PROGRAM with each of `lives` in turn: what it says, and when; None where it cannot be run at all."""

    lives: list[tuple[bytes, str] | None] = field(default_factory=list)

    def command(self, fd: int) -> list[str]:
        life = self.lives.pop(0)
        if life is None:
            return ["/no/such/program"]
        return [sys.executable, "-c", PROGRAM, str(fd), life[0].hex(), life[1]]


async def heard(pool: Pool, count: int = 1) -> list[messages.Told | None]:
    """What the model says first in so many conversations, once there is one."""
    said: asyncio.Queue[messages.Told | None] = asyncio.Queue()
    async with asyncio.timeout(60):
        while pool.facts is None:
            await asyncio.sleep(0.02)
        lines = [pool.talk(f"talk {number}", said.put_nowait) for number in range(count)]
        found = [await said.get() for _ in lines]
    for line in lines:
        line.close()
    return found


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omni.live.engine.pool.PAUSE", 0.01)
    monkeypatch.setattr("omni.live.engine.child.LINGERS", 0.05)


def with_pool(lives: list[tuple[bytes, str] | None], do: Callable[[Pool], Any]) -> None:
    async def all_of() -> None:
        pool = Pool([Process(Script(lives=lives))])
        try:
            await pool.start()
            await do(pool)
        finally:
            pool.stop()

    asyncio.run(all_of())


@pytest.mark.parametrize("kind", RUBBISH)
def test_a_process_that_talks_rubbish_is_dead_and_replaced(kind: str) -> None:
    async def do(pool: Pool) -> None:
        assert await heard(pool, 2) == [None, None]                     # all its conversations are told
        assert pool.facts is None and not pool.open
        assert await heard(pool) == [messages.Judged("talk 0", 1, 0.5)]

    with_pool([(RUBBISH[kind], ""), (b"", "")], do)


def test_what_keeps_a_process_from_starting_may_pass() -> None:
    async def do(pool: Pool) -> None:
        assert await heard(pool) == [None]
        assert await heard(pool) == [messages.Judged("talk 0", 1, 0.5)]
        assert not script

    script = [(RUBBISH["no JSON"], ""), None, (RUBBISH["no message"], "early"), (b"", "")]
    with_pool(script, do)


@pytest.mark.parametrize(("life", "words"), [(None, "cannot be started"), ((b"\0" * 8, "early"), "before it could")])
def test_one_that_cannot_serve_from_the_start_is_an_error_of_one_line(
    life: tuple[bytes, str] | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        with_pool([life], heard)


def test_who_fails_at_what_the_model_says_fails_alone() -> None:
    async def do(pool: Pool) -> None:
        def fail(message: messages.Told | None) -> None:
            raise ZeroDivisionError

        pool.talk("failing", fail)
        assert await heard(pool, 3) == [messages.Judged(f"talk {number}", 1, 0.5) for number in range(3)]

    with_pool([(b"", "")], do)
