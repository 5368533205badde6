"""What the codec is trained for: spectra at several resolutions, as the ear hears them, and pitch."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni.tokenizers.audio.pitch import track_pitch


def mel_filters(sample_rate: int, size: int, bands: int) -> Tensor:
    """Triangular mel filters (HTK scale), each summing to 1: [size // 2 + 1, bands]."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)   # Hz
    step = sample_rate / size
    edges = np.maximum.accumulate(np.maximum(edges, np.arange(bands + 2) * step))  # every band has a bin of its own
    bins = np.arange(size // 2 + 1)[:, None] * step
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.clip(np.minimum(rise, fall), 0, None)                  # [bins, bands]
    return torch.from_numpy(filters / np.maximum(filters.sum(0), 1e-8)).float()


class Spectrum(nn.Module):
    """Magnitudes of one resolution: STFT, its magnitude, mel bands."""

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, size: int, bands: int) -> None:
        super().__init__()
        self.hop = size // 4
        window = torch.hann_window(size)
        self.register_buffer("window", window / window.sum(), persistent=False)
        self.register_buffer("filters", mel_filters(sample_rate, size, bands), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """wave: [batch, samples]. Returns mel power [batch, frames, bands]."""
        frames = wave.unfold(1, len(self.window), self.hop) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames))           # [batch, frames, bins, 2]
        return spectrum.square().sum(-1) @ self.filters


class SpectralLoss(nn.Module):
    """Mean absolute difference of log mel spectra over several window lengths (MelGAN's and EnCodec's, Défossez 2022).

    Long windows see pitch and timbre, short ones see onsets; no one length sees both. In nats of amplitude.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        sizes = ((1024, 80), (512, 40), (256, 20))                      # samples, mel bands
        self.spectra = nn.ModuleList(Spectrum(sample_rate, size, bands) for size, bands in sizes)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Both [batch, samples]; returns one number."""
        total = output.new_zeros(())
        for spectrum in self.spectra:
            with torch.no_grad():
                wanted = (spectrum(target) + FLOOR).log()
            total = total + 0.5 * F.l1_loss((spectrum(output) + FLOOR).log(), wanted)
        return total / len(self.spectra)


FLOOR = 1e-9                                                            # power below which nothing is heard at -90 dB


def spread_loss(vectors: Tensor) -> Tensor:
    """How far the codes are from using the whole codebook: each dimension uniform over -1..1, no two correlated.

    vectors: quantized, [batch, frames, dims]. Without it a high learning rate pushes whole dimensions to one end in the
    first steps, and they stay there (VICReg's variance and covariance terms, Bardes et al. 2022, on FSQ).
    """
    rows = vectors.flatten(0, 1)                                        # [batch * frames, dims]
    centre = rows.mean(0)
    covariance = (rows - centre).T @ (rows - centre) / len(rows)        # [dims, dims]
    uniform = torch.eye(rows.shape[1], device=rows.device) / 3          # the variance of a uniform -1..1 is 1/3
    return centre.square().sum() + (covariance - uniform).square().sum()


def pitch_loss(pitch: Tensor, wave: Tensor, sample_rate: int, hop: int, centre: int) -> Tensor:
    """How far, in octaves, the codes' pitch is from the tracked pitch of `wave` [batch, samples] where it is clear.

    pitch: Hz [batch, hops]; centre: samples from a hop's start to its window's middle.
    """
    wanted, clear = track_pitch(wave, sample_rate, hop, pitch.shape[1], centre)
    trust = ((clear - 0.5) / 0.3).clamp(0, 1)                           # unvoiced frames have no pitch to learn
    miss = (pitch.float().log2() - wanted.log2()).abs()
    return (trust * miss).sum() / trust.sum().clamp_min(1.0)
