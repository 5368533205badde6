"""The door's side of the models' processes: starts them, speaks with them, and starts them again when they die."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from omni.errors import InputError
from omni.live.engine import messages, wire

log = logging.getLogger("omni.live")
PAUSE = 0.5                                                             # seconds before a dead process is started again
HOPELESS = 3                                                            # deaths before the first word, in a row
# The past of a conversation goes back to the system when it ends; glibc would keep it, in pieces, for good.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}

Listener = Callable[[messages.Told | None], None]                       # None: the model has died


class FullError(Exception):
    """No room for another conversation."""


@dataclass
class Process:
    """One model in a process of its own, and the conversations that it holds."""

    arguments: list[str]
    listeners: dict[str, Listener] = field(default_factory=dict)
    ready: messages.Ready | None = None
    _writer: asyncio.StreamWriter | None = None
    _child: "subprocess.Popen[bytes] | None" = None
    _died: int = 0

    @property
    def pid(self) -> int | None:
        """Of the running process, None between two of them."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """Start it and wait until it listens. Raises InputError when it ends before that."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "omni.live.engine.worker", str(theirs.fileno()), *self.arguments]
        fds, settings = [theirs.fileno()], os.environ | MEMORY
        self._child = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL, env=settings)
        theirs.close()
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=1 << 26)
        try:
            self.ready = await self._next(reader)                       # type: ignore[assignment]
        except (asyncio.IncompleteReadError, ConnectionError):
            self._child.wait()
            raise InputError("the model's process ended before it could serve; its last words stand above") from None
        self._task = asyncio.get_running_loop().create_task(self._follow(reader))

    def tell(self, message: messages.Told) -> None:
        """Say something to the model; nothing happens while it is dead."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(wire.pack(message))

    def stop(self) -> None:
        """End the process for good."""
        self._task.cancel()
        if self._child is not None:
            self._child.terminate()
            self._child.wait()
            self._child = None

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        """Hand what the model says to whom it concerns, until it dies; then let a new one take its place."""
        try:
            while True:
                message = await self._next(reader)
                self._died = 0
                listener = self.listeners.get(message.talk)
                if listener is not None:
                    listener(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        assert self._child is not None and self._writer is not None
        self._writer.close()
        log.error("a model's process died (exit code %s); starting another", self._child.wait())
        self.ready, self._child, lost = None, None, list(self.listeners.values())
        self.listeners.clear()
        for listener in lost:
            listener(None)
        self._died += 1
        await asyncio.sleep(PAUSE * self._died)
        if self._died <= HOPELESS:
            try:
                await self.start()
            except InputError as error:
                log.error("%s", error)

    @staticmethod
    async def _next(reader: asyncio.StreamReader) -> messages.Told:
        sizes = wire.HEADER.unpack(await reader.readexactly(wire.HEADER.size))
        text, tail = [await reader.readexactly(size) for size in sizes]
        return wire.unpack(text, tail)


@dataclass
class Pool:
    """Processes with the same model, each with at most `room` conversations."""

    processes: list[Process]
    room: int

    @classmethod
    def of(cls, model: str | None, processes: int, room: int, int8: bool = False, device: str = "cpu") -> "Pool":
        arguments = [*([model] if model else []), *(["--int8"] if int8 else []), "--device", device]
        return cls([Process(list(arguments)) for _ in range(processes)], room)

    @property
    def facts(self) -> messages.Ready | None:
        """What the model can do; None while none listens."""
        return next((process.ready for process in self.processes if process.ready), None)

    @property
    def open(self) -> int:
        """Conversations that are held."""
        return sum(len(process.listeners) for process in self.processes)

    async def start(self) -> None:
        await asyncio.gather(*(process.start() for process in self.processes))

    def stop(self) -> None:
        for process in self.processes:
            process.stop()

    def talk(self, name: str, listener: Listener) -> "Line":
        """A new conversation with the model that has the fewest. Raises FullError when no model has room."""
        living = [process for process in self.processes if process.ready is not None]
        if not living:
            raise FullError("the model is starting; try again in a moment")
        process = min(living, key=lambda process: len(process.listeners))
        if len(process.listeners) >= self.room:
            room = self.room * len(self.processes)
            raise FullError(f"all {room} conversations of this server are taken; try again later")
        process.listeners[name] = listener
        process.tell(messages.Open(name))
        return Line(process, name)


@dataclass(frozen=True)
class Line:
    """One conversation's connection to its model."""

    process: Process
    name: str

    @property
    def facts(self) -> messages.Ready:
        assert self.process.ready is not None
        return self.process.ready

    def tell(self, message: messages.Told) -> None:
        self.process.tell(message)

    def close(self) -> None:
        """Forget the conversation."""
        if self.process.listeners.pop(self.name, None) is not None:
            self.process.tell(messages.Close(self.name))
