import pytest
import torch

from omni.tokenizers.audio.pitch import track_pitch
from omni.tokenizers.audio.synthesis import Synthesis


@pytest.mark.parametrize("hertz", [80.0, 120.0, 210.0, 400.0])
def test_the_tracker_finds_the_pitch_of_a_tone_with_harmonics(hertz: float) -> None:
    time = torch.arange(16000) / 16000
    wave = sum((2 * torch.pi * hertz * k * time).sin() / k for k in range(1, 8))
    pitch, clear = track_pitch(0.1 * torch.as_tensor(wave)[None], 16000, 160, 90, 256)
    inner = slice(5, 85)
    torch.testing.assert_close(pitch[:, inner], torch.full((1, 80), hertz), rtol=0.03, atol=0)
    assert clear[:, inner].min() > 0.85


def test_noise_is_not_clear() -> None:
    _, clear = track_pitch(torch.randn(1, 16000, generator=torch.Generator().manual_seed(0)), 16000, 160, 90, 256)
    assert clear.median() < 0.4


def test_the_pulse_train_has_the_pitch_it_is_given_and_power_one() -> None:
    synthesis = Synthesis(16000, 160, 512)
    pitch = torch.full((1, 200), 200.0, dtype=torch.float64)
    flat = torch.ones(1, 200, synthesis.bins)
    wave, _ = synthesis(pitch, flat.to(torch.complex64), 0 * flat, synthesis.start(1))
    middle = wave[:, 8000:24000]                                        # one second
    spectrum = torch.fft.rfft(middle[0]).abs()                          # bins of 1 Hz
    strongest = spectrum[100:1100].topk(5).indices + 100
    assert sorted(strongest.tolist()) == [200, 400, 600, 800, 1000]
    torch.testing.assert_close(middle.square().mean(), torch.tensor(1.0), rtol=0.1, atol=0)


def test_the_noise_has_power_one() -> None:
    synthesis = Synthesis(16000, 160, 512)
    flat = torch.ones(1, 200, synthesis.bins)
    pitch = torch.full((1, 200), 100.0, dtype=torch.float64)
    wave, _ = synthesis(pitch, 0 * flat.to(torch.complex64), flat, synthesis.start(1))
    torch.testing.assert_close(wave[:, 1000:].square().mean(), torch.tensor(1.0), rtol=0.1, atol=0)
