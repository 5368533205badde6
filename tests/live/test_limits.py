"""How long a session may last and how much it may say, and that its client is told when it is over."""

import io
import json
import time
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from talking import SCHEMA, Inline, Talking

from omni.decode.pipeline import Pipeline
from omni.live.engine.pool import Pool
from omni.live.http.app import application
from omni.live.http.door import Allowance, Door


def client_of(app: Starlette) -> TestClient:
    return TestClient(app, headers={"host": "localhost"})


@pytest.mark.parametrize(
    ("door", "sent", "code"),
    [
        (Door(idle=0.3), 0, "session_idle"),
        (Door(seconds=1, events=1000), 0, "session_expired"),
        (Door(events=5), 40, "rate_limit_exceeded"),
    ],
)
def test_a_session_that_is_over_is_told_why_and_closed(pipeline: Pipeline, door: Door, sent: int, code: str) -> None:
    process: Any = Inline.of(pipeline, lambda _: None)
    with client_of(application(Pool([process], 1), door)).websocket_connect("/v1/realtime") as socket:
        created = socket.receive_json()
        assert created["session"]["expires_at"] == pytest.approx(time.time() + door.seconds, abs=30)
        for _ in range(sent):
            socket.send_json({"type": "input_audio_buffer.clear"})
        told = []
        with pytest.raises(WebSocketDisconnect) as closed:
            while True:
                told.append(json.loads(socket.receive_text()))
    assert SCHEMA.validate_python(told[-1]).error.code == code
    assert closed.value.code == 1008 and closed.value.reason
    assert not process.listeners                                        # the conversation is forgotten


def test_a_body_is_bounded_whatever_length_it_tells(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omni.live.http.asking.LARGEST_BODY", 100_000)
    process: Any = Inline.of(pipeline, lambda _: None)
    client = client_of(application(Pool([process], 1), Door()))
    for path in ("chat/completions", "audio/transcriptions"):
        kind = {"content-type": "multipart/form-data; boundary=x"} if "audio" in path else {}
        answer = client.post(f"/v1/{path}", content=(bytes(10_000) for _ in range(50)), headers=kind)
        assert answer.status_code == 413, path
        assert "larger" in answer.json()["error"]["message"]


def test_a_streamed_transcript_tells_by_its_status_that_the_server_is_full(pipeline: Pipeline) -> None:
    process: Any = Inline.of(pipeline, lambda _: None)
    client, file = client_of(application(Pool([process], 0), Door())), io.BytesIO()
    soundfile.write(file, np.zeros(24_000), 24_000, format="WAV")
    given = {"file": ("x.wav", file.getvalue())}
    answer = client.post("/v1/audio/transcriptions", files=given, data={"stream": "true"})
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "server_full"


def test_an_upload_is_bounded_more_than_other_bodies_and_a_form_must_be_one(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omni.live.http.speech.LARGEST_UPLOAD", 100_000)
    process: Any = Inline.of(pipeline, lambda _: None)
    client, kind = client_of(application(Pool([process], 1), Door())), {"content-type": "multipart/form-data"}
    sent = (bytes(10_000) for _ in range(50))
    large = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/audio/transcriptions", content=sent, headers=large).status_code == 413
    none = client.post("/v1/audio/transcriptions", content=b"x", headers=kind)
    assert none.status_code == 400 and "boundary" in none.json()["error"]["message"]


@pytest.mark.parametrize(
    ("door", "host", "origin", "comes_in"),
    [
        (Door(), "localhost:8700", None, True),
        (Door(), "[::1]:8700", "http://[::1]:8700", True),
        (Door(), "127.0.0.1:8700", "http://127.0.0.1:8700", True),
        (Door(), "127.0.0.1:8700", "http://evil.example", False),
        (Door(), "evil.example:8700", "http://evil.example:8700", False),  # a name that was made to lead here
        (Door(), "evil.example:8700", None, False),                     # pages send no origin where it is their own
        (Door(), "[", None, False),
        (Door(origins=("https://talk.example",)), "talk.example", "https://talk.example", True),
        (Door(keys=("sesame",)), "talk.example", "https://talk.example", True),  # a stranger's page has no key
        (Door(keys=("sesame",)), "talk.example", "https://evil.example", False),
    ],
)  # fmt: skip
def test_pages_that_are_not_ours_stay_outside(
    pipeline: Pipeline, door: Door, host: str, origin: str | None, comes_in: bool
) -> None:
    process: Any = Inline.of(pipeline, lambda _: None)
    client = TestClient(application(Pool([process], 1), door))
    headers = {"host": host, "authorization": "Bearer sesame", **({"origin": origin} if origin else {})}
    assert client.get("/v1/models", headers=headers).status_code == (200 if comes_in else 403)
    if not comes_in:
        with client.websocket_connect("/v1/realtime", headers=headers) as socket:
            assert socket.receive_json()["error"]["code"] == "origin"


def test_every_response_tells_what_may_still_be_sent(pipeline: Pipeline) -> None:
    allowance = Allowance(10)
    talking = Talking(pipeline, limits=allowance.as_event)
    talking.say("conversation.item.create", item={
        "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]})  # fmt: skip
    left = []
    for _ in range(2):
        for _ in range(4):
            assert allowance.take()
        events = talking.say("response.create", response={"output_modalities": ["text"]})
        (found,) = [event for event in events if event["type"] == "rate_limits.updated"]
        (limit,) = found["rate_limits"]
        assert limit["name"] == "requests" and limit["limit"] == 20
        left.append(limit["remaining"])
        assert limit["reset_seconds"] == pytest.approx((20 - left[-1]) / 10, abs=0.1)
    assert left[0] <= 17 and left[1] < 20
