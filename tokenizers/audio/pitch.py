"""Pitch: a tracker that teaches, and the small head that reads pitch from the codes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOWEST, HIGHEST = 60.0, 500.0                                           # Hz, from low male voices to children


class PitchHead(nn.Module):
    """Codes to Hz in double precision.

    The phase of the voice is a running sum of pitch, and a float32 network rounds a little differently for every chunk
    length: a stream would drift away from the whole file. Codes are exact, and doubles keep the sum so.
    """

    def __init__(self, dims: int, hops: int, width: int = 48, kernel: int = 5) -> None:
        super().__init__()
        self.past, self.dims = kernel - 1, dims
        self.mix = nn.Linear(kernel * dims, width, dtype=torch.float64)
        self.hidden = nn.Linear(width, width, dtype=torch.float64)
        self.out = nn.Linear(width, hops, dtype=torch.float64)

    def start(self, batch: int) -> Tensor:
        return self.mix.weight.new_zeros(batch, self.past, self.dims)

    def forward(self, vectors: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Quantized vectors [batch, frames, dims] to Hz, double [batch, frames * hops], and the state after them."""
        seen = torch.cat((state, vectors.double()), dim=1)
        near = seen.unfold(1, self.past + 1, 1).flatten(2)              # [batch, frames, dims * kernel]
        hidden = F.silu(self.hidden(F.silu(self.mix(near))))
        octaves = torch.sigmoid(self.out(hidden)).flatten(1)            # [batch, frames * hops]
        return LOWEST * (HIGHEST / LOWEST) ** octaves, seen[:, seen.shape[1] - self.past :]


@torch.no_grad()
def track_pitch(wave: Tensor, sample_rate: int, hop: int, hops: int, centre: int) -> tuple[Tensor, Tensor]:
    """Pitch by normalised autocorrelation, one value a hop around sample `hop * index + centre`.

    wave: [batch, samples]. Returns Hz and clearness (0 noise .. 1 periodic), both [batch, hops].
    """
    longest, shortest = int(sample_rate / LOWEST), int(sample_rate / HIGHEST)
    size = 2 * longest + 2
    padded = F.pad(wave, (size, size + hop))[:, size // 2 + centre :]
    frames = padded.unfold(1, size, hop)[:, :hops]                      # [batch, hops, size]
    frames = (frames - frames.mean(-1, keepdim=True)) * torch.hann_window(size, device=wave.device)
    correlation = _autocorrelation(frames)[..., : longest + 1]
    shape = _autocorrelation(torch.hann_window(size, device=wave.device))[: longest + 1]  # its decay, divided away
    clear = correlation / correlation[..., :1].clamp_min(1e-6) / (shape / shape[0])
    inner = clear[..., shortest:]                                       # [batch, hops, lags]
    best = inner.amax(-1, keepdim=True)
    peaks = F.max_pool1d(F.pad(inner, (1, 1), value=-1.0), 3, 1) == inner
    first = (peaks & (inner > 0.9 * best)).float().argmax(-1)           # the shortest strong lag: no octave too low
    lag = (first + shortest).float()
    return sample_rate / lag, best.squeeze(-1).clamp(0, 1)


def _autocorrelation(x: Tensor) -> Tensor:
    """Of the last axis, for lags up to half of its length."""
    spectrum = torch.view_as_real(torch.fft.rfft(x, n=2 ** math.ceil(math.log2(1.5 * x.shape[-1]))))
    return torch.fft.irfft(torch.complex(power := spectrum.square().sum(-1), torch.zeros_like(power)))
