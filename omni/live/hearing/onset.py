"""Whether what begins to sound is speech: silero-vad hears it late where it begins with a breath, a hiss or a click.

A small network looks at the last 80 ms of the spectrum and of what silero-vad says of them. It learns from people's
recordings and from sounds that nobody says: `python -m omni.train.turns.onset`.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors.numpy import load_file

from omni.live.hearing.pcm import HOP, Wave
from omni.live.hearing.spectrum import WINDOW, log_bands

FILE = Path(__file__).with_suffix(".safetensors")
HOPS = 8                                                                # that are looked at
BANDS = 20                                                              # of each hop's spectrum, which ends with it
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
    sure = np.clip(probabilities, SURE, 1 - SURE)
    return np.column_stack((log_bands(windows, BANDS), np.log(sure / (1 - sure)))).astype(np.float32)


def judged(seen: Floats, weights: Weights) -> Floats:
    """Log-odds [n] of speech from n times eight hops, the newest first: [n, 8 * 21]."""
    states: Floats = (seen - weights["mean"]) * weights["scale"]
    for layer in ("first", "second"):
        sums = states @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
        states = sums / (1 + np.exp(-sums))                             # SiLU
    odds: Floats = (states @ weights["last.weight"].T + weights["last.bias"])[:, 0]
    return odds


@cache
def _shipped() -> Weights:
    return load_file(FILE)
