"""Who is speaking, as a vector that follows the sound: Resemblyzer's speaker encoder, run frame by frame.

The encoder (GE2E, Wan et al. 2018) is a recurrent network, trained on 1.6 s from a fresh start. Here two of them take
turns, each started afresh every `SPAN` frames, and both are asked every 0.08 s: what was heard 0.32 s ago is forgotten,
so that a change of voice shows at once, and one of them has heard nothing but the last 0.08 or 0.16 s. Lives of 0.64 s
tell voices apart better (98.2 % of the steps of strangers instead of 96.7 %, by the older life alone) and take twice as
long to notice (a median of 0.59 s): the guard adds the evidence up instead.
"""

import importlib.util
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omni.errors import InputError

RATE = 16_000                                                           # hertz, of the encoder
WINDOW, HOP, BANDS = 400, 160, 40                                       # samples, samples, mel bands
SPAN = 32                                                               # frames of a life, 0.32 s
STEP = 8                                                                # frames heard at once: fewer calls, less time
WIDTH = 512                                                             # of the embeddings of both lives together
LEVEL = 10 ** (-30 / 20)                                                # to which quiet speech is raised
SILENCE = 10 ** (-50 / 20)                                              # frames below it say nothing about a voice


class Encoder(nn.Module):
    """Resemblyzer's network: mel frames to embeddings of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm: nn.Module = nn.LSTM(BANDS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(
        self, frames: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Embeddings after the last frame: [batch, frames, bands] to [batch, 256], and the state after it."""
        hidden, state = self.lstm(frames, state)
        return nn.functional.normalize(torch.relu(self.linear(hidden[:, -1])), dim=-1), state


@cache
def encoder() -> Encoder:
    """The pretrained network. Raises InputError where the package is missing."""
    found = importlib.util.find_spec("resemblyzer")                     # importing it would want pkg_resources
    if found is None or found.origin is None:
        raise InputError('resemblyzer is not installed; the voice guard needs it: pip install "omni[eval]"')
    path = Path(found.origin).parent / "pretrained.pt"
    weights = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    network = Encoder()
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    if "fbgemm" in torch.backends.quantized.supported_engines:          # x86
        network.lstm = _halved(network.lstm)
    return network.eval()


def _halved(lstm: nn.Module) -> nn.Module:
    """The same with weights of 16 bits, packed once: reading them is what a step of two rows costs.

    A fifth less time for the whole guard, and embeddings within 0.001.
    """
    from torch.ao.nn.quantized.dynamic import LSTM
    from torch.ao.quantization import float16_dynamic_qconfig

    lstm.qconfig = float16_dynamic_qconfig
    return LSTM.from_float(lstm)


def mel(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mel power of windows [n, WINDOW] as librosa computes it: [n, BANDS]."""
    spectrum = np.fft.rfft(frames * _window(), axis=1)                  # [n, WINDOW // 2 + 1]
    power = spectrum.real**2 + spectrum.imag**2                         # a third of the time of abs(spectrum) ** 2
    return np.asarray(power @ _filters(), np.float32)


def windows(wave: NDArray[np.float32], size: int, hop: int) -> NDArray[np.float32]:
    """Every whole window of a wave: [windows, size]. Of the few that come at once a copy is faster than a view."""
    count = max(0, (len(wave) - size) // hop + 1)
    return wave[hop * np.arange(count)[:, None] + np.arange(size)]


@dataclass
class Voiceprint:
    """The embedding of a sound that is still going on.

    rate: of what is fed, in hertz. Frames that are nearly silent are left out: a pause changes nothing.
    """

    rate: int
    _resampler: "soxr.ResampleStream | None" = None
    _rest: NDArray[np.float32] = field(default_factory=lambda: np.zeros(WINDOW // 2, np.float32))
    _voiced: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, WINDOW), np.float32))
    _power: float = 0.0
    _seen: int = 0
    _state: tuple[Tensor, Tensor] = field(default_factory=lambda: (torch.zeros(3, 2, 256), torch.zeros(3, 2, 256)))

    def __post_init__(self) -> None:
        if self.rate != RATE:
            self._resampler = soxr.ResampleStream(self.rate, RATE, 1, dtype="float32")

    @torch.inference_mode()
    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings after each `STEP` more voiced frames: [steps, WIDTH], none while nothing is said."""
        frames = self._frames(samples)
        loud = np.einsum("nw,nw->n", frames, frames) > WINDOW * SILENCE**2
        self._voiced = np.concatenate((self._voiced, frames[loud]))
        found = []
        while len(self._voiced) >= STEP:
            found.append(self._embedded(self._voiced[:STEP]))
            self._voiced = self._voiced[STEP:]
        return np.stack(found) if found else np.zeros((0, WIDTH), np.float32)

    def _frames(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Windows that became whole: [frames, WINDOW]."""
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.ascontiguousarray(samples, np.float32))
        wave = np.concatenate((self._rest, samples))
        found = windows(wave, WINDOW, HOP)
        self._rest = wave[len(found) * HOP :]
        return found

    def _embedded(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Both lives hear the frames [STEP, WINDOW]: what the older one tells, and then the younger: [WIDTH]."""
        half, at = divmod(self._seen, SPAN // 2)
        if at == 0:                                                     # one of them starts afresh
            for part in self._state:
                part[:, half % 2] = 0
        self._seen += STEP
        self._power += float((frames**2).mean())
        level = np.sqrt(self._power * STEP / self._seen)
        gain = max(1.0, LEVEL / level)                                  # as in training, only ever louder
        sound = torch.from_numpy(mel(frames * np.float32(gain)))
        vectors, self._state = encoder()(sound.expand(2, -1, -1), self._state)
        older = 0 if half == 0 else (half + 1) % 2
        return np.concatenate((vectors[older].numpy(), vectors[1 - older].numpy()))


@cache
def _window() -> NDArray[np.float32]:
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)               # periodic


@cache
def _filters() -> NDArray[np.float32]:
    """Slaney's mel filters, each of area one: [WINDOW // 2 + 1, BANDS]."""
    top = 15 + np.log(RATE / 2 / 1000) / (np.log(6.4) / 27)             # linear to 1 kHz, logarithmic above
    mels = np.linspace(0, top, BANDS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((np.log(6.4) / 27) * (mels - 15)))
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]                   # [bins, 1]
    rise = (bins - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - bins) / np.diff(edges)[1:]
    return (np.maximum(0, np.minimum(rise, fall)) * 2 / (edges[2:] - edges[:-2])).astype(np.float32)
