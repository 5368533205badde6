"""A model's process on this machine, a child of the door's."""

import asyncio
import socket
import subprocess
import sys
from dataclasses import dataclass

from omni.live.engine import wire


@dataclass
class Child:
    """Runs the worker with a socket that nobody else can open.

    model: its folder, None for the one that ships; measure: whether it finds out how many sessions it holds
    """

    model: str | None = None
    int8: bool = False
    device: str = "cpu"
    measure: bool = True
    _process: "subprocess.Popen[bytes] | None" = None

    async def start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Begin a new process; what it says, and what it is told."""
        ours, theirs = socket.socketpair()
        flags = [*([self.model] if self.model else []), *(["--int8"] if self.int8 else []), "--device", self.device]
        flags += ["--measure"] if self.measure else []
        command = [sys.executable, "-m", "omni.live.model.process", str(theirs.fileno()), *flags]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        return await asyncio.open_connection(sock=ours, limit=wire.LARGEST)

    async def ended(self) -> str:
        """Wait for its end, now that it has closed its socket; how it ended."""
        assert self._process is not None
        code = await asyncio.to_thread(self._process.wait)
        return f"exit code {code}; its last words, if any, stand above"

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
