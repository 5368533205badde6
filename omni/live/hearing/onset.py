"""Whether what begins to sound is speech: silero-vad hears it late where it begins with a breath, a hiss or a click.

A small network looks at the last 80 ms of the spectrum and of what silero-vad says of them. It learns from people's
recordings and from sounds that nobody says: `python -m omni.train.onset`.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors.numpy import load_file

from omni.live.hearing.pcm import HOP, RATE, Wave

FILE = Path(__file__).with_suffix(".safetensors")
WINDOW = 400                                                            # samples of each hop's spectrum, ending with it
HOPS = 8                                                                # that are looked at
BANDS, LOWEST, HIGHEST = 20, 80, 7600                                   # of the spectrum, as wide as ears have it; Hz
HANN = np.hanning(WINDOW)
SIZE = 512                                                              # of the Fourier transform
SOFTEST = 1e-7                                                          # energy of a band that counts as none
SURE = 1e-4                                                             # no probability is nearer to 0 or 1

Floats = NDArray[np.float32]
Weights = dict[str, Floats]


class Onset:
    """One stream of 16 kHz samples, heard 10 ms at a time. It is looked at only when it is asked for."""

    def __init__(self) -> None:
        self._samples = np.zeros(HOP * (HOPS - 1) + WINDOW, np.float32)
        self._probabilities = np.zeros(HOPS)

    def hear(self, hop: Wave, probability: float) -> None:
        """The next samples [160], and silero-vad's latest probability of speech."""
        self._samples[:-HOP], self._samples[-HOP:] = self._samples[HOP:], hop
        self._probabilities[:-1], self._probabilities[-1] = self._probabilities[1:], probability

    @property
    def odds(self) -> float:
        """Log-odds that what sounds now is speech."""
        each = described(sliding_window_view(self._samples, WINDOW)[::HOP], self._probabilities)  # [HOPS, 21]
        return float(judged(each[::-1].reshape(1, -1), _shipped())[0])


def described(windows: Floats, probabilities: NDArray[np.floating]) -> Floats:
    """What is known of each hop: windows [hops, 400] that end with them, silero-vad's word [hops]: [hops, 21]."""
    power = np.square(np.abs(np.fft.rfft(windows * HANN, SIZE)))        # [hops, SIZE / 2 + 1]
    bands = np.add.reduceat(power, _edges(), axis=1)[:, :BANDS]         # [hops, BANDS]
    sure = np.clip(probabilities, SURE, 1 - SURE)
    return np.column_stack((np.log(bands + SOFTEST), np.log(sure / (1 - sure)))).astype(np.float32)


def judged(seen: Floats, weights: Weights) -> Floats:
    """Log-odds [n] of speech from n times eight hops, the newest first: [n, 8 * 21]."""
    states: Floats = (seen - weights["mean"]) * weights["scale"]
    for layer in ("first", "second"):
        sums = states @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
        states = sums / (1 + np.exp(-sums))                             # SiLU
    odds: Floats = (states @ weights["last.weight"].T + weights["last.bias"])[:, 0]
    return odds


@cache
def _edges() -> NDArray[np.int64]:
    """Where the bands begin, and the last one ends: equally far on the mel scale (O'Shaughnessy 1987)."""
    low, high = (np.log1p(np.array([LOWEST, HIGHEST]) / 700)).tolist()
    hertz = 700 * np.expm1(np.linspace(low, high, BANDS + 1))
    bins = np.rint(hertz * SIZE / RATE).astype(np.int64)
    return np.maximum.accumulate(np.maximum(bins, bins[0] + np.arange(BANDS + 1)))


@cache
def _shipped() -> Weights:
    return load_file(FILE)
