"""`omni serve` from outside: who comes in, what is refused how, and that nothing brings the door down."""

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzz
import httpx
import pytest
import torch
from fuzzing.client import children
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from omni.cli import main
from omni.eval.live.serving import server
from omni.live.http import serving
from omni.live.protocol import events

KEY = "a-key-for-this-test"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server(None, None, "--key", KEY, "--sessions", "4", "--per-key", "3") as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    base = url.replace("ws://", "http://").removesuffix("/realtime")
    with httpx.Client(base_url=base, headers={"authorization": f"Bearer {KEY}"}, timeout=60, trust_env=False) as client:
        yield client


def first(url: str, key: str | None = KEY, **how: Any) -> tuple[dict[str, Any], int | None]:
    """The first event that a client is sent, and the close code if it is then shut out."""

    async def ask() -> tuple[dict[str, Any], int | None]:
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **how.pop("headers", {})}
        async with connect(url, additional_headers=headers, proxy=None, **how) as socket:
            event = json.loads(await socket.recv())
            if event["type"] != "error":
                return event, None
            try:
                await socket.recv()
            except ConnectionClosed as closed:
                return event, closed.rcvd.code if closed.rcvd else None
            return event, None

    return asyncio.run(ask())


def test_who_has_the_key_comes_in(url: str) -> None:
    assert first(url)[0]["type"] == "session.created"
    protocols = ["realtime", f"openai-insecure-api-key.{KEY}"]
    assert first(url, key=None, subprotocols=protocols)[0]["type"] == "session.created"


@pytest.mark.parametrize(
    ("how", "code", "close"),
    [
        ({"key": "another"}, "invalid_api_key", 1008),
        ({"key": None}, "invalid_api_key", 1008),
        ({"origin": "https://elsewhere.example"}, "origin", 1008),
        ({"headers": {"OpenAI-Beta": "realtime=v1"}}, "beta", 4000),
    ],
)
def test_others_are_told_why_not(url: str, how: dict, code: str, close: int) -> None:
    event, closed = first(url, **how)
    assert (event["error"]["code"], closed) == (code, close)


def test_a_key_has_its_number_of_sessions(url: str) -> None:
    async def four() -> list[str]:
        async with asyncio.TaskGroup() as group:
            opened = [group.create_task(opened_type(url)) for _ in range(4)]
        return [task.result() for task in opened]

    assert sorted(asyncio.run(four())) == ["rate_limit_error per_key", *["session.created"] * 3]


async def opened_type(url: str) -> str:
    async with connect(url, additional_headers={"Authorization": f"Bearer {KEY}"}, proxy=None) as socket:
        event = json.loads(await socket.recv())
        await asyncio.sleep(1)
        return "{type} {code}".format(**event["error"]) if event["type"] == "error" else event["type"]


def test_what_would_take_long_to_read_is_refused_unread(url: str, http: httpx.Client) -> None:
    many = {"a": [0.1] * 200_000}

    async def ask() -> list[dict[str, Any]]:
        async with connect(url, additional_headers={"Authorization": f"Bearer {KEY}"}, proxy=None) as client:
            for event in ({"type": "session.update", "session": {"type": "realtime", "tracing": many}}, {"type": "x"}):
                await client.send(json.dumps(event))
            return [json.loads(await client.recv()) for _ in range(3)]

    created, refused, after = asyncio.run(ask())
    assert created["type"] == "session.created" and refused["error"]["code"] == "invalid_value"
    assert "values" in refused["error"]["message"] and after["error"]["code"] == "unknown_event"
    answer = http.post("/chat/completions", json=many)
    assert answer.status_code == 413 and "values" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/chat/completions", {"messages": []}, "messages"),
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}], "temperature": 9}, "temperature"),
        ("/chat/completions", {"messages": [{"role": "judge", "content": "x"}]}, "messages[0]"),
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}], "modalities": ["audio", "text"],
                               "audio": {"voice": "nobody", "format": "wav"}}, "audio.voice"),
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}], "modalities": ["audio", "text"],
                               "audio": {"voice": "clara", "format": "mp3"}, "stream": True}, "audio.format"),
        ("/audio/speech", {"input": "", "voice": "clara"}, "input"),
        ("/audio/speech", {"input": "x", "voice": "clara", "response_format": "aac"}, "response_format"),
        ("/images/generations", {"prompt": "x", "response_format": "url"}, "response_format"),
    ],
)  # fmt: skip
def test_a_bad_request_gets_openais_error_object(http: httpx.Client, path: str, body: dict, param: str) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == param and error["type"] == "invalid_request_error" and "\n" not in error["message"]


def test_a_body_that_is_no_json_and_a_stranger_are_refused(http: httpx.Client) -> None:
    assert http.post("/chat/completions", content=b"{").status_code == 400
    assert http.post("/chat/completions", json={}, headers={"authorization": "Bearer no"}).status_code == 401
    assert http.post("/images/generations", json={}, headers={"origin": "http://evil.example"}).status_code == 403
    assert http.get("/models/other").status_code == 404


def test_what_is_not_served_gets_openais_error_object(http: httpx.Client) -> None:
    for answer, status, code in (
        (http.post("/embeddings", json={}), 404, "unknown_url"),
        (http.get("/realtime"), 404, "unknown_url"),
        (http.get("/chat/completions"), 405, "method_not_supported"),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert answer.headers["allow"] == "POST"


def test_functions_are_offered_and_what_was_called_goes_on(http: httpx.Client) -> None:
    function = {"name": "weather", "parameters": {"type": "object"}}
    made = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    asked = {
        "tools": [{"type": "function", "function": function}], "max_tokens": 8,
        "messages": [
            {"role": "user", "content": "Hello"}, {"role": "assistant", "content": None, "tool_calls": [made]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        ],
    }  # fmt: skip
    answered = http.post("/chat/completions", json=asked).json()["choices"][0]
    assert isinstance(answered["message"]["content"], str) and answered["finish_reason"] in ("stop", "length")
    for wrong, param in (
        ({"tools": [{"type": "function", "function": {}}]}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "clock"}}}, "tool_choice"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"messages": [{"role": "assistant", "tool_calls": 7}]}, "messages[0]"),
    ):
        refused = http.post("/chat/completions", json=asked | wrong)
        assert refused.status_code == 400 and refused.json()["error"]["param"] == param, refused.text


def test_speech_comes_in_every_format_and_is_read_back(http: httpx.Client) -> None:
    for kind in ("wav", "flac", "mp3", "opus"):
        sound = http.post("/audio/speech", json={"input": "two", "voice": "clara", "response_format": kind})
        assert sound.status_code == 200 and len(sound.content) > 200
        text = http.post("/audio/transcriptions", files={"file": (f"x.{kind}", sound.content)}, data={"model": "x"})
        assert text.status_code == 200 and isinstance(text.json()["text"], str)
    broken = http.post("/audio/transcriptions", files={"file": ("x.wav", b"no sound")}, data={"model": "x"})
    assert broken.status_code == 400 and broken.json()["error"]["param"] == "file"


def test_a_picture_is_drawn(http: httpx.Client) -> None:
    drawn = http.post("/images/generations", json={"prompt": "an owl"}).json()["data"]
    assert base64.b64decode(drawn[0]["b64_json"]).startswith(b"\x89PNG")


def test_health_and_metrics(http: httpx.Client) -> None:
    root = str(http.base_url).removesuffix("/v1/")
    assert http.get(f"{root}/healthz").json()["status"] == "ok"
    counted = http.get(f"{root}/metrics").text
    assert "omni_sessions" in counted and 'omni_requests_total{path="/v1/images/generations",status="200"}' in counted


def test_an_event_does_not_wait_for_the_client_to_acknowledge_the_one_before() -> None:
    with serving._listening("127.0.0.1", 0) as door, socket.create_connection(door.getsockname()):
        accepted, _ = door.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_door_has_done_all_this_without_torch(url: str) -> None:
    """Which takes as long to import as all the rest, and most of the memory."""
    (door,) = children(os.getpid(), "omni.cli serve")
    assert "libtorch" not in Path(f"/proc/{door}/maps").read_text()


def test_a_broken_form_is_the_clients_affair_and_not_the_logs(capfd: pytest.CaptureFixture[str]) -> None:
    with server(None, None) as address:
        at = address.replace("ws://", "http://").replace("/realtime", "/audio/transcriptions")
        kind = {"content-type": "multipart/form-data; boundary=x"}
        assert httpx.post(at, content=b"no form", headers=kind, trust_env=False).status_code == 400
    assert capfd.readouterr().err == ""


def test_a_long_append_is_cut_without_changing_it() -> None:
    sound = base64.b64encode(os.urandom(300_000)).decode()
    message = json.dumps({"type": "input_audio_buffer.append", "audio": sound})
    parts = events.slices(message)
    assert len(parts) > 1
    assert b"".join(base64.b64decode(json.loads(part)["audio"]) for part in parts) == base64.b64decode(sound)
    assert all(len(base64.b64decode(json.loads(part)["audio"])) % 2 == 0 for part in parts[:-1])


def test_the_door_withstands_rubbish_slow_readers_and_the_death_of_its_model() -> None:
    """A part of `make fuzz`: sessions after which memory is looked at, and more connections than there is room for."""
    program = [sys.executable, fuzz.__file__, "--events", "100", "--sessions", "20", "--connections", "20"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("fuzz: passed")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "0.0.0.0"], "give --key"),
        (["--tls-cert", "x.pem"], "belong together"),
        (["--port", "70000"], "--port must be"),
        (["/no/such/model"], "/no/such/model"),
        (["--key-file", os.devnull], "holds no key"),
        (["--tls-cert", __file__, "--tls-key", __file__], "give two PEM files"),
    ],
)
def test_bad_flags_end_with_one_line_and_code_2(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *flags]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1


def test_a_device_that_is_not_there_is_told_with_one_that_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "0", "--device", "cuda:99"]) == 2
    mend = "use cpu, or cuda" if torch.cuda.is_available() else "use cpu"
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("omni: --device cuda:99: ")]
    assert len(told) == 1 and told[0].endswith(f"; {mend}")
