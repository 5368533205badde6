"""What a request may say of the end and the shape of its answer: stop, response_format, stream_format."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import soundfile
from openai.types.chat import ChatCompletionChunk
from starlette.testclient import TestClient
from talking import answering

from omni.decode.pipeline import Pipeline
from omni.live.engine.pool import Pool
from omni.live.http.app import application
from omni.live.http.door import Door

ASKED = {
    "messages": [{"role": "user", "content": "Who are you?"}], "temperature": 0, "max_tokens": 40,
    "language": "en",
}  # fmt: skip
TOOL = {"type": "function", "function": {"name": "x", "parameters": {"type": "object"}}}
SPEECH = {"input": "one two", "voice": "clara"}


@pytest.fixture(scope="module")
def client(pipeline: Pipeline) -> TestClient:
    process: Any = answering(pipeline)
    return TestClient(application(Pool([process], 1), Door()), headers={"host": "localhost"})


def answered(client: TestClient, **more: Any) -> tuple[str, str]:
    """Text, and why it ended."""
    answer = client.post("/v1/chat/completions", json={**ASKED, **more})
    assert answer.status_code == 200, answer.text
    if not more.get("stream"):
        choice = answer.json()["choices"][0]
        return choice["message"]["content"], choice["finish_reason"]
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [ChatCompletionChunk.model_validate_json(line).choices[0] for line in lines]
    return "".join(choice.delta.content or "" for choice in choices), choices[-1].finish_reason or ""


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_ends_before_the_first_stop(client: TestClient, streamed: bool) -> None:
    whole, _ = answered(client)
    assert len(whole) > 20
    word = whole[9:13]
    for stops in (word, [whole[15:17], word], ["\u2603", whole[:1]], [word + "\u2603", whole[12:14]]):
        given = [stops] if isinstance(stops, str) else stops
        end = min(at for stop in given if (at := whole.find(stop)) >= 0)
        assert answered(client, stop=stops, stream=streamed) == (whole[:end], "stop")
    for stops in ([], None, ["\u2603", whole[-3:] + "\u2603"]):         # the last may be one until all is said
        assert answered(client, stop=stops, stream=streamed) == answered(client)


def test_what_is_not_served_is_refused(client: TestClient) -> None:
    spoken = {"modalities": ["text", "audio"], "audio": {"voice": "clara", "format": "wav"}}
    for wish, param in (
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
        ({"stop": list("abcde")}, "stop"), ({"stop": ""}, "stop"), ({"stop": "x", **spoken}, "stop"),
        ({"logit_bias": {"7": 1}}, "logit_bias"), ({"functions": [{"name": "x"}]}, "functions"),
        ({"presence_penalty": 1}, "presence_penalty"), ({"logprobs": True}, "logprobs"),
        ({"stream": True, "stream_options": "all"}, "stream_options"), ({"top_logprobs": 2}, "top_logprobs"),
        ({"function_call": {"name": "x"}}, "function_call"), ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
        ({"parallel_tool_calls": False, "tools": [TOOL]}, "parallel_tool_calls"),
    ):  # fmt: skip
        answer = client.post("/v1/chat/completions", json={**ASKED, **wish})
        assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text
    answer = client.post("/v1/audio/speech", json={**SPEECH, "stream_format": "text"})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "stream_format"


@pytest.mark.parametrize(("kind", "streams"), [("wav", True), ("pcm", True), ("flac", False), ("mp3", False)])
def test_speech_comes_as_events_that_make_the_same_file(client: TestClient, kind: str, streams: bool) -> None:
    asked = {**SPEECH, "response_format": kind}
    file = client.post("/v1/audio/speech", json=asked).content
    told = client.post("/v1/audio/speech", json={**asked, "stream_format": "sse"})
    assert told.headers["content-type"].startswith("text/event-stream")
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in told.text.split("\n\n") if line]
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"} and (len(deltas) > 2) == streams
    assert done["type"] == "speech.audio.done" and done["usage"]["output_tokens"] > 0
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"]
    data = b"".join(base64.b64decode(delta["audio"]) for delta in deltas)
    if kind != "pcm":
        waves = [soundfile.read(io.BytesIO(one), dtype="float32")[0] for one in (file, data)]
        assert len(waves[0]) == len(waves[1]) > 4_000 and np.allclose(*waves)
    else:
        assert data == file
