"""Clients that hang up in the middle of a request over HTTP: nothing is done for them any more."""

import asyncio
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import uvicorn
from talking import Inline, answering

from omni.decode.pipeline import Pipeline
from omni.live.engine import messages
from omni.live.engine.pool import Pool
from omni.live.guard import Guards
from omni.live.hearing.pcm import Wave
from omni.live.http.app import application
from omni.live.http.door import Door

SESAME = {"authorization": "Bearer sesame"}
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
SPEECH = {"input": "Hello", "voice": "clara"}


def recording() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(4_000), 24_000, format="WAV")
    return file.getvalue()


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("chat/completions", {"json": HELLO}),
    ("chat/completions", {"json": {**HELLO, "stream": True}}),
    ("audio/speech", {"json": SPEECH}),
    ("audio/speech", {"json": {**SPEECH, "response_format": "pcm"}}),
    ("audio/transcriptions", {"files": {"file": ("x.wav", recording())}}),
    ("images/generations", {"json": {"prompt": "an owl"}}),
]


class Slow:
    """A guard of answers that works until it is released."""

    def __init__(self) -> None:
        self.began, self.released = threading.Event(), threading.Event()

    def feed(self, samples: Wave, transcript: str) -> str | None:
        self.began.set()
        self.released.wait(60)
        return None


@contextmanager
def served(process: Any, guards: Guards | None = None) -> Iterator[httpx.Client]:
    """A server at a real port whose requests have more time than any test, and one of each key may be open."""
    door = Door(keys=("sesame",), per_key=1, idle=3600)
    server = uvicorn.Server(uvicorn.Config(
        application(Pool([process], 1), door, guards), log_level="warning", timeout_graceful_shutdown=2,
    ))  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=address, headers=SESAME, trust_env=False, timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def wait_until(found: Callable[[], bool]) -> None:
    for _ in range(400):
        if found():
            return
        time.sleep(0.05)
    raise AssertionError("it never was so")


def hold(client: httpx.Client, conversations: int) -> None:
    """Wait until the models hold so many."""
    wait_until(lambda: bool(client.get("/healthz").json()["sessions"] == conversations))


def counted(client: httpx.Client, path: str, status: int, times: int = 1) -> bool:
    """Whether so many requests ended so."""
    return f'omni_requests_total{{path="/v1/{path}",status="{status}"}} {times}.0' in client.get("/metrics").text


@contextmanager
def asked(client: httpx.Client, path: str, **body: Any) -> Iterator[socket.socket]:
    """A connection on which a request was sent whole."""
    request = client.build_request("POST", f"/v1/{path}", **body)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection((request.url.host, request.url.port)) as line:
        line.sendall(f"POST {request.url.path} HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        yield line


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_who_hangs_up_before_an_answer_leaves_their_place_and_may_ask_again(
    pipeline: Pipeline, path: str, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    process: Any = Inline.of(pipeline, lambda _: None)                  # which never answers
    with served(process) as client:
        for _ in range(2):
            with asked(client, path, **body):
                hold(client, 1)
                assert client.post(f"/v1/{path}", **body).status_code == 429
            hold(client, 0)
        assert not process.worker.talks                                 # the model knows of neither
        wait_until(lambda: counted(client, path, 499, times=2))
    assert not caplog.records


def beginning(pipeline: Pipeline) -> Any:
    """A process that begins each answer and ends none."""
    process: Any = Inline.of(pipeline, lambda _: None)
    tell = process.tell

    def begin(message: messages.Told) -> None:
        tell(message)
        if isinstance(message, messages.Answer):
            said = messages.Said(message.talk, "answer", "Hel")
            asyncio.get_running_loop().call_soon(process.listeners[message.talk], said)

    process.tell = begin
    return process


def test_who_hangs_up_in_a_streamed_answer_leaves_their_place(pipeline: Pipeline) -> None:
    process = beginning(pipeline)
    with served(process) as client:
        with asked(client, "chat/completions", json={**HELLO, "stream": True}) as line:
            heard = b""
            while b"Hel" not in heard:
                heard += line.recv(1 << 16)
            hold(client, 1)
        hold(client, 0)
        wait_until(lambda: counted(client, "chat/completions", 200))
        assert not process.worker.talks


def test_who_hangs_up_while_a_guard_is_at_work_leaves_their_place(pipeline: Pipeline) -> None:
    guard = Slow()
    with served(beginning(pipeline), Guards(lambda voice: guard)) as client:
        with asked(client, "chat/completions", json=HELLO):
            assert guard.began.wait(60)
            hold(client, 1)
        hold(client, 0)
        guard.released.set()


def test_who_hangs_up_in_the_middle_of_a_body_is_no_fault_of_ours(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    with served(Inline.of(pipeline, lambda _: None)) as client:
        path = "chat/completions"
        with asked(client, path, content=iter([b"{"]), headers={"content-length": "100"}):
            wait_until(lambda: client.post(f"/v1/{path}").status_code == 429)
        wait_until(lambda: counted(client, path, 499))
    assert not caplog.records


def test_who_stays_is_answered_again_and_again_on_one_connection(pipeline: Pipeline) -> None:
    with served(answering(pipeline)) as client:
        for streamed in (False, True, False):
            answer = client.post("/v1/chat/completions", json={**HELLO, "max_tokens": 2, "stream": streamed})
            assert answer.status_code == 200 and '"finish_reason": "length"' in answer.text.replace('":"', '": "')
        assert counted(client, "chat/completions", 200, times=3)
