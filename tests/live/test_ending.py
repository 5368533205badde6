"""The head that tells the end of a turn, and what it listens to."""

import numpy as np
import pytest
import torch
from talking import resampled, silence

from omni.decode.pipeline import Pipeline
from omni.errors import InputError
from omni.live.model.ending import STATES, Ear, Ending
from omni.live.model.memory import Memory
from omni.live.model.talk import Talk
from omni.shipped import shipped_model
from omni.train.ending import heard


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
    codes = np.random.default_rng(0).integers(0, 1000, size=(900, 4))
    ear = Ear(head, pipeline)
    for frames in range(10, 901, 5):
        ear.hear(codes[:frames])
    other = Ear(head, pipeline)
    for frames in range(900 - STATES, 901):
        other.hear(codes[:frames])
    assert ear.judged() == pytest.approx(other.judged(), abs=1e-3)


def test_a_head_of_another_model_is_refused(tmp_path) -> None:
    (tmp_path / "checksums.json").write_text('{"model.safetensors": "another"}')
    assert Ending.load(tmp_path) is None
    Ending(8, "this").save(tmp_path)
    with pytest.raises(InputError, match="another model"):
        Ending.load(tmp_path)
