"""Questions over HTTP: what later messages may refer to, and what is too long."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient
from talking import answering, noted

from omni.decode.parts import Text
from omni.decode.pipeline import Pipeline
from omni.live.engine import messages
from omni.live.engine.pool import Pool
from omni.live.http.app import application
from omni.live.http.door import Door

SPOKEN = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}, "max_tokens": 400}
HELLO = {"role": "user", "content": "Hello"}
LONG = "long " * 200_000


@pytest.fixture
def asked(pipeline: Pipeline) -> tuple[Any, list[messages.Told]]:
    """A client, and what the model was asked."""
    process: Any = answering(pipeline)
    orders = noted(process)
    app = application(Pool([process], 1), Door(keys=("sesame", "melon")))

    def post(body: dict[str, Any], key: str = "sesame", path: str = "chat/completions") -> Any:
        return TestClient(app).post(f"/v1/{path}", json=body, headers={"authorization": f"Bearer {key}"})

    return post, orders


def spoken(post: Any, streamed: bool) -> tuple[str, str]:
    """Id and transcript of a spoken answer to Hello."""
    answer = post({"messages": [HELLO], **SPOKEN, "stream": streamed})
    if not streamed:
        audio = answer.json()["choices"][0]["message"]["audio"]
        return audio["id"], audio["transcript"]
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"].get("audio") or {} for chunk in chunks]
    (name,) = {delta["id"] for delta in deltas if delta}
    return name, "".join(delta.get("transcript", "") for delta in deltas)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_spoken_answer_that_a_message_names_is_part_of_the_conversation(asked: Any, streamed: bool) -> None:
    post, orders = asked
    name, transcript = spoken(post, streamed)
    assert transcript
    said = {"role": "assistant", "audio": {"id": name}}
    assert post({"messages": [HELLO, said, HELLO], "max_tokens": 8}).status_code == 200
    (order,) = [order for order in orders if isinstance(order, messages.Answer)][1:]
    assert order.parts == (Text("Hello"), Text(transcript, "assistant"), Text("Hello"))
    other = post({"messages": [HELLO, said, HELLO]}, key="melon")
    assert other.status_code == 404 and other.json()["error"]["param"] == "messages[1].audio.id"


@pytest.mark.parametrize("named", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_number_of_tokens_bounds_what_is_spoken_too(asked: Any, named: str, streamed: bool) -> None:
    post, _ = asked
    how = {"modalities": SPOKEN["modalities"], "audio": SPOKEN["audio"], named: 16, "stream": streamed}
    answer = post({"messages": [HELLO], **how, "stream_options": {"include_usage": True}})
    if streamed:
        chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        (reason,) = {choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]} - {None}
        used, sound = chunks[-1]["usage"], b"".join(
            base64.b64decode((choice["delta"].get("audio") or {}).get("data", ""))
            for chunk in chunks for choice in chunk["choices"]
        )  # fmt: skip
    else:
        (choice,) = answer.json()["choices"]
        reason, used = choice["finish_reason"], answer.json()["usage"]
        sound = base64.b64decode(choice["message"]["audio"]["data"])
    assert reason == "length" and 0 < len(sound) <= 2 * 24_000 * 16 / 125
    assert 0 < used["completion_tokens_details"]["audio_tokens"] <= 16


def test_an_answer_that_was_refused_may_be_sent_again_as_it_was_told(asked: Any) -> None:
    post, orders = asked
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I can't help with that."}]}
    assert post({"messages": [HELLO, refused, HELLO], "max_tokens": 2}).status_code == 200
    (given,) = (one.parts for one in orders if isinstance(one, messages.Answer))
    assert given[1] == Text("I can't help with that.", "assistant")


def test_an_answer_that_is_not_known_any_more_is_told_as_such(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    post, _ = asked
    monkeypatch.setattr("omni.live.http.conversation.MOST_SPOKEN", 1)
    first, second = (spoken(post, streamed=False)[0] for _ in range(2))
    names = {first: 404, second: 200, "audio_none": 404, 7: 400}
    for name, status in names.items():
        answer = post({"messages": [{"role": "assistant", "audio": {"id": name}}, HELLO], "max_tokens": 8})
        assert answer.status_code == status
    monkeypatch.setattr("omni.live.http.chat.time.time", lambda: 1e12)
    assert post({"messages": [{"role": "assistant", "audio": {"id": second}}, HELLO]}).status_code == 404


def test_what_cannot_fit_is_refused_before_others_wait_for_its_codes(
    asked: Any, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: Any) -> Any:
        raise AssertionError("it was encoded")

    tokenizers, post = pipeline.tokenizers, asked[0]
    monkeypatch.setattr(type(tokenizers.text), "encode", encode)
    monkeypatch.setattr(type(tokenizers.audio), "encode", encode)
    file = io.BytesIO()
    soundfile.write(file, np.zeros(100 * 8000), 8000, format="WAV")
    sound = {"data": base64.b64encode(file.getvalue()).decode(), "format": "wav"}
    for part, words in (
        ({"type": "text", "text": LONG}, "1,000,000 characters"),
        ({"type": "input_audio", "input_audio": sound}, "100 s of audio"),
    ):
        answer = post({"messages": [{"role": "user", "content": [part]}]})
        error = answer.json()["error"]
        assert answer.status_code == 400 and words in error["message"], answer.text
        assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize(("path", "param"), [("chat/completions", "messages"), ("images/generations", "prompt")])
def test_what_has_no_room_is_told_as_clients_look_for_it(asked: Any, pipeline: Pipeline, path: str, param: str) -> None:
    words = "owl " * pipeline.model.config.max_steps                    # more than fits, in codes alone
    body = {"messages": [{"role": "user", "content": words}], "prompt": words}
    answer = asked[0](body, path=path)
    error = answer.json()["error"]
    assert answer.status_code == 400 and "shorten" in error["message"], answer.text
    assert (error["code"], error["param"]) == ("context_length_exceeded", param)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": LONG}]}, "messages"),
        ("chat/completions", {"messages": [{"role": "system", "content": LONG}, HELLO]}, "messages"),
        ("images/generations", {"prompt": LONG}, "prompt"),
        ("chat/completions", {"messages": [{"role": "user", "content": "x" * 40_000}] * 100}, "messages"),
        ("chat/completions", {"messages": [{"role": "user", "content": "x" * 40_000}] * 2}, "messages"),
        ("audio/speech", {"input": LONG * 4, "voice": "clara"}, "input"),
    ],
    ids=["user", "system", "prompt", "many", "two", "speech"],
)
def test_a_text_that_cannot_fit_is_not_even_told_to_the_model(asked: Any, path: str, body: Any, param: str) -> None:
    post, orders = asked
    error = post(body, path=path).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", param)
    assert not orders


@pytest.mark.parametrize("tools", [{}, {"tools": []}])
def test_a_call_is_not_required_where_there_is_nothing_to_call(asked: Any, tools: dict[str, Any]) -> None:
    answer = asked[0]({"messages": [HELLO], "tool_choice": "required", **tools})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "tool_choice"


@pytest.mark.parametrize(("letters", "seconds", "status"), [(501, 20, 400), (300, 0.2, 400), (4, 0.2, 200)])
def test_a_text_that_cannot_be_said_whole_is_not_said_in_half(
    asked: Any, monkeypatch: pytest.MonkeyPatch, letters: int, seconds: float, status: int
) -> None:
    """What ends early though little was to be said is the model's own way of saying it."""
    if seconds < 20:
        monkeypatch.setattr("omni.live.http.speech.LONGEST_ANSWER", seconds)
        monkeypatch.setattr("omni.live.http.speech.FASTEST", 10_000)
        monkeypatch.setattr("omni.live.http.speech.SLOWEST", 100 / seconds)
    answer = asked[0]({"input": "a" * letters, "voice": "clara", "response_format": "flac"}, path="audio/speech")
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"]["code"] == "input_too_long" and "in pieces" in answer.json()["error"]["message"]
