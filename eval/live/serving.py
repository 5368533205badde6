"""A server for a measurement: one that runs already, or one of our own on a free port of the loopback interface."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from omni.errors import InputError


def add_flags(parser: argparse.ArgumentParser, out: str) -> None:
    """What every live benchmark asks: the data, the server, and where it writes."""
    parser.add_argument("--data", type=Path, help="folder of `omni data prepare` (default: the usual one)")
    parser.add_argument("--url", help="ws://…/v1/realtime of a server (default: one is started)")
    parser.add_argument("--key", default="", help="its bearer key")
    parser.add_argument("--model", help="model folder for the server that is started")
    parser.add_argument("--int8", action="store_true", help="of the server that is started: 8-bit weights")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for results (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def asked_server(args: argparse.Namespace, *flags: str) -> AbstractContextManager[str]:
    """The server that these flags ask for."""
    return server(args.url, args.model, *(["--int8"] if args.int8 else []), *flags)


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
    """With room for whatever is to be measured, unless the flags say otherwise."""
    program = [sys.executable, "-m", "omni.cli", "serve", *([model] if model else []), "--port", "0"]
    return [*program, "--sessions", "16", *flags]


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"at http(s?)://(\S+)/v1;", line):
            return f"ws{found[1]}://{found[2]}/v1/realtime"
    raise InputError(f"the server ended with exit code {process.wait()} before it listened; its words stand above")
