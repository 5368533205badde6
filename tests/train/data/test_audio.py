"""Levelling, trimming and resampling on waveforms whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.train.data.parse import audio
from omni.train.data.parse.base import UnusableError


def tone(seconds: float, rate: int, frequency: float = 440.0, amplitude: float = 0.1) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(
    lead=st.floats(0, 0.5),
    tail=st.floats(0, 0.5),
    rate=st.sampled_from([8000, 16000, 44100]),
    gain=st.floats(0.005, 0.9),
)
def test_every_recording_ends_up_equally_loud_and_tightly_cut(lead: float, tail: float, rate: int, gain: float) -> None:
    quiet = [np.zeros(int(seconds * rate), np.float32) for seconds in (lead, tail)]
    samples = audio.finish(np.concatenate((quiet[0], tone(0.5, rate, amplitude=gain), quiet[1])), rate) / 32768
    assert len(samples) / 16000 == pytest.approx(0.5 + min(lead, 0.05) + min(tail, 0.05), abs=0.03)
    middle = samples[len(samples) // 2 - 1600 : len(samples) // 2 + 1600]
    assert 20 * np.log10(np.sqrt(np.mean(middle**2))) == pytest.approx(-23, abs=0.5)


def test_a_tone_keeps_its_pitch_through_ogg_and_resampling(tmp_path: Path) -> None:
    path = tmp_path / "tone.ogg"
    soundfile.write(path, np.stack([tone(1.0, 44100)] * 2, axis=1), 44100)
    samples = audio.load_clip(path).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * 16000 / len(samples) == pytest.approx(440, abs=2)


def test_no_sample_passes_the_peak() -> None:
    click = np.full(16000, 0.02, np.float32) * np.sign(np.sin(np.arange(16000)))
    click[8000] = 1.0
    assert np.abs(audio.finish(click.astype(np.float32), 16000)).max() <= 32767 * 10 ** (-1 / 20) + 1


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0, np.float32), "under 0.15 s"),
        (tone(0.01, 16000), "under 0.15 s"),
        (tone(12.5, 16000), "over 12 s"),
        (np.zeros(16000, np.float32), "silent"),
        (np.full(16000, np.nan, np.float32), "not numbers"),
    ],
)
def test_what_cannot_be_used_is_named(samples: np.ndarray, reason: str) -> None:
    with pytest.raises(UnusableError, match=reason):
        audio.finish(samples, 16000)


def test_a_file_that_is_no_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.ogg").write_text("no audio")
    with pytest.raises(UnusableError, match="decoded"):
        audio.load_clip(tmp_path / "text.ogg")
