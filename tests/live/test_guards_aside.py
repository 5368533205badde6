"""Guards work beside the sessions: nobody waits for another's guard, and nothing is heard before its verdict."""

import asyncio
import json
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from talking import Talking, answering, kinds, only, silence, text

from omni.decode.pipeline import Pipeline
from omni.live.engine import messages
from omni.live.engine.pool import Pool
from omni.live.guard import Guards
from omni.live.hearing.pcm import Wave
from omni.live.http.app import application
from omni.live.http.door import Door

HELLO = {"type": "conversation.item.create", "item": text("Hello")}
ANSWER = {"type": "response.create", "response": {"output_modalities": ["text"]}}


class Later:
    """Where guards work when they are told to."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()

    def __call__(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self.waiting.append((work, then))

    def one(self) -> None:
        work, then = self.waiting.popleft()
        then(work())

    def all(self) -> None:
        while self.waiting:
            self.one()


class Writing:
    """A guard of answers that lets all pass, and writes down what it was shown."""

    def __init__(self) -> None:
        self.text, self.samples = "", 0

    def feed(self, samples: Wave, transcript: str) -> str | None:
        self.text, self.samples = transcript, self.samples + len(samples)
        return None


def plain(events: list[dict[str, Any]]) -> list[Any]:
    """Events without their ids and the moments of rate limits."""
    return [(event["type"], event.get("delta"), event.get("response", {}).get("usage")) for event in events]


@pytest.mark.parametrize("seed", range(2))
def test_however_slow_guards_are_the_client_is_told_the_same_and_only_what_they_saw(
    pipeline: Pipeline, spoken: Wave, seed: int
) -> None:
    said, choose = np.concatenate((silence(0.3), spoken, silence(1.0))), random.Random(seed)
    swift = Talking(pipeline, Guards(lambda voice: Writing(), lambda question: None))
    swift.hear(said)
    later, guards, asked = Later(), list[Writing](), []

    def guard(voice: str | None) -> Writing:
        guards.append(Writing())                                        # every draft of an answer has one of its own
        return guards[-1]

    slow = Talking(pipeline, Guards(guard, lambda question: asked.append(question)), aside=later)
    slow.hear(said, steps=1)
    while slow.worker.busy or later.waiting:
        if slow.worker.busy and (not later.waiting or choose.random() < 0.7):
            slow.work(1)
        else:
            later.one()
        text = [event["delta"] for event in slow.events if event["type"] == "response.output_audio_transcript.delta"]
        shown = next((one for one in reversed(guards) if one.text.startswith("".join(text))), None)
        assert shown or not text
        current = slow.session.speaking.current
        assert not current or not current.sent or current.sent * 24_000 <= shown.samples
    assert plain(slow.events) == plain(swift.events) and len(asked) == 1
    assert only(slow.events, "response.done")["response"]["status"] == "completed"


@pytest.mark.parametrize("refused", [False, True])
def test_an_answer_can_be_cancelled_while_its_question_is_looked_at(pipeline: Pipeline, refused: bool) -> None:
    later = Later()
    guards = Guards(lambda voice: Writing(), lambda question: "no" if refused else None)
    talking = Talking(pipeline, guards, aside=later)
    talking.raw(json.dumps(HELLO))
    assert kinds(talking.raw(json.dumps(ANSWER))) == ["response.created"]  # which the model has answered long ago
    done = only(talking.say("response.cancel"), "response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    assert not any(turn[0].role == "assistant" for turn in talking.talk.items.values() if turn)
    assert kinds(talking.raw(json.dumps(ANSWER))) == ["response.created"]  # and neither does the next go ahead
    mark = len(talking.events)
    later.all()
    done = only(talking.events[mark:], "response.done")["response"]
    assert done["status"] == ("incomplete" if refused else "completed")
    assert any(talking.talk.items.values()) is not refused


def test_an_answer_that_is_interrupted_while_it_is_looked_at_says_no_more(pipeline: Pipeline, spoken: Wave) -> None:
    later = Later()
    talking = Talking(pipeline, Guards(lambda voice: Writing()), aside=later)
    talking.raw(json.dumps(HELLO))
    talking.say("response.create")
    assert later.waiting
    events = talking.hear(np.concatenate((silence(0.3), spoken)))
    assert only(events, "response.done")["response"]["status_details"]["reason"] == "turn_detected"
    mark = len(talking.events)
    later.one()
    assert not talking.events[mark:]


@pytest.mark.parametrize("minds", [False, True])
def test_the_text_of_a_draft_is_looked_at_before_the_turn_is_over(
    pipeline: Pipeline, spoken: Wave, minds: bool
) -> None:
    guards, later = [], Later()

    class Minding(Writing):
        def feed(self, samples: Wave, transcript: str) -> str | None:
            super().feed(samples, transcript)
            return "it is bad" if minds and len(transcript) > 2 else None

    def guard(voice: str | None) -> Minding:
        guards.append(Minding())
        return guards[-1]

    talking = Talking(pipeline, Guards(guard), aside=later)
    detection = {"type": "server_vad", "silence_duration_ms": 500}
    session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
    talking.say("session.update", session=session)
    talking.hear(np.concatenate((silence(0.3), spoken, silence(0.3))))
    later.all()
    draft = talking.session.speaking.draft
    assert draft is not None and guards[-1].text and not guards[-1].samples
    assert "response.created" not in kinds(talking.events)              # nobody was told anything
    mark = len(talking.events)
    talking.hear(silence(0.5))
    events = talking.events[mark:]
    text = [event["delta"] for event in events if event["type"] == "response.output_audio_transcript.delta"]
    assert guards[-1].text.startswith("".join(text))                    # it waits for nothing more
    assert minds or "".join(text)
    later.all()
    done = only(talking.events, "response.done")["response"]
    assert (done["status"], (done["status_details"] or {})["reason"]) == (
        ("incomplete", "content_filter") if minds else ("completed", None)
    )
    assert minds is (guards[-1].samples == 0)                           # and all that is heard was listened to


def test_an_item_that_is_only_referred_to_is_looked_at_too(pipeline: Pipeline) -> None:
    talking = Talking(pipeline, Guards(lambda voice: Writing(), lambda said: "no" if "steal" in said else None))
    talking.say("conversation.item.create", item=text("How do I steal a car?", id="bad"))
    given = {"conversation": "none", "input": [{"type": "item_reference", "id": "bad"}]}
    assert only(talking.say("response.create", response=given), "response.done")["response"]["status"] == "incomplete"


class Blocking:
    """A guard of questions or of answers that works until it is released."""

    def __init__(self, of: str) -> None:
        self.of, self.began, self.released, self.late = of, threading.Event(), threading.Event(), False

    def wait(self) -> None:
        self.began.set()
        self.late |= not self.released.wait(20)

    def question(self, said: str) -> str | None:
        if self.of == "questions":
            self.wait()
        return None

    def feed(self, samples: Wave, transcript: str) -> str | None:
        if self.of == "answers":
            self.wait()
        return None


class Socket:
    """A client's side of a session with an application in the same loop."""

    def __init__(self, app: Starlette) -> None:
        scope = {
            "type": "websocket", "path": "/v1/realtime", "query_string": b"", "root_path": "", "subprotocols": [],
            "headers": [(b"host", b"localhost")], "asgi": {"version": "3.0", "spec_version": "2.4"},
        }  # fmt: skip
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        self._heard: asyncio.Queue[Any] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})
        self._app = asyncio.create_task(app(scope, self._said.get, self._heard.put))  # type: ignore[arg-type]

    def say(self, *events: dict[str, Any]) -> None:
        for event in events:
            self._said.put_nowait({"type": "websocket.receive", "text": json.dumps(event)})

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """Events up to the next of this type."""
        found: list[dict[str, Any]] = []
        while not found or found[-1]["type"] != kind:
            message = await self._heard.get()
            found += [json.loads(message["text"])] if message["type"] == "websocket.send" else []
        return found

    async def leave(self) -> None:
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self._app


def served(pipeline: Pipeline, guard: Blocking) -> tuple[Starlette, Any]:
    process: Any = answering(pipeline)
    return application(Pool([process], 2), Door(), Guards(lambda voice: guard, guard.question)), process


@pytest.mark.parametrize("of", ["questions", "answers"])
def test_while_a_guard_is_at_work_other_sessions_go_on(pipeline: Pipeline, of: str) -> None:
    guard = Blocking(of)
    app, _ = served(pipeline, guard)

    async def talk() -> None:
        one, other = Socket(app), Socket(app)
        one.say(HELLO, ANSWER)
        await one.until("response.created")
        assert await asyncio.to_thread(guard.began.wait, 20)
        for _ in range(3):
            other.say({"type": "input_audio_buffer.clear"})
            await other.until("input_audio_buffer.cleared")
        one.say({"type": "input_audio_buffer.clear"})                   # and so does its own
        assert not any("output_text" in event["type"] for event in await one.until("input_audio_buffer.cleared"))
        guard.released.set()
        assert (await one.until("response.done"))[-1]["response"]["status"] == "completed"
        await asyncio.gather(one.leave(), other.leave())

    asyncio.run(talk())
    assert not guard.late


def test_a_session_that_ends_while_its_guard_is_at_work_leaves_nothing(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    guard = Blocking("questions")
    app, process = served(pipeline, guard)

    async def talk() -> None:
        socket = Socket(app)
        socket.say(HELLO, ANSWER)
        assert await asyncio.to_thread(guard.began.wait, 20)
        await socket.leave()
        assert not process.listeners and not process.worker.talks
        assert asyncio.all_tasks() == {asyncio.current_task()}
        guard.released.set()

    asyncio.run(talk())
    assert not guard.late and not caplog.records


def test_the_sound_of_a_sentence_does_not_wait_for_the_text_of_the_next(pipeline: Pipeline) -> None:
    later, looked = Later(), list[tuple[int, str]]()

    class Noting:
        def feed(self, samples: Wave, transcript: str) -> str | None:
            looked.append((len(samples), transcript))
            return None

    talking = Talking(pipeline, Guards(lambda voice: Noting()), aside=later)
    talking.session.take(json.dumps(HELLO))
    talking.session.take(json.dumps({"type": "response.create"}))
    answer, sound = talking.session.speaking.current, np.full(2400, 0.5, np.float32)
    for letters, audio in (("One.", None), (None, sound), (None, sound), (" Two.", None), (None, sound)):
        talking.session.told(messages.Said("talk", answer.id, letters, audio))
    sent = []
    while later.waiting:
        later.one()
        sent.append((round(answer.sent, 1), answer.text, looked[-1][1]))
    assert (0.3, "One.", "One.") in sent                                # two of three, before the guard sees " Two."
    assert sent[-1] == (0.4, "One. Two.", "One. Two.")
    talking.worker.take(messages.Stop("talk", answer.id))
