"""A model's process on this machine, a child of the door's."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from dataclasses import dataclass

from omni.errors import InputError
from omni.live.engine import wire

LINGERS = 5.0                                                           # seconds in which it must end by itself


@dataclass
class Child:
    """Runs the worker with a socket that nobody else can open.

    model: its folder, None for the one that ships; measure: whether it finds out how many sessions it holds; models:
    how many of its kind share this machine's memory
    """

    model: str | None = None
    int8: bool = False
    device: str = "cpu"
    measure: bool = True
    models: int = 1
    _process: "subprocess.Popen[bytes] | None" = None

    def command(self, fd: int) -> list[str]:
        """What runs it, with its end of the socket."""
        flags = [*([self.model] if self.model else []), *(["--int8"] if self.int8 else []), "--device", self.device]
        flags += [*(["--measure"] if self.measure else []), "--models", str(self.models)]
        return [sys.executable, "-m", "omni.live.model.process", str(fd), *flags]

    async def start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Begin a new process; what it says, and what it is told. Raises InputError where the system has no room."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                command = self.command(theirs.fileno())
                self._process = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                    start_new_session=True,                             # Ctrl-C is for the door, which then ends it
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise InputError(f"a model's process cannot be started ({error.strerror})") from None
        return await asyncio.open_connection(sock=ours, limit=wire.LARGEST)

    async def ended(self) -> str:
        """Wait for its end, now that its connection has ended, and end it where it does not; how it ended."""
        process = self._process
        assert process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, LINGERS)
        process.kill()                                                  # which does nothing to one that has ended
        code = await asyncio.to_thread(process.wait)
        return f"exit code {code}; its last words, if any, stand above"

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.kill()                                        # it has nothing to save
            self._process.wait()
            self._process = None
