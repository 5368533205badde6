import math

import numpy as np
import pytest

from omni.errors import InputError
from omni.tokenizers.audio import metrics
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig


def speechlike(seconds: float = 2.0) -> np.ndarray:
    """Harmonics under a moving formant and a syllable rhythm: enough of speech for the measures to work on."""
    time = np.arange(int(16000 * seconds)) / 16000
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * time)) / 16000
    formant = 700 + 500 * np.sin(2 * np.pi * 1.5 * time)
    wave = sum(np.sin(k * pitch) * np.exp(-(((120 * k - formant) / 500) ** 2)) for k in range(1, 25))
    return (0.1 * wave * (0.05 + np.sin(2 * np.pi * 2 * time) ** 2)).astype(np.float32)


@pytest.fixture(scope="module")
def noisy() -> tuple[np.ndarray, np.ndarray]:
    wave = speechlike()
    return wave, (wave + 0.1 * np.random.default_rng(0).standard_normal(len(wave))).astype(np.float32)


def test_a_wave_is_perfect_against_itself_and_worse_with_noise(noisy: tuple[np.ndarray, np.ndarray]) -> None:
    wave, worse = noisy
    assert metrics.stoi(wave, wave) == pytest.approx(1.0, abs=1e-6) and metrics.stoi(wave, worse) < 0.95
    assert metrics.pesq_wb(wave, wave) == pytest.approx(4.64, abs=0.01) and metrics.pesq_wb(wave, worse) < 3
    assert metrics.log_stft_distance(wave, wave) == 0


def test_the_spectral_distance_of_half_the_loudness_is_six_decibels() -> None:
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert metrics.log_stft_distance(noise, noise / 2) == pytest.approx(6.02, abs=0.05)


def test_measures_are_nan_where_there_is_nothing_to_hear() -> None:
    silence = np.zeros(3000, dtype=np.float32)
    assert math.isnan(metrics.stoi(silence, silence)) and math.isnan(metrics.pesq_wb(silence, silence))


@pytest.mark.slow
def test_dnsmos_agrees_with_its_own_package(noisy: tuple[np.ndarray, np.ndarray]) -> None:
    from speechmos import dnsmos

    wave = np.tile(noisy[0], 5)[: int(9.01 * 16000)]
    assert metrics.dnsmos(wave) == pytest.approx(float(dnsmos.run(wave, 16000)["ovrl_mos"]), abs=1e-3)


def test_evaluation_reports_every_figure_with_its_count_and_interval() -> None:
    codec = Codec(CodecConfig(levels=(4, 4), d_model=16, d_hop=8, encoder_layers=1, decoder_layers=1)).eval()
    report = metrics.evaluate(codec, [(speechlike(1.0), "a frog"), (speechlike(1.2), None)])
    figures = report.figures
    assert figures["bits_per_second"].value == 4 * 50
    counts = {"stoi": 2, "pesq": 2, "dnsmos": 2, "dnsmos_original": 2, "wer_decoded_minus_original": 1}
    for name, count in counts.items():
        assert figures[name].n == count and figures[name].low <= figures[name].value <= figures[name].high
    assert figures["stream_rtf"].value > 0
    with pytest.raises(InputError, match="no clips"):
        metrics.evaluate(codec, [])
