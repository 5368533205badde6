"""A server for a measurement: one that runs already, or one of our own on a free port of the loopback interface."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from omni.errors import InputError


@contextmanager
def server(url: str | None, model: str | None, *flags: str) -> Iterator[str]:
    """The WebSocket address to connect to; a server of our own lives as long as the context."""
    if url is not None:
        yield url
        return
    with subprocess.Popen(
        _command(model, flags), stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        try:
            yield _address(process)
        finally:
            process.terminate()
            process.wait(20)


def _command(model: str | None, flags: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "omni.cli", "serve", *([model] if model else []), "--port", "0", *flags]


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"at http(s?)://(\S+)/v1;", line):
            return f"ws{found[1]}://{found[2]}/v1/realtime"
    raise InputError(f"the server ended with exit code {process.wait()} before it listened; its words stand above")
