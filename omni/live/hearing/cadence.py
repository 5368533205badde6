"""Whether what was said sounds as if it were all: pitch falls and syllables last longer where people come to an end.

A small network (two convolutions and a GRU, Cho et al. 2014) listens to the last second before a silence, to its
spectrum and melody, and to nothing behind, where a recording may have been cut. It learns from people's pauses:
`python -m omni.train.turns.cadence`.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from safetensors.numpy import load_file

from omni.live.hearing.pcm import HOP, RATE, Wave
from omni.live.hearing.pitch import FEATURES, melody
from omni.live.hearing.pitch import WINDOW as PITCH
from omni.live.hearing.spectrum import WINDOW, log_bands

FILE = Path(__file__).with_suffix(".safetensors")
HOPS = 100                                                              # that are listened to
BANDS = 40                                                              # of each hop's spectrum, which ends with it
WIDTH = BANDS + FEATURES                                                # what is known of a hop
KERNEL, STRIDE, PADDING = 5, 2, 2                                       # of both convolutions
ENDING = 12                                                             # latest states of the GRU that count besides
BEHIND = RATE // 4                                                      # samples of silence that may follow

Floats = NDArray[np.float32]
Weights = dict[str, Floats]


class Cadence:
    """One stream of 16 kHz samples, heard 10 ms at a time. It is listened to only when it is asked for."""

    def __init__(self) -> None:
        self._samples = np.zeros(HOP * (HOPS - 1) + PITCH + BEHIND, np.float32)

    def hear(self, hop: Wave) -> None:
        """The next samples [160]."""
        self._samples[:-HOP], self._samples[-HOP:] = self._samples[HOP:], hop

    def forget(self) -> None:
        """What was said so far belongs to another turn."""
        self._samples[:] = 0

    def seen(self, silence: int) -> Floats:
        """Spectra and melody [HOPS, WIDTH] before so many samples (at most BEHIND) of silence."""
        stop = len(self._samples) - min(silence, BEHIND)
        return described(self._samples[stop - HOP * (HOPS - 1) - PITCH : stop])

    def odds(self, silence: int) -> float:
        """Log-odds that what was said before so many samples of silence was all."""
        return judged(self.seen(silence), _shipped())


def described(samples: Wave) -> Floats:
    """What is known of each hop that ends in samples at 16 kHz: [HOPS, WIDTH]."""
    windows = sliding_window_view(samples, PITCH)[::HOP]                # [HOPS, PITCH]
    return np.hstack((log_bands(windows[:, PITCH - WINDOW :], BANDS), melody(windows))).astype(np.float32)


def judged(seen: Floats, weights: Weights) -> float:
    """Log-odds that all was said, from what is known of each hop [HOPS, WIDTH]."""
    x: Floats = (seen - weights["mean"]) * weights["scale"]
    for layer in ("first", "second"):                                   # [HOPS / 2, width], [HOPS / 4, width]
        x = np.maximum(_convolved(x, weights[f"{layer}.weight"]) + weights[f"{layer}.bias"], 0)
    states = _followed(x, weights)                                      # [HOPS / 4, width]
    known = np.concatenate((states[-1], states[-ENDING:].max(axis=0)))
    return float((weights["last.weight"] @ known + weights["last.bias"])[0])


def _convolved(x: Floats, kernel: Floats) -> Floats:
    """x: [time, channels]; kernel: [width, channels, KERNEL]. Returns [time / STRIDE, width]."""
    padded = np.pad(x, ((PADDING, PADDING), (0, 0)))
    windows = sliding_window_view(padded, KERNEL, axis=0)[::STRIDE]     # [time / STRIDE, channels, KERNEL]
    found: Floats = windows.reshape(len(windows), -1) @ kernel.reshape(len(kernel), -1).T
    return found


def _followed(x: Floats, weights: Weights) -> Floats:
    """The states [time, width] of a GRU, as torch names its weights, after each of x [time, width]."""
    given = x @ weights["follow.weight_ih_l0"].T + weights["follow.bias_ih_l0"]  # [time, 3 * width]
    kept, bias = weights["follow.weight_hh_l0"], weights["follow.bias_hh_l0"]
    width = x.shape[1]
    state, states = np.zeros(width, np.float32), np.empty_like(x)
    for step, (reset, update, new) in enumerate(given.reshape(-1, 3, width)):
        own = (kept @ state + bias).reshape(3, width)
        keep = _sigmoid(update + own[1])
        fresh = np.tanh(new + _sigmoid(reset + own[0]) * own[2])
        states[step] = state = keep * state + (1 - keep) * fresh
    return states


def _sigmoid(x: Floats) -> Floats:
    half: Floats = np.tanh(x / 2).astype(np.float32) / np.float32(2)    # which never overflows
    found: Floats = half + np.float32(0.5)
    return found


@cache
def _shipped() -> Weights:
    return load_file(FILE)
