"""The head that tells the end of a turn, and what it listens to."""

import copy
import json

import numpy as np
import pytest
import torch
from talking import resampled, silence

from omni.decode.pipeline import Pipeline
from omni.decode.stream import Stream
from omni.errors import InputError
from omni.live.model.ending import FRAMES, Ending, latest
from omni.live.model.memory import Memory
from omni.live.model.talk import Talk
from omni.sequence import Segment, prompt, unsure
from omni.shipped import shipped_model
from omni.train.turns.ending import heard


def test_the_ear_hears_as_the_head_was_taught_whatever_was_said_before(pipeline: Pipeline, spoken: np.ndarray) -> None:
    head = Ending.load(shipped_model())
    assert head is not None
    wave = resampled(np.concatenate((silence(0.3), spoken, silence(0.09))), 24_000, 16_000)
    (states,) = heard(pipeline, [wave])
    with torch.inference_mode():
        expected = float(head(states[None]).sigmoid())
    talk = Talk(pipeline, Memory(pipeline, tuple), head)
    for _ in range(2):                                                  # a first turn, and one behind it
        for start in range(0, len(wave), 320):
            talk.hear(wave[start : start + 320])
        assert talk.judge() == pytest.approx(expected, abs=0.02)
        talk.commit("said")


def test_of_a_long_turn_the_latest_counts(pipeline: Pipeline) -> None:
    head = Ending.load(shipped_model())
    assert head is not None
    codes = np.random.default_rng(0).integers(0, 1000, size=(900, pipeline.vocab.codebooks))
    for frames in (FRAMES + 1, 499, 500, 501, 900):                     # however much was said before them
        alone = head.judged(pipeline, codes[frames - FRAMES : frames])
        assert head.judged(pipeline, codes[:frames]) == pytest.approx(alone, abs=1e-5)
    assert head.judged(pipeline, codes[:0]) is None


def test_the_head_judges_the_states_of_a_model_of_another_precision(pipeline: Pipeline) -> None:
    head = Ending.load(shipped_model())
    assert head is not None
    codes = np.random.default_rng(0).integers(0, 1000, size=(40, pipeline.vocab.codebooks))
    exact = Pipeline(copy.deepcopy(pipeline.model).double(), pipeline.vocab, pipeline.tokenizers)
    assert head.judged(exact, codes) == pytest.approx(head.judged(pipeline, codes), abs=1e-3)


def test_recordings_are_heard_together_as_each_is_alone(pipeline: Pipeline) -> None:
    codes = np.random.default_rng(1).integers(0, 1000, size=(60, pipeline.vocab.codebooks))
    said = [codes[:length] for length in (1, 3, 20, 60)]
    together = latest(pipeline.model, pipeline.vocab, said)
    for states, one in zip(together, said, strict=True):
        (alone,) = latest(pipeline.model, pipeline.vocab, [one])
        torch.testing.assert_close(states, alone, atol=1e-4, rtol=1e-4)
        fresh = Stream(pipeline.model)
        ids = prompt(heard := [Segment("audio", one[-FRAMES:])], pipeline.vocab)
        fresh.feed(ids[None, : -unsure(heard, pipeline.vocab)])
        torch.testing.assert_close(states[-1:], fresh.state(), atol=1e-4, rtol=1e-4)


def test_a_head_of_another_model_is_refused(tmp_path) -> None:
    (tmp_path / "checksums.json").write_text('{"model.safetensors": "another"}')
    assert Ending.load(tmp_path) is None
    Ending(8, "this").save(tmp_path)
    with pytest.raises(InputError, match="another model"):
        Ending.load(tmp_path)


def test_a_head_of_an_earlier_version_is_told_as_such(tmp_path) -> None:
    (tmp_path / "checksums.json").write_text('{"model.safetensors": "this"}')
    Ending(8, "this").save(tmp_path)
    assert Ending.load(tmp_path) is not None
    config = tmp_path / "ending" / "config.json"
    told = json.loads(config.read_text())
    del told["frames"]
    config.write_text(json.dumps(told))
    with pytest.raises(InputError, match="earlier version; run `omni train ending"):
        Ending.load(tmp_path)
