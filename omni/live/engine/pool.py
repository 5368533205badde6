"""The door's side of the models' processes: starts them, speaks with them, and starts them again when they die."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from omni.errors import InputError
from omni.live.engine import messages, wire

log = logging.getLogger("omni.live")
PAUSE, LONGEST_PAUSE = 0.5, 30.0                                        # seconds before a dead process is started again
WAITING = 4 << 20                                                       # bytes that may wait for a model's process
LOST = (asyncio.IncompleteReadError, OSError, wire.GarbledError)        # how a connection ends

Listener = Callable[[messages.Told | None], None]                       # None: the model has died


class FullError(Exception):
    """No room for another conversation."""


class Body(Protocol):
    """Where a model's process lives: `Child` on this machine, `Actor` on a node of a cluster."""

    async def start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Begin a new process; what it says, and what it is told. Raises InputError."""
        ...

    async def ended(self) -> str:
        """Make sure that it has ended, now that its connection has; how it did."""
        ...

    def stop(self) -> None:
        """End it, if it runs."""
        ...


@dataclass
class Process:
    """One model in a process of its own, and the conversations that it holds."""

    body: Body
    listeners: dict[str, Listener] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)                     # those of them that are live
    ready: messages.Ready | None = None
    _writer: asyncio.StreamWriter | None = None
    _task: "asyncio.Task[None] | None" = None
    _died: int = 0                                                      # times since it last said something

    async def start(self) -> None:
        """Start it and wait until it listens. Raises InputError when it ends before that."""
        reader, self._writer = await self.body.start()
        self._writer.transport.set_write_buffer_limits(WAITING)
        try:
            ready = await self._next(reader)
            if not isinstance(ready, messages.Ready):
                raise wire.GarbledError(f"a {type(ready).__name__} at first")
        except LOST:
            self._writer.close()
            raise InputError(f"a model's process ended before it could serve ({await self.body.ended()})") from None
        self.ready = ready
        self._task = asyncio.get_running_loop().create_task(self._follow(reader))

    def tell(self, message: messages.Told) -> None:
        """Say something to the model; nothing happens while it is dead."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(wire.pack(message))

    async def drained(self) -> None:
        """Wait while `WAITING` bytes and more wait for it to read them; not for one that is dead."""
        if self._writer is not None and not self._writer.is_closing():
            with contextlib.suppress(OSError):
                await self._writer.drain()

    def stop(self) -> None:
        """End the process for good."""
        if self._task is not None:
            self._task.cancel()
        self.body.stop()

    async def _follow(self, reader: asyncio.StreamReader) -> None:
        """Hand what the model says to whom it concerns, until it dies; then let a new one take its place."""
        try:
            while True:
                message = await self._next(reader)
                self._died = 0
                listener = self.listeners.get(message.talk)
                if listener is not None:
                    self._hand_over(listener, message)
        except wire.GarbledError as error:
            log.error("a model's process says what is no message (%s)", error)
        except LOST:
            pass
        assert self._writer is not None
        self._writer.close()
        self.ready, lost = None, list(self.listeners.values())
        self.listeners.clear()
        self.sessions.clear()
        for listener in lost:
            self._hand_over(listener, None)
        log.error("a model's process died (%s); starting another", await self.body.ended())
        await self._return()

    @staticmethod
    def _hand_over(listener: Listener, message: messages.Told | None) -> None:
        """A fault of one listener is not the process's, whose others go on."""
        try:
            listener(message)
        except Exception as error:
            log.error("a conversation failed at what its model said", exc_info=error)

    async def _return(self) -> None:
        """Start it again, as often as it takes: what kept it from starting may pass."""
        while True:
            await asyncio.sleep(min(PAUSE * 2 ** min(self._died, 10), LONGEST_PAUSE))
            self._died += 1
            try:
                return await self.start()
            except InputError as error:
                log.error("%s; trying again", error)
            except Exception as error:                                  # of the system's, or of a cluster's
                log.error("a model's process cannot be started; trying again", exc_info=error)

    @staticmethod
    async def _next(reader: asyncio.StreamReader) -> messages.Told:
        sizes = wire.HEADER.unpack(await reader.readexactly(wire.HEADER.size))
        if sum(sizes) > wire.LARGEST:
            raise wire.GarbledError(f"{sum(sizes):,} bytes at once")
        text, tail = [await reader.readexactly(size) for size in sizes]
        return wire.unpack(text, tail)


@dataclass
class Pool:
    """Processes with the same model.

    room:      live sessions that each holds at most, None for as many as it has measured that it can
    share:     of a core that each has, which what it measures is meant for
    questions: conversations of HTTP requests, whose answers nobody hears while they are made, that each holds beside
    """

    processes: list[Process]
    room: int | None = None
    share: float = 1.0
    questions: int = 16

    @property
    def facts(self) -> messages.Ready | None:
        """What the model can do; None while none listens."""
        return next((process.ready for process in self.processes if process.ready), None)

    @property
    def open(self) -> int:
        """Conversations that are held."""
        return sum(len(process.listeners) for process in self.processes)

    @property
    def sessions(self) -> int:
        """Live sessions that there is room for, taken or not."""
        return sum(self._room(process) for process in self.processes)

    async def start(self) -> None:
        """Start them all and wait until they listen. Raises InputError, and stops them all, when one does not."""
        failed: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for process in self.processes:
                    group.create_task(process.start())
        except* InputError as errors:
            self.stop()
            failed = errors.exceptions[0]
        if failed is not None:                                          # raised above, Python before 3.11.4 wraps it
            raise failed

    def stop(self) -> None:
        for process in self.processes:
            process.stop()

    def talk(self, name: str, listener: Listener, live: bool = False) -> "Line":
        """A new conversation with the model that has most room for it; live: whether its answers are heard while they
        are made. Raises FullError when no model has room.
        """
        living = [process for process in self.processes if process.ready is not None]
        if not living:
            raise FullError("the model is starting; try again in a moment")
        process = max(living, key=lambda process: (self._free(process, live), -len(process.listeners)))
        if self._free(process, live) <= 0:
            kind, room = ("sessions", self.sessions) if live else ("places", self.questions * len(self.processes))
            raise FullError(f"all {kind} of this server are taken ({room} at most); try again later")
        process.listeners[name] = listener
        process.sessions |= {name} if live else set()
        process.tell(messages.Open(name))
        return Line(process, name)

    def _room(self, process: Process) -> int:
        if self.room is not None:
            return self.room
        return max(1, int(process.ready.room * self.share)) if process.ready is not None else 0

    def _free(self, process: Process, live: bool) -> int:
        held = len(process.sessions)
        return self._room(process) - held if live else self.questions - (len(process.listeners) - held)


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

    async def drained(self) -> None:
        """Wait until the model can be told more. Who takes from clients waits, so that they do and nothing piles up."""
        await self.process.drained()

    def close(self) -> None:
        """Forget the conversation."""
        self.process.sessions.discard(self.name)
        if self.process.listeners.pop(self.name, None) is not None:
            self.process.tell(messages.Close(self.name))
