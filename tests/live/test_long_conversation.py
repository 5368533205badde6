"""A conversation that goes on beyond the model's room costs no more with every turn, and the model sees its latest."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from talking import Talking, finish, opened, resampled
from torch import Tensor

from omni.decode.parts import Audio, Text
from omni.decode.pipeline import Pipeline
from omni.decode.stream import Stream
from omni.layout import waiting
from omni.live.engine import messages
from omni.live.model.worker import Worker
from omni.model.cache import Cache
from omni.sequence import Segment, prompt, unsure

FRAME = 640                                                             # samples
BRIEF = messages.Ask(("text",), {"max_tokens": 2})


def sound(random: np.random.Generator, seconds: float) -> np.ndarray:
    return (0.05 * random.standard_normal(int(16_000 * seconds))).astype(np.float32)


def counting(pipeline: Pipeline, computed: list[int]) -> Pipeline:
    """The same model, which notes how many steps it computes."""

    def step(ids: Tensor, cache: Cache) -> Tensor:
        computed.append(ids.shape[1])
        return pipeline.model.extend(ids, cache)

    return Pipeline(pipeline.model, pipeline.vocab, pipeline.tokenizers, step)


def work(worker: Worker) -> None:
    finish(worker)
    while worker.late:
        worker.catch_up()


def after(pipeline: Pipeline, turns: int) -> Worker:
    """A conversation of so many turns of 1.3 s, 38 steps each with their marks, that were answered once."""
    random, (worker, told) = np.random.default_rng(turns), opened(pipeline, "a")
    worker.take(messages.Instruct("a", "Be brief."))
    for number in range(turns):
        worker.take(messages.Put("a", f"said {number}", (Audio(sound(random, 1.3), 16_000),)))
        work(worker)
    worker.take(messages.Answer("a", "answer", BRIEF, "answered", system="Be brief."))
    work(worker)
    assert not any(isinstance(one, messages.Failed) for one in told)
    return worker


def test_instructions_are_heard_before_the_user_has_spoken(pipeline: Pipeline, spoken: np.ndarray) -> None:
    computed: list[int] = []
    talking = Talking(counting(pipeline, computed))
    by_hand = {"input": {"turn_detection": None}}
    session = {"type": "realtime", "instructions": "Be kind and brief. " * 8, "audio": by_hand}
    talking.say("session.update", session=session)
    talking.hear(np.tile(spoken, 3))
    work(talking.worker)
    talking.say("input_audio_buffer.commit")
    assert sum(computed) > 40                                           # of them, and of what was said
    computed.clear()
    talking.say("response.create", response={"output_modalities": ["text"]})
    assert max(computed) < 20                                           # what was uncertain; then letter by letter


def test_instructions_of_one_answer_leave_the_past_as_it_is(pipeline: Pipeline) -> None:
    computed: list[int] = []
    worker = after(counting(pipeline, computed), 20)
    worker.take(messages.Answer("a", "loud", BRIEF, "shouted", system="Shout."))
    work(worker)
    assert sum(computed) > 2 * 20 * 38                                  # it was heard anew, aside
    computed.clear()
    worker.take(messages.Hear("a", sound(np.random.default_rng(0), 0.4)))
    work(worker)
    assert sum(computed) < 40                                           # the answer, and what is being said


def test_how_much_is_left_to_hear_does_not_grow_with_what_was_said(pipeline: Pipeline, spoken: np.ndarray) -> None:
    said, left = resampled(spoken, 24_000, 16_000), []
    for times in (1, 12):                                               # 15 s
        computed: list[int] = []
        worker, _ = opened(counting(pipeline, computed), "a")
        for start in range(0, times * len(said), FRAME):
            worker.take(messages.Hear("a", np.tile(said, times)[start : start + FRAME]))
            work(worker)
        assert sum(computed) > 5 * times                                # letters
        computed.clear()
        worker.take(messages.Answer("a", "answer", BRIEF, "answered", draft="said"))
        left.append(worker.talks["a"].speech.stream.behind)  # type: ignore[union-attr]
    assert max(left) < 12                                               # the last letters, and the marks behind them


@pytest.mark.parametrize("turns", [5, 60])
def test_a_frame_costs_the_same_however_long_the_conversation(
    pipeline: Pipeline, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    worker, laid = after(counting(pipeline, computed), turns), list[int]()
    payload = Segment.payload

    def counted(segment: Segment, vocab: Any) -> np.ndarray:
        ids = payload(segment, vocab)
        laid.append(len(ids))
        return ids

    monkeypatch.setattr(Segment, "payload", counted)
    computed.clear()
    wave = sound(np.random.default_rng(0), 2.0)
    for number, start in enumerate(range(0, len(wave), FRAME)):
        laid.clear()
        worker.take(messages.Hear("a", wave[start : start + FRAME]))
        work(worker)
        assert sum(laid) <= number + 1 + waiting(pipeline.vocab) + 2    # what is being said, and the answer before it
    assert sum(computed) < 2.0 * 25 + 10


def test_what_has_no_room_is_forgotten_once_for_many_turns(pipeline: Pipeline) -> None:
    computed: list[int] = []
    worker, random = after(counting(pipeline, computed), 50), np.random.default_rng(1)
    computed.clear()
    for number in range(16):
        worker.take(messages.Hear("a", sound(random, 1.3)))
        work(worker)
        worker.take(messages.Commit("a", f"heard {number}"))
    room = pipeline.model.config.max_steps
    assert sum(computed) < 16 * 38 + room // 2 + 16 * 8                 # one afresh at most, and what was uncertain


def test_the_model_sees_what_it_would_see_afresh(pipeline: Pipeline) -> None:
    worker, random = after(pipeline, 60), np.random.default_rng(2)
    worker.take(messages.Put("a", "behind", (Text("And this"),), "said 58"))
    worker.take(messages.Put("a", "long ago", (Text("First of all"),), ""))
    worker.take(messages.Delete("a", "said 57"))
    worker.take(messages.Delete("a", "said 3"))
    worker.take(messages.Hear("a", sound(random, 0.5)))
    work(worker)
    talk, vocab = worker.talks["a"], pipeline.vocab
    names = list(talk.items)
    heard = [Segment("audio", talk._listening.codes, letters_alone=True)]
    (system,) = talk.system
    state = talk._stream.state()

    def same(first: int) -> bool:
        kept = [system, *chain(*(talk.items[name] for name in names[first:])), *heard]
        ids = prompt(kept, vocab)[: -unsure(kept, vocab)]
        if len(ids) != len(talk._stream):
            return False
        afresh = Stream(pipeline.model)
        afresh.feed(ids[None])
        return torch.allclose(afresh.state(), state, rtol=1e-3, atol=1e-3)

    assert {"said 3", "said 57"}.isdisjoint(names) and names.index("behind") == names.index("said 58") + 1
    assert sum(same(first) for first in range(1, len(names))) == 1      # the latest items, and what is being said
    assert len(talk._stream) > pipeline.model.config.max_steps // 2 - 80
