"""Many conversations in one process of the model: each is answered as if it were alone."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.decode.parts import Text
from omni.decode.pipeline import Pipeline
from omni.decode.samplers import GREEDY
from omni.live.engine import messages
from omni.live.engine.messages import Told
from omni.live.engine.wire import together
from omni.live.model.worker import Worker

TALKS = ("a", "b", "c")


def order_of(told: list[Told], talk: str) -> list[object]:
    """What is said of a conversation: other messages, and the samples heard between them."""
    found: list[object] = []
    for message in told:
        if message.talk != talk:
            continue
        if not isinstance(message, messages.Hear):
            found.append(message)
        elif found and isinstance(found[-1], list):
            found[-1] += message.samples.tolist()
        else:
            found.append(message.samples.tolist())
    return found


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(TALKS), st.sampled_from(["hear", "hear", "judge"])), max_size=20))
def test_what_is_heard_together_is_what_was_said_one_by_one(said: list[tuple[str, str]]) -> None:
    told: list[Told] = [
        messages.Hear(talk, np.arange(3, dtype=np.float32) + 3 * number) if kind == "hear"
        else messages.Judge(talk, number) for number, (talk, kind) in enumerate(said)
    ]  # fmt: skip
    merged = together(told)
    for talk in TALKS:
        assert order_of(merged, talk) == order_of(told, talk)
        mine = [message for message in merged if message.talk == talk]
        assert not any(isinstance(a, messages.Hear) and isinstance(b, messages.Hear) for a, b in pairwise(mine))


def answered(pipeline: Pipeline, heard: dict[str, np.ndarray], ask: messages.Ask) -> dict[str, tuple[str, np.ndarray]]:
    """Text and sound of the answers to what some conversations hear at the same time."""
    told: list[Told] = []
    worker = Worker(pipeline, told.append)
    for talk in heard:
        worker.take(messages.Open(talk))
    for start in range(0, max(map(len, heard.values())), 1000):
        for talk, wave in heard.items():
            if len(wave) > start:
                worker.take(messages.Hear(talk, wave[start : start + 1000]))
        worker.catch_up()
    for talk in heard:
        worker.take(messages.Commit(talk, "question"))
        worker.take(messages.Answer(talk, f"to {talk}", ask, "answer"))
    while worker.busy:
        worker.work()
    assert not any(isinstance(message, messages.Failed) for message in told)
    pieces = {talk: [m for m in told if isinstance(m, messages.Said) and m.talk == talk] for talk in heard}
    return {
        talk: ("".join(p.text or "" for p in mine), np.concatenate([p.audio for p in mine if p.audio is not None]))
        for talk, mine in pieces.items()
    }


def test_conversations_that_share_steps_say_what_each_says_alone(pipeline: Pipeline) -> None:
    random = np.random.default_rng(0)
    heard = {
        talk: (0.1 * random.standard_normal(length)).astype(np.float32)
        for talk, length in zip(TALKS, (9_000, 16_500, 25_000), strict=True)
    }
    ask = messages.Ask(("text", "audio"), {"sampler": GREEDY, "max_tokens": 8, "max_seconds": 1.0})
    both = answered(pipeline, heard, ask)
    for talk, wave in heard.items():
        words, sound = answered(pipeline, {talk: wave}, ask)[talk]
        assert both[talk][0] == words
        np.testing.assert_allclose(both[talk][1], sound, atol=1e-4)


def test_what_fails_in_one_conversation_is_told_and_the_others_go_on(pipeline: Pipeline, monkeypatch) -> None:
    told: list[Told] = []
    worker = Worker(pipeline, told.append)
    ask = messages.Ask(("text", "audio"), {"sampler": GREEDY, "max_tokens": 8, "max_seconds": 0.4})
    for talk in TALKS:
        worker.take(messages.Open(talk))
        worker.take(messages.Put(talk, "question", (Text("Hello"),)))
    broken: Any = None                                                  # is no part, which nobody expects
    worker.take(messages.Put("a", "broken", (broken,)))
    (failed,) = told
    assert isinstance(failed, messages.Failed) and (failed.item, failed.answer, failed.fault) == ("broken", None, True)
    assert "broken" not in worker.talks["a"].items

    codec = pipeline.tokenizers.audio
    decode = codec.decode_stream

    def fail_once(*_: object) -> None:
        monkeypatch.setattr(codec, "decode_stream", decode)
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(codec, "decode_stream", fail_once)
    for talk in TALKS:
        worker.take(messages.Answer(talk, f"to {talk}", ask, "answer"))
    while worker.busy:
        worker.work()
    failures = [message for message in told[1:] if isinstance(message, messages.Failed)]
    assert [(one.answer, one.fault) for one in failures] == [(f"to {failures[0].talk}", True)]
    ended = {message.talk for message in told if isinstance(message, messages.Ended)}
    assert ended == set(TALKS) - {failures[0].talk}
    worker.take(messages.Answer(failures[0].talk, "again", ask, "another"))
    while worker.busy:
        worker.work()
    assert isinstance(told[-1], messages.Ended) and told[-1].answer == "again"


def test_a_process_whose_device_or_door_is_gone_does_not_go_on(pipeline: Pipeline) -> None:
    for error in (BrokenPipeError(), torch.AcceleratorError("gone")):
        def tell(_: Told, error: Exception = error) -> None:
            raise error

        worker = Worker(pipeline, tell)
        worker.take(messages.Open("a"))
        with pytest.raises(type(error)):
            worker.take(messages.Judge("a", 1))


def test_a_text_that_is_not_to_be_read_out_ends_the_answer(pipeline: Pipeline) -> None:
    told: list[Told] = []
    worker = Worker(pipeline, told.append)
    ask = messages.Ask(("text", "audio"), {"sampler": GREEDY, "max_tokens": 6, "voice": pipeline.vocab.voices[0]})

    def answer(mute: str) -> tuple[str, float, messages.Ended]:
        told.clear()
        worker.take(messages.Open("talk"))
        worker.take(messages.Answer("talk", "to it", ask, None, None, (Text("What is this?"),), "", mute))
        while worker.jobs:
            worker.work()
        said = [message for message in told if isinstance(message, messages.Said)]
        (ended,) = [message for message in told if isinstance(message, messages.Ended)]
        worker.take(messages.Close("talk"))
        text = "".join(one.text or "" for one in said)
        return text, sum(len(one.audio) for one in said if one.audio is not None), ended

    text, sound, ended = answer("")
    assert text and sound and answer("no such words")[:2] == (text, sound)
    same, none, sooner = answer(text[1:4])
    assert (same, none) == (text, 0)
    assert sooner.said["text"] == ended.said["text"] and sooner.said.get("audio", 0) < ended.said["audio"]
