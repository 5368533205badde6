"""The spectrum of 25 ms of sound, in bands as wide as ears have them: what turn detection's small networks hear."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from omni.live.hearing.pcm import RATE

WINDOW = 400                                                            # samples of a spectrum
SIZE = 512                                                              # of its Fourier transform
LOWEST, HIGHEST = 80, 7600                                              # Hz
SOFTEST = 1e-7                                                          # energy of a band that counts as none
HANN = np.hanning(WINDOW)


def log_bands(windows: NDArray[np.float32], bands: int) -> NDArray[np.float64]:
    """Log energies of windows [hops, WINDOW] of 16 kHz samples: [hops, bands]."""
    power = np.square(np.abs(np.fft.rfft(windows * HANN, SIZE)))        # [hops, SIZE / 2 + 1]
    found: NDArray[np.float64] = np.log(np.add.reduceat(power, _edges(bands), axis=1)[:, :bands] + SOFTEST)
    return found


@cache
def _edges(bands: int) -> NDArray[np.int64]:
    """Where the bands begin, and the last one ends: equally far on the mel scale (O'Shaughnessy 1987)."""
    low, high = (np.log1p(np.array([LOWEST, HIGHEST]) / 700)).tolist()
    hertz = 700 * np.expm1(np.linspace(low, high, bands + 1))
    bins = np.rint(hertz * SIZE / RATE).astype(np.int64)
    return np.maximum.accumulate(np.maximum(bins, bins[0] + np.arange(bands + 1)))
