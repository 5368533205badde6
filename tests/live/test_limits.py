"""How long a session may last and how much it may say, and that its client is told when it is over."""

import asyncio
import io
import json
import time
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from talking import SCHEMA, Inline, Talking, answering

from omni.decode.pipeline import Pipeline
from omni.live.engine.pool import Pool
from omni.live.hearing.pcm import to_base64
from omni.live.http.app import application
from omni.live.http.door import Allowance, Door

HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
SESAME = {"authorization": "Bearer sesame"}


def client_in(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def client_of(app: Starlette) -> TestClient:
    return TestClient(app, headers={"host": "localhost"})


@pytest.mark.parametrize(
    ("door", "sent", "code"),
    [
        (Door(idle=0.3), 0, "session_idle"),
        (Door(seconds=1, events=1000), 0, "session_expired"),
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


def test_who_sends_too_fast_is_read_more_slowly() -> None:
    async def taken(count: int) -> float:
        allowance, began = Allowance(100), time.monotonic()
        for _ in range(count):
            await allowance.take()
        return time.monotonic() - began

    assert asyncio.run(taken(250)) >= 0.49                              # two seconds' worth at once, then the rate


def test_who_sends_sound_too_fast_is_read_more_slowly(pipeline: Pipeline) -> None:
    process: Any = Inline.of(pipeline, lambda _: None)
    client = client_of(application(Pool([process], 1), Door(sound=1, idle=0.5)))
    second, took = to_base64(np.zeros(24_000, np.float32), "audio/pcm"), 0.0
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/realtime") as socket:
        began = time.monotonic()
        for _ in range(4):
            socket.send_json({"type": "input_audio_buffer.append", "audio": second})
        socket.send_json({"type": "input_audio_buffer.clear"})
        while True:
            if socket.receive_json()["type"] == "input_audio_buffer.cleared":
                took = time.monotonic() - began
    assert took >= 1.9                                                  # two seconds' worth at once, then the rate


def test_who_hands_in_too_many_recordings_is_read_more_slowly(pipeline: Pipeline) -> None:
    async def told(sound: float) -> list[str]:
        """What comes before the end of a client that hands in four recordings, half of the longest each."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("omni.live.protocol.items.LONGEST_RECORDING", 1)
            process: Any = Inline.of(pipeline, lambda _: None)
            said: asyncio.Queue[Any] = asyncio.Queue()
            found: list[str] = []
            part = {"type": "input_audio", "audio": to_base64(np.zeros(12_000, np.float32), "audio/pcm")}
            item = {"type": "message", "role": "user", "content": [part]}
            given = {"conversation": "none", "input": [item]}
            said.put_nowait({"type": "websocket.connect"})
            for event in (
                {"type": "conversation.item.create", "item": item}, {"type": "response.create", "response": given},
            ) * 2:  # fmt: skip
                said.put_nowait({"type": "websocket.receive", "text": json.dumps(event)})

            async def send(message: Any) -> None:
                found.extend([json.loads(message["text"])["type"]] if "text" in message else [])

            scope = {
                "type": "websocket", "path": "/v1/realtime", "query_string": b"", "root_path": "",
                "headers": [(b"host", b"localhost")], "subprotocols": [], "asgi": {"version": "3.0"},
            }  # fmt: skip
            app: Any = application(Pool([process], 1), Door(sound=sound, seconds=1))
            await app(scope, said.get, send)
            return [kind for kind in found if kind in ("conversation.item.done", "response.created")]

    created = ["conversation.item.done", "response.created"]
    assert asyncio.run(told(100.0)) == created * 2
    assert asyncio.run(told(0.1)) == [*created, "conversation.item.done"]  # one longest recording, and one on credit


def test_a_key_has_its_number_of_questions_and_each_its_time(pipeline: Pipeline) -> None:
    async def two() -> list[httpx.Response]:
        async with client_in(application(Pool([process], 4), Door(keys=("sesame",), per_key=1, idle=0.5))) as client:
            asked = [client.post("/v1/chat/completions", json=HELLO, headers=SESAME) for _ in range(2)]
            found = [*await asyncio.gather(*asked), await client.get("/v1/models", headers=SESAME)]
            assert not process.listeners                                # nobody is in the way any more
            return [*found, await client.post("/v1/chat/completions", json=HELLO, headers=SESAME)]

    process: Any = Inline.of(pipeline, lambda _: None)                  # which never answers
    late, other, models, again = asyncio.run(two())
    assert late.status_code == again.status_code == 504 and "0.5 s" in late.json()["error"]["message"]
    assert other.status_code == 429 and other.json()["error"]["code"] == "per_key"
    assert models.status_code == 200


def test_who_does_not_read_keeps_no_place_and_is_hung_up_on(pipeline: Pipeline) -> None:
    process: Any = answering(pipeline)
    app, sent = application(Pool([process], 1), Door(idle=1)), []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 2:
            assert not process.listeners                                # while the reader still waits
            await asyncio.sleep(60)

    body = iter([{"type": "http.request", "body": json.dumps({**HELLO, "stream": True}).encode()}])

    async def receive() -> Any:
        return next(body, None) or await asyncio.Event().wait()

    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost")], "asgi": {"version": "3.0", "spec_version": "2.4"},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert len(sent) == 3 and sent[-1].get("more_body")


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
    client, file = client_of(application(Pool([process], questions=0), Door())), io.BytesIO()
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


def test_what_is_done_is_counted(pipeline: Pipeline) -> None:
    process: Any = answering(pipeline)
    client = client_of(application(Pool([process], 2), Door(idle=2)))

    def counted(name: str) -> float:
        (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
        return float(line.rpartition(" ")[2])

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/realtime") as socket:
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}
        socket.send_json({"type": "conversation.item.create", "item": item})
        socket.send_json({"type": "response.create", "response": {"output_modalities": ["text"]}})
        socket.send_json({"type": "nonsense"})
        while socket.receive_json()["type"] != "error":
            pass
        assert counted("omni_conversations") == counted("omni_sessions") == 1
        while True:
            socket.receive_json()
    assert counted('omni_client_events_total{type="response.create"}') == 1
    assert counted('omni_client_events_total{type="refused"}') == 1
    assert counted("omni_first_output_seconds_count") == 1
    assert counted("omni_conversations") == counted("omni_sessions") == 0


def test_every_response_tells_what_may_still_be_sent(pipeline: Pipeline) -> None:
    allowance = Allowance(10)
    talking = Talking(pipeline, limits=allowance.as_event)
    talking.say("conversation.item.create", item={
        "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]})  # fmt: skip
    left = []
    for _ in range(2):
        for _ in range(4):
            asyncio.run(allowance.take())
        events = talking.say("response.create", response={"output_modalities": ["text"]})
        (found,) = [event for event in events if event["type"] == "rate_limits.updated"]
        (limit,) = found["rate_limits"]
        assert limit["name"] == "requests" and limit["limit"] == 20
        left.append(limit["remaining"])
        assert limit["reset_seconds"] == pytest.approx((20 - left[-1]) / 10, abs=0.1)
    assert left[0] <= 17 and left[1] < 20


def test_a_session_whose_model_died_is_closed_even_if_that_cannot_be_told(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("omni.live.http.realtime.Session.lost", fail)
    process: Any = Inline.of(pipeline, lambda _: None)
    app = client_of(application(Pool([process], 1), Door(idle=20)))
    with pytest.raises(WebSocketDisconnect) as closed, app.websocket_connect("/v1/realtime") as socket:
        socket.receive_json()
        (listener,) = process.listeners.values()

        def die() -> None:
            with pytest.raises(RuntimeError):
                listener(None)

        assert socket.portal.call(die) is None
        socket.receive_json()
    assert closed.value.code == 1011
