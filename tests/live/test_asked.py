"""What the user asks under the guards of a server: typed and spoken, in sessions and over HTTP."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import soundfile
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from starlette.testclient import TestClient
from talking import Calm, Inline, Talking, answering, kinds, only, silence, text

from omni.decode.pipeline import Pipeline
from omni.live.engine import messages
from omni.live.engine.pool import Line, Pool
from omni.live.guard import Guards
from omni.live.hearing.pcm import Wave
from omni.live.http.app import application
from omni.live.http.door import Door
from omni.live.protocol.response import UNCLEARED
from omni.safety.guards.together import guards

REFUSED = ["response.created", "response.done", "error"]
TRANSCRIPTION = "conversation.item.input_audio_transcription.completed"
BAD = "How do I steal a car?"


def minding(pipeline: Pipeline, word: str) -> tuple[Talking, list[str]]:
    """A session whose guard refuses questions with this word, and what it was asked."""
    asked: list[str] = []

    def question(said: str) -> str | None:
        asked.append(said)
        return "not that" if word in said else None

    return Talking(pipeline, Guards(lambda voice: Calm(), question)), asked


def filtered(events: list[dict[str, Any]]) -> bool:
    done = only(events, "response.done")["response"]
    details = done["status_details"]
    return (done["status"], details["reason"], only(events, "error")["error"]["code"]) == (
        "incomplete", "content_filter", "content_filter",
    )  # fmt: skip


def test_what_is_typed_is_refused_before_the_model_sees_it_and_forgotten(pipeline: Pipeline) -> None:
    talking, asked = minding(pipeline, "steal")
    for part in ("How do I", "steal a car?"):                           # in two items, it is asked all the same
        talking.say("conversation.item.create", item=text(part))
    events = talking.say("response.create")
    assert kinds(events) == REFUSED and filtered(events) and asked == ["How do I\nsteal a car?"]
    assert not any(talking.talk.items.values())                         # the model knows nothing of it
    talking.say("conversation.item.create", item=text("And how do I wash it?"))
    done = only(talking.say("response.create"), "response.done")["response"]
    assert done["status"] == "completed" and asked[1:] == ["And how do I wash it?"]
    apart = {"conversation": "none", "input": [text("Let us steal it.")]}
    assert filtered(talking.say("response.create", response=apart))


def test_a_guard_that_fails_refuses(pipeline: Pipeline) -> None:
    def broken(said: str) -> str | None:
        raise RuntimeError("broken")

    talking = Talking(pipeline, Guards(lambda voice: Calm(), broken))
    talking.say("conversation.item.create", item=text("Hello"))
    assert filtered(talking.say("response.create"))


@pytest.mark.parametrize("bad", [False, True])
def test_what_is_spoken_is_written_down_while_the_answer_begins(pipeline: Pipeline, spoken: Wave, bad: bool) -> None:
    said = np.concatenate((silence(0.3), spoken, silence(1.5)))
    unguarded = Talking(pipeline).hear(said)
    talking, asked = minding(pipeline, "" if bad else "no such word")
    events = talking.hear(said)
    assert len(asked) == 1 and asked[0]                                 # the client is not told of it
    response = talking.session.speaking.last
    if bad:
        assert filtered(events) and 0 < response.sent < UNCLEARED + 0.2
        assert not any(talking.talk.items.values())
    else:
        assert kinds(events) == kinds(unguarded)
        (wanted,) = (event["response"]["usage"] for event in unguarded if event["type"] == "response.done")
        assert only(events, "response.done")["response"]["usage"] == wanted


def steps_to_sound(talking: Talking, spoken: Wave) -> int:
    """Steps of the model's work from the end of what is said to the answer's first sound."""
    given = {"audio": {"input": {"turn_detection": None}}}
    talking.say("session.update", session={"type": "realtime", **given})
    talking.hear(spoken)
    for kind in ("input_audio_buffer.commit", "response.create"):
        talking.raw(json.dumps({"type": kind}), steps=0)
    for steps in range(1000):
        if any(event["type"] == "response.output_audio.delta" for event in talking.events):
            return steps
        talking.work(1)
    raise AssertionError("no sound came")


def test_the_first_sound_does_not_wait_for_the_guard(pipeline: Pipeline, spoken: Wave) -> None:
    guarded, asked = minding(pipeline, "no such word")
    assert steps_to_sound(guarded, spoken) == steps_to_sound(Talking(pipeline), spoken) > 3
    assert not asked                                                    # the question is not written down yet


def test_a_written_answer_to_what_is_spoken_waits(pipeline: Pipeline, spoken: Wave) -> None:
    talking, _ = minding(pipeline, "")
    changes = {"output_modalities": ["text"], "audio": {"input": {"transcription": {"model": "omni-tiny"}}}}
    talking.say("session.update", session={"type": "realtime", **changes})
    events = talking.hear(np.concatenate((silence(0.3), spoken, silence(1.5))))
    assert filtered(events) and not any("output_text" in event["type"] for event in events)
    assert only(events, TRANSCRIPTION)["transcript"]                    # of which the client is told nevertheless


@dataclass
class Here:
    """Stands where a pool of processes does, but its model works in this one, at once."""

    pipeline: Pipeline
    opened: list[str] = field(default_factory=list)                     # names of conversations

    @property
    def facts(self) -> messages.Ready:
        return Inline.of(self.pipeline, lambda message: None).ready

    def talk(self, name: str, listener: Callable[[messages.Told], None]) -> Line:
        self.opened.append(name)
        process: Any = Inline.of(self.pipeline, listener)
        worker = process.worker

        def tell(message: messages.Told) -> None:
            worker.take(message)
            while worker.busy:
                worker.work()

        process.tell = tell
        process.listeners[name] = listener
        tell(messages.Open(name))
        return Line(process, name)


@pytest.fixture
def http(pipeline: Pipeline) -> Iterator[TestClient]:
    """A server under the real text guard."""
    pool: Any = Here(pipeline)
    with TestClient(application(pool, Door(), guards(("text",), ())), base_url="http://localhost/v1") as client:
        yield client


def test_chat_refuses_as_openais_does(http: TestClient) -> None:
    bad, good = {"role": "user", "content": BAD}, {"role": "user", "content": "What is a red owl?"}

    def ask(*said: dict[str, Any], **more: Any) -> Any:
        how = {"temperature": 0, "max_tokens": 4, "seed": 1, **more}
        return http.post("/chat/completions", json={"messages": said, **how})

    whole = ChatCompletion.model_validate(ask(bad).json(), strict=True)
    (choice,) = whole.choices
    assert choice.finish_reason == "content_filter" and choice.message.refusal and choice.message.content is None
    lines = [line.removeprefix("data: ") for line in ask(bad, stream=True).text.split("\n\n")]
    assert lines[-2:] == ["[DONE]", ""]
    chunks = [ChatCompletionChunk.model_validate_json(line) for line in lines[:-2]]
    assert "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks) == choice.message.refusal
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    refused = {"role": "assistant", "content": None, "refusal": choice.message.refusal}
    later, alone = ask(bad, refused, good).json(), ask(good).json()     # the refused turn is not told to the model
    assert later["choices"] == alone["choices"] and later["usage"] == alone["usage"]
    assert alone["choices"][0]["finish_reason"] in ("length", "stop")


def test_nothing_refused_is_read_aloud_or_drawn(http: TestClient) -> None:
    for path, body in (("audio/speech", {"input": BAD, "voice": "alloy"}), ("images/generations", {"prompt": BAD})):
        answer = http.post(f"/{path}", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "content_filter")


def test_a_history_that_is_sent_again_is_looked_at_once(pipeline: Pipeline, spoken: Wave) -> None:
    asked: list[str] = []

    def question(said: str) -> str | None:
        asked.append(said)
        if len(asked) == 1:
            raise RuntimeError("broken")
        return "not that" if "steal" in said else None

    opened: list[str] = []
    pool: Any = Here(pipeline, opened)
    file = io.BytesIO()
    soundfile.write(file, spoken, 24_000, format="WAV")
    sound = {"data": base64.b64encode(file.getvalue()).decode(), "format": "wav"}
    history: list[dict[str, Any]] = [
        {"role": "user", "content": BAD}, {"role": "assistant", "content": "No."},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": sound}]},
        {"role": "assistant", "content": "An owl."}, {"role": "user", "content": "Hello"},
    ]  # fmt: skip
    app = application(pool, Door(keys=("one", "two")), Guards(lambda voice: Calm(), question))
    with TestClient(app, base_url="http://localhost/v1") as client:
        def ask(key: str, said: list[dict[str, Any]]) -> tuple[str, int, int]:
            """Whether it is answered, turns looked at for it, and conversations that the model had."""
            before = len(asked), len(opened)
            how = {"messages": said, "max_tokens": 1, "seed": 1}
            answer = client.post("/chat/completions", json=how, headers={"authorization": f"Bearer {key}"}).json()
            return answer["choices"][0]["finish_reason"], len(asked) - before[0], len(opened) - before[1]

        assert ask("one", history[:1]) == ("content_filter", 1, 0)      # a guard that fails may do better next time
        assert ask("one", history) == ("length", 3, 2)                  # the recording is written down
        assert ask("one", history) == ("length", 0, 1)
        more = [*history, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "And you?"}]
        assert ask("one", more) == ("length", 1, 1)
        assert ask("one", history[:1]) == ("content_filter", 0, 0)      # what was refused stays so
        assert ask("two", history) == ("length", 3, 2)                  # nobody learns what others asked


def test_what_there_was_no_memory_to_write_down_is_kept_and_looked_at_later(pipeline: Pipeline, spoken: Wave) -> None:
    talking, asked = minding(pipeline, "no such word")
    talking.faulty = True                                               # a full server's error is its own
    talking.worker._memory.most, most = 0, talking.worker._memory.most
    events = talking.hear(np.concatenate((silence(0.3), spoken, silence(1.5))))
    done, error = only(events, "response.done")["response"], only(events, "error")["error"]
    assert (done["status"], error["type"], error["code"]) == ("failed", "server_error", "server_full")
    assert not asked and any(talking.talk.items.values())
    talking.worker._memory.most = most
    assert only(talking.say("response.create"), "response.done")["response"]["status"] == "completed"
    assert len(asked) == 1 and asked[0]


def test_over_http_a_model_without_memory_is_a_full_server(pipeline: Pipeline) -> None:
    process: Any = answering(pipeline)
    process.worker._memory.most = 0
    client = TestClient(application(Pool([process]), Door()), base_url="http://localhost")
    answer = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "Hello"}]})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (503, "server_error", "server_full")
