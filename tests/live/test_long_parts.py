"""Long recordings and texts are read in pieces, the same as whole, and others are answered in between."""

import socket
import threading
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from talking import finish, opened

from omni.decode.parts import Audio, Part, Text
from omni.decode.pipeline import Pipeline
from omni.decode.samplers import GREEDY
from omni.live.engine import messages, wire
from omni.live.hearing.pcm import Wave
from omni.live.model.process import serve
from omni.live.model.worker import Worker
from omni.tokenizers.text import TextTokenizer

SPEAK = messages.Ask(("text", "audio"), {"max_tokens": 4, "max_seconds": 5.0})
WRITE = messages.Ask(("text",), {"max_tokens": 4})


def long_sound(spoken: Wave, seconds: int) -> Audio:
    return Audio(np.resize(np.concatenate((spoken, np.zeros(7_001, np.float32))), seconds * 24_000), 24_000)


def long_text(pipeline: Pipeline, letters: int) -> Text:
    return Text(("the red owl, 2 cats and a dog — " * letters)[:letters])


@pytest.mark.parametrize("kind", ["sound", "text"])
def test_in_pieces_it_is_the_same_as_whole(pipeline: Pipeline, spoken: Wave, kind: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("omni.decode.parts.LETTERS", 100)
    part: Part = long_sound(spoken, 9) if kind == "sound" else long_text(pipeline, 2_000)
    (whole,) = pipeline.segments([part])
    worker, told = opened(pipeline, "a")
    worker.take(messages.Put("a", "long", (Text("Listen:"), part)))
    assert worker.busy
    finish(worker)
    assert not told
    _, read = worker.talks["a"].items["long"]
    np.testing.assert_array_equal(read.codes, whole.codes)


def test_others_are_answered_while_something_long_is_read(pipeline: Pipeline, spoken: Wave) -> None:
    worker, told = opened(pipeline, "long", "other")
    worker.take(messages.Put("other", "question", (Text("Hello"),)))
    worker.take(messages.Answer("other", "answer", SPEAK, "answer"))
    worker.take(messages.Put("long", "first", (long_sound(spoken, 20),)))
    worker.take(messages.Put("long", "second", (Text("And that?"),)))
    worker.take(messages.Answer("long", "to both", WRITE, "to both"))
    finish(worker)
    assert list(worker.talks["long"].items) == ["first", "second", "to both"]
    (ended,) = (one for one in told if isinstance(one, messages.Ended) and one.talk == "long")
    assert ended.heard["audio"] >= 20 * pipeline.tokenizers.audio.frame_rate  # type: ignore[union-attr]
    first = next(at for at, one in enumerate(told) if isinstance(one, messages.Said) and one.talk == "long")
    assert sum(isinstance(one, messages.Said) and one.audio is not None for one in told[:first]) > 5


def test_what_comes_with_the_answer_is_read_in_pieces_too(pipeline: Pipeline, spoken: Wave) -> None:
    worker, told = opened(pipeline, "a", "b")
    worker.take(messages.Answer("a", "one", WRITE, None, None, (long_sound(spoken, 5), long_sound(spoken, 3))))
    worker.take(messages.Put("b", "question", (Text("Hello"),)))
    worker.take(messages.Answer("b", "other", WRITE, None))
    finish(worker)
    assert [one.answer for one in told if isinstance(one, messages.Ended)] == ["other", "one"]


def test_what_is_only_written_and_what_is_read_take_turns(pipeline: Pipeline, spoken: Wave) -> None:
    worker, told = opened(pipeline, "a", "b")
    ask = messages.Ask(("text",), {"max_tokens": 60, "sampler": GREEDY})
    worker.take(messages.Answer("a", "written", ask, None, None, (Text("Tell me about yourself."),)))
    worker.take(messages.Put("b", "long", (long_sound(spoken, 4),)))
    while "long" not in worker.talks["b"].items:
        worker.work()
    assert not any(isinstance(one, messages.Ended) for one in told)
    finish(worker)
    assert isinstance(told[-1], messages.Ended)


def test_what_waits_is_counted_and_no_more_is_taken_until_there_is_less(
    pipeline: Pipeline, spoken: Wave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omni.live.model.process.MOST_WAITING", 1 << 20)
    go_on, work = threading.Event(), Worker.work
    monkeypatch.setattr(Worker, "work", lambda self: work(self) if go_on.is_set() else time.sleep(0.01))
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=serve, args=(theirs, pipeline, "x", None))
    serving.start()
    parts = (long_sound(spoken, 4),)                                    # 0.4 MiB
    said = wire.pack(messages.Open("a")) + b"".join(wire.pack(messages.Put("a", str(n), parts)) for n in range(30))
    with ours:
        ours.recv(1 << 16)                                              # that it is ready
        ours.settimeout(1)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < len(said):
                sent += ours.send(said[sent : sent + (1 << 16)])
        assert sent < 6 << 20
        ours.settimeout(60)
        go_on.set()
        ours.sendall(said[sent:])
    serving.join(60)
    assert not serving.is_alive()


@pytest.mark.parametrize("begun", [True, False])
def test_an_answer_is_stopped_before_what_it_answers_is_read(pipeline: Pipeline, spoken: Wave, begun: bool) -> None:
    worker, told = opened(pipeline, "a")
    parts = (long_sound(spoken, 5),)
    if not begun:
        worker.take(messages.Put("a", "long", parts))
    worker.take(messages.Answer("a", "unwanted", WRITE, None, None, parts))
    worker.take(messages.Stop("a", "unwanted"))
    worker.take(messages.Put("a", "question", (Text("Hello"),)))
    worker.take(messages.Answer("a", "wanted", WRITE, "wanted"))
    finish(worker)
    assert {getattr(one, "answer", None) for one in told} == {"wanted"}
    assert list(worker.talks["a"].items) == [*([] if begun else ["long"]), "question", "wanted"]


def test_what_is_said_while_something_long_is_read_is_heard_after_it(pipeline: Pipeline, spoken: Wave) -> None:
    heard = {}
    for first in ((), (long_sound(spoken, 3),)):
        worker, told = opened(pipeline, "a")
        if first:
            worker.take(messages.Put("a", "long", first))
        for start in range(0, 8_000, 320):
            worker.take(messages.Hear("a", spoken[start : start + 320]))
        worker.take(messages.Commit("a", "said"))
        finish(worker)
        assert not told and list(worker.talks["a"].items) == [*(["long"] if first else []), "said"]
        (heard[bool(first)],) = worker.talks["a"].items["said"]
    np.testing.assert_array_equal(heard[True].codes, heard[False].codes)


def test_what_fails_half_way_changes_nothing_and_the_next_goes_on(pipeline: Pipeline, spoken: Wave) -> None:
    worker, told = opened(pipeline, "a")
    worker.take(messages.Put("a", "bad", (long_sound(spoken, 3), Audio(np.zeros(0, np.float32)))))
    worker.take(messages.Put("a", "good", (Text("Hello"),)))
    finish(worker)
    (failed,) = told
    assert isinstance(failed, messages.Failed) and failed.item == "bad" and not failed.fault
    assert list(worker.talks["a"].items) == ["good"]


def test_who_goes_while_something_long_is_read_leaves_nothing(pipeline: Pipeline, spoken: Wave) -> None:
    worker, told = opened(pipeline, "a")
    worker.take(messages.Put("a", "long", (long_sound(spoken, 5),)))
    worker.take(messages.Close("a"))
    assert not worker.busy and not worker.talks and not told


WORDS = st.text(st.sampled_from("ab é中½_9.' \n\t—\u0301"), max_size=60)


@settings(max_examples=200)
@given(st.lists(WORDS, min_size=1, max_size=6), st.integers(1, 20))
def test_a_text_in_parts_has_the_ids_of_the_whole(said: list[str], letters: int) -> None:
    text = " ".join(said)
    parts = list(LEARNT.cut(text, letters))
    assert "".join(parts) == text and all(len(part) >= letters for part in parts[:-1])
    assert [number for part in parts for number in LEARNT.encode(part)] == LEARNT.encode(text)
    assert all(a[-1].isalnum() and b[0] == " " for a, b in pairwise(parts))


LEARNT = TextTokenizer.train(
    ["ab ab a b é a 中 a½ ab. ab' ba\n\n ab\t a_9 99 999", "a b a b ab ab ab\u0301 é é"] * 5, 320
)
