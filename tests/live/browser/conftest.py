"""A real Chromium with a microphone that plays a file, before a real `omni serve`. Run by `make browser`."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from omni.live.hearing.pcm import Resampler, Wave

RATE = 48_000
EAR = Path(__file__).parent / "ear.js"
SHOTS = Path("runs/browser")


@dataclass
class Server:
    """`omni serve` on one port, to be stopped and started again."""

    port: int
    flags: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, "-m", "omni.cli", "serve", "--port", str(self.port), *self.flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.address}healthz", timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, "the server ended"
                time.sleep(0.2)
        raise AssertionError("the server does not answer")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers; all are stopped in the end."""
    started: list[Server] = []

    def start(*flags: str) -> Server:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        started.append(Server(port, flags))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(serve: Callable[..., Server]) -> Server:
    return serve()


def said(text: str, folder: Path) -> Wave:
    """A text as espeak-ng reads it, at `RATE`."""
    path = folder / "said.wav"
    subprocess.run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", path, text], check=True)
    wave, rate = soundfile.read(path, dtype="float32")
    resampler = Resampler(rate, RATE)
    return np.concatenate((resampler(wave), resampler.finish()))


def silence(seconds: float) -> Wave:
    return np.zeros(int(seconds * RATE), np.float32)


@pytest.fixture
def microphone(tmp_path: Path) -> Callable[..., Path]:
    """A file for the fake microphone: silences in seconds and texts, in order."""

    def made(*parts: str | float) -> Path:
        waves = [said(part, tmp_path) if isinstance(part, str) else silence(part) for part in parts]
        path = tmp_path / "microphone.wav"
        soundfile.write(path, np.concatenate(waves), RATE, subtype="PCM_16")
        return path

    return made


@dataclass
class Watched:
    """A page, and what its user cannot see: the events that went over the wire, and what was wrong."""

    page: Page
    sent: list[dict[str, Any]] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def kinds(self, events: Sequence[dict[str, Any]]) -> list[str]:
        return [event["type"] for event in events]

    def wait(self, condition: Callable[[], Any], seconds: float = 90) -> Any:
        """Until it holds; the browser's events come while it waits."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if found := condition():
                return found
            self.page.wait_for_timeout(20)
        raise AssertionError(f"did not come true within {seconds} s; received {self.kinds(self.received)[-12:]}")

    def connected(self) -> None:
        self.page.wait_for_selector("#connection[data-state=open]", timeout=30_000)
        self.wait(lambda: "session.updated" in self.kinds(self.received))


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@contextmanager
def chromium(playwright: Playwright, microphone: Path | None) -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail("there is no chromium; install it with apt-get install chromium, or set CHROMIUM")
    flags = [
        "--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        "--autoplay-policy=user-gesture-required",
    ]  # fmt: skip
    if microphone is not None:
        flags.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    browser = playwright.chromium.launch(executable_path=path, args=flags)
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def visit(playwright: Playwright) -> Iterator[Callable[..., Watched]]:
    """Opens the page of a server; what its console calls an error fails the test in the end."""
    opened: list[Watched] = []
    running = []

    def open_page(address: str, microphone: Path | None = None, ear: bool = False, **context: Any) -> Watched:
        running.append(chromium(playwright, microphone))
        browser = running[-1].__enter__()
        page = browser.new_context(bypass_csp=ear, **context).new_page()  # the ear is no part of the page
        page.set_default_timeout(120_000)                               # a busy machine fails nothing
        watched = Watched(page)
        opened.append(watched)
        if ear:
            page.add_init_script(path=EAR)
        _listen(watched)
        page.goto(address)
        return watched

    yield open_page
    for each in running:
        each.__exit__(None, None, None)
    for watched in opened:
        assert watched.wrong == []


def _listen(watched: Watched) -> None:
    def hear(socket: Any) -> None:
        socket.on("framesent", lambda text: watched.sent.append(json.loads(text)))
        socket.on("framereceived", lambda text: watched.received.append(json.loads(text)))

    watched.page.on("websocket", hear)
    watched.page.on("pageerror", lambda error: watched.wrong.append(str(error)))
    watched.page.on("console", lambda told: watched.wrong.extend([told.text] if told.type == "error" else []))
