"""What conversations of one process share: passes over the weights, the time of those that listen, and memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from talking import Talking, finish, kinds, opened, refused
from torch import Tensor

from omni.decode.parts import Text
from omni.decode.pipeline import Pipeline
from omni.decode.samplers import GREEDY, Sampler
from omni.decode.stream import Stream, catch_up
from omni.live.engine import messages
from omni.live.model.memory import free, share
from omni.live.model.worker import HELD, Worker
from omni.model.cache import Cache

WRITE = messages.Ask(("text",), {"max_tokens": 24})
SPEAK = messages.Ask(("text", "audio"), {"max_tokens": 12, "max_seconds": 0.4})


def ask(worker: Worker, talk: str, ask: messages.Ask, answer: str = "answer") -> None:
    worker.take(messages.Answer(talk, answer, ask, None, None, (Text("What is this?"),)))


def test_written_answers_are_made_in_one_pass(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, told = opened(pipeline, *"abcd")
    step: Any = pipeline.step
    rows, together = list[int](), step.together

    def counted(ids: Tensor, caches: list[Cache]) -> Tensor:
        rows.append(len({id(cache) for cache in caches}))
        return together(ids, caches)

    monkeypatch.setattr(step, "together", counted)
    for talk in "abcd":
        ask(worker, talk, messages.Ask(("text",), {"max_tokens": 40, "sampler": Sampler(temperature=30.0)}))
    finish(worker)
    said = [one.talk for one in told if isinstance(one, messages.Said)]
    assert set(said[:4]) == set("abcd") and len(said) > 100             # nobody waits for another's whole answer
    assert rows.count(4) > 0.7 * len(rows)


def test_what_is_to_be_heard_goes_before_what_is_to_be_read(pipeline: Pipeline) -> None:
    worker, told = opened(pipeline, *"abc")
    ask(worker, "a", messages.Ask(("text",), {"max_tokens": 60, "seed": 3}))
    ask(worker, "b", SPEAK)
    ask(worker, "c", SPEAK)
    finish(worker)
    first = next(at for at, one in enumerate(told) if one.talk == "a" and isinstance(one, messages.Said))
    sounds = [at for at, one in enumerate(told) if isinstance(one, messages.Said) and one.audio is not None]
    assert {told[at].talk for at in sounds if at < first} == set("bc")
    assert {one.talk for one in told if isinstance(one, messages.Ended)} == set("abc")


def test_transcripts_of_a_conversation_come_one_after_the_other(pipeline: Pipeline) -> None:
    worker, told = opened(pipeline, "a")
    random = np.random.default_rng(0)
    for item in ("first", "second", "third"):
        worker.take(messages.Hear("a", (0.1 * random.standard_normal(16_000)).astype(np.float32)))
        worker.take(messages.Commit("a", item))
        worker.take(messages.Transcribe("a", item, None))
    finish(worker)
    whole = [one.item for one in told if isinstance(one, messages.Transcribed)]
    assert whole == ["first", "second", "third"]
    items = [one.item for one in told if isinstance(one, messages.Wrote | messages.Transcribed)]
    assert items == sorted(items, key=whole.index)


def test_of_several_long_pasts_a_piece_of_one_is_computed_beside_the_urgent(pipeline: Pipeline) -> None:
    streams = [Stream(pipeline.model, max_steps=256, step=pipeline.step) for _ in range(4)]
    for number, stream in enumerate(streams):
        stream.feed(torch.randint(300, 1000, (1, 100 + number, pipeline.vocab.channels)))
    catch_up(streams, 64, streams[2])
    assert [stream.behind for stream in streams] == [36, 101, 38, 103]
    catch_up(streams, 64)
    assert [stream.behind for stream in streams] == [0, 101, 38, 103]
    catch_up(streams)
    assert not any(stream.behind for stream in streams)


@pytest.mark.parametrize("talks", ["a", "ab"])
def test_a_first_sound_has_more_behind_it_where_others_talk(pipeline: Pipeline, talks: str) -> None:
    worker, told = opened(pipeline, *talks)
    ask(worker, "a", messages.Ask(("audio",), {"max_seconds": 0.4}))
    while not (said := [one for one in told if isinstance(one, messages.Said)]):
        worker.work()
    assert len(said) == (1 if talks == "a" else 1 + HELD)               # frames at once
    finish(worker)
    assert isinstance(told[-1], messages.Ended)


def test_memory_has_an_end_that_is_told(pipeline: Pipeline) -> None:
    worker, told = opened(pipeline, *"ab", memory=50 << 20)
    worker.take(messages.Hear("a", np.zeros(3_200, np.float32)))        # whose past is 40 MiB
    for number in range(40):
        ask(worker, "b", WRITE, f"answer {number}")
    held = sum(stream.cache.nbytes for stream in worker._streams())
    refusals = [one for one in told if isinstance(one, messages.Failed)]
    assert 48 << 20 < held <= 50 << 20 and 10 < len(refusals) < 39
    assert not any(one.fault for one in refusals) and all(one.full for one in refusals)
    assert "no memory left" in refusals[0].message
    finish(worker)
    assert sum(isinstance(one, messages.Ended) for one in told) == 40 - len(refusals)
    ask(worker, "b", WRITE, "later")                                    # what was taken is given back
    finish(worker)
    assert isinstance(told[-1], messages.Ended) and told[-1].answer == "later"


def test_an_answer_aside_takes_as_much_memory_as_it_can_need(pipeline: Pipeline) -> None:
    """And says the same in it."""
    worker, told = opened(pipeline, "a")
    ask(worker, "a", messages.Ask(("text", "audio"), {"max_tokens": 12, "max_seconds": 1.0, "sampler": GREEDY}))
    (stream,) = worker._streams()
    assert stream.cache.max_steps < 100
    finish(worker)
    answer = pipeline([Text("What is this?")], ("text", "audio"), max_tokens=12, max_seconds=1.0, sampler=GREEDY)
    assert "".join(one.text or "" for one in told if isinstance(one, messages.Said)) == answer.text


def test_a_session_has_a_few_answers_out_of_band_at_once(talking: Talking) -> None:
    talking.say("conversation.item.create", item={
        "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]})  # fmt: skip
    create = '{"type": "response.create", "response": {"conversation": "none", "output_modalities": ["text"]}}'
    for _ in range(4):
        assert "response.created" in kinds(talking.raw(create, steps=0))
    error = refused(talking.raw(create, steps=0))
    assert error["code"] == "too_many_active_responses" and "4" in error["message"]
    assert "response.created" in kinds(talking.raw('{"type": "response.create"}', steps=0))  # the conversation's own
    talking.work()
    assert sum(event["type"] == "response.done" for event in talking.events) == 5
    assert kinds(talking.raw(create))[-1] == "response.done"


def test_a_draft_that_fails_while_it_is_kept_leaves_what_was_said(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, told = opened(pipeline, "a")
    wave = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    codec: Any = pipeline.tokenizers.audio

    def fail(*_: object) -> None:
        raise RuntimeError("no such kernel")

    worker.take(messages.Hear("a", wave))
    worker.take(messages.Answer("a", "draft", SPEAK, "its item", draft="first"))
    with monkeypatch.context() as broken:
        broken.setattr(codec, "decode_stream", fail)
        finish(worker)
    assert isinstance(told[-1], messages.Failed) and told[-1].answer == "draft"
    worker.take(messages.Keep("a", "draft"))                            # which the door said before it heard of it
    worker.take(messages.Hear("a", wave[:8_000]))
    worker.take(messages.Commit("a", "second"))
    items = worker.talks["a"].items
    assert list(items) == ["first", "second"]
    assert len(items["first"][0].codes) == 25 and len(items["second"][0].codes) <= 13
    worker.take(messages.Hear("a", wave))                               # one that is stopped leaves nothing
    worker.take(messages.Answer("a", "another", SPEAK, "its item", draft="third"))
    worker.take(messages.Stop("a", "another"))
    worker.take(messages.Keep("a", "another"))
    assert list(items) == ["first", "second"]


def test_files_that_a_container_holds_are_memory_that_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"max": str(100 << 20), "current": str(90 << 20)}
    files["stat"] = f"anon {20 << 20}\ninactive_file {30 << 20}\nactive_file {40 << 20}\n"
    for name, text in files.items():
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr("omni.live.model.memory.GROUP", tmp_path)
    assert free(torch.device("cpu")) == 80 << 20
    assert [share(torch.device("cpu"), processes) for processes in (1, 2)] == [40 << 20, 20 << 20]
