"""From spectral envelopes to samples: a pitched pulse train and noise, filtered and overlap-added, chunk by chunk.

The network that feeds this need not invent phase, which a few hundred bits a second cannot carry: it says how loud
each frequency of a pulse train and of a noise is (neural source-filter, Wang et al. 2019; DDSP, Engel et al. 2020) and
how the pulse's phase is bent; the inverse transform and overlap-add follow Vocos (Siuzdak 2023).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

NOISE_HOPS = 251                                                        # period of the noise: 2.5 s is not heard


@dataclass(frozen=True)
class SynthesisState:
    """What the past leaves behind for the next hop. Phase is in cycles, in double, or a long stream would drift."""

    phase: Tensor                                                       # double [batch]: pulse phase at the last hop
    pitch: Tensor                                                       # double [batch]: Hz at the last hop
    overlap: Tensor                                                     # [batch, window]: samples not yet complete
    weight: Tensor                                                      # [window]: windows summed over them
    hop: int                                                            # where in the noise we are


class Synthesis(nn.Module):
    """Inverse STFT of filtered sources; every sample of a hop is final when the hop is done (no latency of its own)."""

    window: Tensor
    noise: Tensor

    def __init__(self, sample_rate: int, hop: int, size: int) -> None:
        super().__init__()
        self.sample_rate, self.hop, self.size, self.bins = sample_rate, hop, size, size // 2 + 1
        window = torch.hann_window(size + 1)[1:]                        # no zero at the newest sample
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("noise", _noise_spectra(hop, window), persistent=False)

    def start(self, batch: int) -> SynthesisState:
        silence = self.window.new_zeros(batch, self.size)
        phase = torch.zeros(batch, dtype=torch.float64, device=silence.device)
        return SynthesisState(phase, torch.full_like(phase, 100.0), silence, silence[0], 0)

    def forward(
        self, pitch: Tensor, pulse: Tensor, noise: Tensor, state: SynthesisState
    ) -> tuple[Tensor, SynthesisState]:
        """Samples of some hops.

        pitch: double [batch, hops], Hz; pulse: complex, noise: real [batch, hops, bins], the gain of each source.
        Returns [batch, hops * hop] samples and the state after them.
        """
        hops = pitch.shape[1]
        phase, excitation = self._pulses(pitch, state)                  # [batch, hops], complex [batch, hops, bins]
        index = torch.arange(state.hop, state.hop + hops, device=pitch.device) % NOISE_HOPS
        spectrum = pulse * excitation + noise * self.noise[index]       # complex [batch, hops, bins]
        frames = torch.fft.irfft(spectrum, n=self.size) * self.window   # [batch, hops, window]
        summed = self._overlap_add(frames, state.overlap)               # [batch, hops * hop + window]
        squares = (self.window**2).expand(1, hops, -1)
        weight = self._overlap_add(squares, state.weight.unsqueeze(0))[0]
        ready = hops * self.hop
        wave = summed[:, :ready] / weight[:ready].clamp_min(0.05)       # the clamp softens a file's first samples
        state = SynthesisState(phase[:, -1], pitch[:, -1], summed[:, ready:], weight[ready:], state.hop + hops)
        return wave, state

    def _pulses(self, pitch: Tensor, state: SynthesisState) -> tuple[Tensor, Tensor]:
        """Spectra of windows of a band-limited pulse train, each stationary in itself, phases joined at centres."""
        before = torch.cat((state.pitch.unsqueeze(1), pitch[:, :-1]), dim=1)
        advance = (before + pitch) / 2 * (self.hop / self.sample_rate)  # cycles [batch, hops]
        phase = (state.phase.unsqueeze(1) + advance.cumsum(1)) % 1
        time = torch.arange(self.size, device=pitch.device, dtype=torch.float64) - self.size // 2
        cycles = phase.unsqueeze(-1) + pitch.unsqueeze(-1) * (time / self.sample_rate)  # [batch, hops, window]
        cycles = (cycles - cycles.round()).float()                      # in -0.5..0.5
        count = (0.47 * self.sample_rate / pitch).floor().float().unsqueeze(-1)  # harmonics below the Nyquist frequency
        below = torch.sin(torch.pi * cycles)
        peak = below.abs() < 1e-4
        kernel = torch.sin(torch.pi * (2 * count + 1) * cycles) / torch.where(peak, 1.0, below)
        train = torch.where(peak, 2 * count, kernel - 1) / (2 * count).sqrt()  # sum of cosines, scaled to unit power
        return phase, torch.fft.rfft(train * self.window)

    def _overlap_add(self, frames: Tensor, overlap: Tensor) -> Tensor:
        """frames [batch, hops, window] added at every hop onto `overlap` [batch, window]: [batch, hops*hop+window]."""
        hops, length = frames.shape[1], frames.shape[1] * self.hop + self.size
        columns = frames.transpose(1, 2)                                # [batch, window, hops]
        size = (1, (hops - 1) * self.hop + self.size)
        added = F.fold(columns, size, kernel_size=(1, self.size), stride=(1, self.hop))[:, 0, 0]
        padded = F.pad(added, (0, length - added.shape[1]))
        return padded + F.pad(overlap, (0, length - self.size))


def _noise_spectra(hop: int, window: Tensor) -> Tensor:
    """Spectra of windows of one fixed periodic white noise: complex [NOISE_HOPS, bins]. The same on every machine."""
    samples = np.random.RandomState(0).standard_normal(NOISE_HOPS * hop)
    looped = torch.from_numpy(np.concatenate((samples, samples[: len(window)]))).float()
    return torch.fft.rfft(looped.unfold(0, len(window), hop)[:NOISE_HOPS] * window)
