"""The melody of speech, of tones whose pitch is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from omni.live.hearing.pcm import HOP, RATE
from omni.live.hearing.pitch import FEATURES, WINDOW, melody


def windows(wave: np.ndarray) -> np.ndarray:
    return sliding_window_view(wave.astype(np.float32), WINDOW)[::HOP]


def voice(hertz: np.ndarray) -> np.ndarray:
    """A buzz of ten harmonics whose pitch is as given at each sample."""
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    return sum(np.sin(number * phase) / number for number in range(1, 11)) * 0.1


@given(st.floats(140, 200), st.floats(-0.4, 0.8))
def test_octaves_are_counted_from_the_usual_pitch(low: float, octaves: float) -> None:
    """Three parts of one pitch, which is the usual one, and one of another."""
    hertz = np.repeat([low, low, low, low * 2**octaves], RATE // 4)
    found = melody(windows(voice(hertz)))
    assert found.shape[1] == FEATURES and found[:, 2].mean() > 0.9
    assert found[: RATE // 2 // HOP, 0] == pytest.approx(0, abs=0.05)
    assert np.median(found[-15:, 0]) == pytest.approx(octaves, abs=0.06)


def test_noise_and_silence_are_no_voice() -> None:
    random = np.random.default_rng(0)
    noise = melody(windows(random.normal(0, 0.1, RATE)))
    assert noise[:, 2].mean() < 0.1 and not noise[noise[:, 2] == 0, 0].any()
    assert not melody(windows(np.zeros(RATE)))[:, [0, 2]].any()


def test_what_is_far_softer_than_the_voice_is_none() -> None:
    wave = voice(np.full(RATE, 120.0))
    wave[RATE // 2 :] *= 0.01
    found = melody(windows(wave))
    assert found[:40, 2].all() and not found[-40:, 2].any()
