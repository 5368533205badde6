"""Requests over HTTP whose fields are of any type: refused with OpenAI's error object, or answered to the end."""

import base64
import copy
import io
import json
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient
from talking import answering

from omni.decode.pipeline import Pipeline
from omni.live.engine.pool import Pool
from omni.live.http.app import application
from omni.live.http.door import Door

LETTERS = st.text(st.characters(codec=None, exclude_categories=()), max_size=6)     # halves of surrogate pairs too
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | LETTERS | st.sampled_from([10**400, -(2**63), "1", 0, 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=6,
)
NUMBER, LIST, WORDS, THING, FLAG = (int, float), (list,), (str,), (dict,), (bool,)
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "x", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
CHAT: dict[str, Any] = {
    "messages": [USER, {"role": "assistant", "content": "x", "tool_calls": [CALL]}, {"role": "tool", "content": "y"}],
    "model": "omni", "max_tokens": 2, "max_completion_tokens": 2, "n": 1, "temperature": 1, "top_p": 1, "seed": 1,
    "language": "en", "modalities": ["text"], "audio": {"voice": "alloy", "format": "pcm16"}, "stream": True,
    "stream_options": {"include_usage": True}, "tools": [TOOL], "tool_choice": "auto", "stop": ["x"],
    "response_format": {"type": "text"}, "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False,
    "logit_bias": {}, "functions": [],
}  # fmt: skip
# Where a value is put, and the types of JSON that may be right there beside null.
Fields = list[tuple[tuple[str | int, ...], tuple[type, ...]]]
SPOKEN = {**CHAT, "modalities": ["text", "audio"], "stop": None, "tools": []}
FIELDS: list[tuple[str, dict[str, Any], Fields]] = [
    ("chat/completions", CHAT, [
        *(((name,), WORDS) for name in ("model", "language")),
        *(((name,), NUMBER) for name in (
            "max_tokens", "max_completion_tokens", "n", "temperature", "top_p", "seed", "frequency_penalty",
            "presence_penalty",
        )),
        *(((name,), FLAG) for name in ("stream", "logprobs")),
        *(((name,), THING) for name in ("stream_options", "response_format", "logit_bias")),
        *(((name,), LIST) for name in ("messages", "modalities", "tools", "functions")),
        (("stop",), (str, list)), (("stop", 0), WORDS), (("tool_choice",), (str, dict)), (("modalities", 0), WORDS),
        (("stream_options", "include_usage"), FLAG), (("response_format", "type"), WORDS),
        (("messages", 0), THING), (("messages", 0, "role"), WORDS), (("messages", 0, "content"), (str, list)),
        (("messages", 0, "content", 0), THING), (("messages", 0, "content", 0, "type"), WORDS),
        (("messages", 0, "content", 0, "text"), WORDS), (("messages", 1, "tool_calls"), LIST),
        (("messages", 1, "tool_calls", 0), THING), (("messages", 1, "tool_calls", 0, "function"), THING),
        (("messages", 1, "tool_calls", 0, "function", "name"), WORDS),
        (("messages", 1, "tool_calls", 0, "function", "arguments"), WORDS), (("messages", 1, "audio"), THING),
        (("messages", 2, "content"), (str, list)), (("tools", 0), THING), (("tools", 0, "function"), THING),
        (("tools", 0, "function", "name"), WORDS), (("tools", 0, "function", "description"), WORDS),
        (("tools", 0, "function", "parameters"), THING),
    ]),
    ("chat/completions", SPOKEN, [
        (("audio",), THING), (("audio", "voice"), (str, dict)), (("audio", "format"), WORDS), (("stop",), (str, list)),
        (("modalities",), LIST),
    ]),
    ("audio/speech", {"input": "two", "voice": "alloy", "model": "omni", "speed": 1, "response_format": "pcm",
                      "stream_format": "sse", "language": "en", "instructions": "x"}, [
        *(((name,), WORDS) for name in (
            "input", "model", "response_format", "stream_format", "language", "instructions",
        )),
        (("voice",), (str, dict)), (("speed",), NUMBER),
    ]),
    ("images/generations", {"prompt": "an owl", "model": "omni", "n": 1, "response_format": "b64_json", "size": "auto",
                            "stream": False}, [
        *(((name,), WORDS) for name in ("prompt", "model", "response_format", "size", "output_format", "background")),
        (("n",), NUMBER), (("stream",), FLAG),
    ]),
]  # fmt: skip
CASES = [(path, body, *field) for path, body, fields in FIELDS for field in fields]


@pytest.fixture(scope="module")
def client(pipeline: Pipeline) -> TestClient:
    process: Any = answering(pipeline)
    app = application(Pool([process], 4), Door(events=1e6))
    return TestClient(app, headers={"host": "localhost"}, raise_server_exceptions=False)


def changed(body: dict[str, Any], at: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    body = inside = copy.deepcopy(body)
    for name in at[:-1]:
        inside = inside[name]  # type: ignore[index]
    inside[at[-1]] = value  # type: ignore[index]
    return body


def is_whole(answer: Any) -> None:
    """Not broken off, and what is refused is told as OpenAI tells it."""
    if answer.status_code != 200:
        assert 400 <= answer.status_code < 500, answer.text
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["message"] and "\n" not in error["message"]
    elif "event-stream" in answer.headers["content-type"]:
        lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
        events = [json.loads(line) for line in lines if line != "[DONE]"]
        assert events and not any("error" in event for event in events)
        assert lines[-1] == "[DONE]" or events[-1]["type"].endswith(".done")


@pytest.mark.parametrize(("path", "body", "at", "kinds"), CASES, ids=[f"{path} {at}" for path, _, at, _ in CASES])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_a_field_of_any_type_is_refused_or_answered(
    client: TestClient, path: str, body: dict[str, Any], at: tuple[str | int, ...], kinds: tuple[type, ...], value: Any
) -> None:
    answer = client.post(f"/v1/{path}", content=json.dumps(changed(body, at, value)))
    is_whole(answer)
    right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if value is not None and not right:
        assert 400 <= answer.status_code < 500, (value, answer.text)


@pytest.mark.parametrize("path", dict.fromkeys(path for path, _, _ in FIELDS))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_a_body_of_any_type_is_refused(client: TestClient, path: str, value: Any) -> None:
    answer = client.post(f"/v1/{path}", content=json.dumps(value))
    is_whole(answer)
    assert answer.status_code == 400


@pytest.mark.parametrize("n", [0, 2, 1000, 1.0, True])
def test_more_answers_than_one_are_refused_with_how_many_there_are(client: TestClient, n: Any) -> None:
    answer = client.post("/v1/chat/completions", json={"messages": [USER], "max_tokens": 2, "n": n})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == "n"
    assert error["message"] == "one answer a request is given; leave n out, or make it 1"


@pytest.mark.parametrize("data", ["", "AA==", "?", None, base64.b64encode(b"no sound").decode()])
def test_a_recording_that_is_none_is_named_by_its_place(client: TestClient, data: str | None) -> None:
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    answer = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": [part]}]})
    error, place = answer.json()["error"], "messages[0].content[0].input_audio.data"
    assert answer.status_code == 400 and error["param"] == place
    assert error["message"].startswith(f"{place}: not ") and "\n" not in error["message"]


@pytest.mark.parametrize("depth", [300, 900, 960, 990, 100_000])
def test_what_is_nested_deeply_is_refused(client: TestClient, depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    for tool in (f'"parameters": {deep}', f'"parameters": {{}}, "strict": {deep}'):
        function = f'{{"type": "function", "function": {{"name": "weather", {tool}}}}}'
        body = f'{{"messages": [{{"role": "user", "content": "x"}}], "max_tokens": 2, "tools": [{function}]}}'
        is_whole(client.post("/v1/chat/completions", content=body))


@pytest.mark.parametrize("name", ["file", "model", "language", "response_format", "stream", "prompt", "temperature"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(max_size=8) | st.sampled_from([b"true", b"json", b"text", b"en"]), as_file=st.booleans())
def test_a_form_of_any_fields_is_refused_or_answered(
    client: TestClient, name: str, value: bytes, as_file: bool
) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(4_000), 24_000, format="WAV")
    fields = {"file": ("x.wav", file.getvalue()), "model": (None, b"omni")}
    fields[name] = ("y" if as_file else None, value)
    is_whole(client.post("/v1/audio/transcriptions", files=fields))


@pytest.mark.parametrize("samples", [0, 1])
def test_a_recording_of_nothing_is_refused_or_answered(client: TestClient, samples: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(samples), 24_000, format="WAV")
    is_whole(client.post("/v1/audio/transcriptions", files={"file": ("x.wav", file.getvalue())}))
    sound = {"data": base64.b64encode(file.getvalue()).decode(), "format": "wav"}
    part = {"type": "input_audio", "input_audio": sound}
    body = {"messages": [{"role": "user", "content": [part]}], "max_tokens": 2}
    is_whole(client.post("/v1/chat/completions", json=body))


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"), ({"include[]": "logprobs"}, "include"),
        ({"temperature": "hot"}, "temperature"), ({"temperature": "2"}, "temperature"), ({"temperature": "0.2"}, None),
    ],
)  # fmt: skip
def test_what_a_transcript_does_not_tell_is_not_promised(client: TestClient, wish: Any, param: str | None) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(4_000), 24_000, format="WAV")
    answer = client.post("/v1/audio/transcriptions", files={"file": ("x.wav", file.getvalue())}, data=wish)
    assert answer.json().get("error", {}).get("param") == param and answer.status_code == (400 if param else 200)


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({}, None), ({"output_format": "jpeg"}, None), ({"output_format": "webp"}, None),
        ({"output_format": "svg"}, "output_format"), ({"background": "transparent"}, "background"),
    ],
)  # fmt: skip
def test_a_picture_is_such_a_file_as_was_asked_for(client: TestClient, wish: Any, param: str | None) -> None:
    answer = client.post("/v1/images/generations", json={"prompt": "an owl", **wish})
    if param is not None:
        assert answer.status_code == 400 and answer.json()["error"]["param"] == param
        return
    told = answer.json()
    with Image.open(io.BytesIO(base64.b64decode(told["data"][0]["b64_json"]))) as picture:
        assert str(picture.format).lower() == told["output_format"] == wish.get("output_format", "png")
