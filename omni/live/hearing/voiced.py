"""Where a clean recording is voiced, by its level: what latency and turns are measured and learnt by (docs/live.md)."""

import numpy as np
from numpy.typing import NDArray

from omni.live.hearing.pcm import Wave

LOUD = 10 ** (-50 / 20)                                                 # of full scale; what is below is not heard
BELOW = 35.0                                                            # dB below the loudest that still is voice


def levels(wave: Wave, rate: int) -> NDArray[np.float64]:
    """Root mean square of every 10 ms [hops] of a wave [samples] at `rate` hertz."""
    hop = rate // 100
    frames = np.square(wave[: len(wave) // hop * hop].reshape(-1, hop), dtype=np.float64)
    found: NDArray[np.float64] = np.sqrt(frames.mean(axis=1))
    return found


def voiced(found: NDArray[np.float64], below: float = BELOW) -> NDArray[np.int64]:
    """Numbers of the hops whose level is above -50 dBFS and above the loudest one's less `below` dB."""
    return np.flatnonzero(found > max(LOUD, float(found.max(initial=0)) * 10 ** (-below / 20)))
