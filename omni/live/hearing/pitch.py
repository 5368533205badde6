"""The melody of speech: how high a voice is, against what it is otherwise, and how surely it is one."""

import numpy as np
from numpy.typing import NDArray

from omni.live.hearing.pcm import RATE

WINDOW = 640                                                            # samples: two periods of the lowest voice
SIZE = 1024                                                             # of its Fourier transform: no lag wraps round
SHORTEST, LONGEST = RATE // 500, RATE // 50                             # periods, in samples
VOICED = 0.3                                                            # likeness to the sound a period before
QUIET = 7.0                                                             # nats below the loudest that are no voice
FEATURES = 3
_HANN = np.hanning(WINDOW)


def melody(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of windows [hops, WINDOW] of 16 kHz samples: octaves above the voice's median, at most one; likeness to the sound
    a period before; whether that is a voice, 0 or 1: [hops, FEATURES].

    The period is the highest peak of the autocorrelation of a spectrum whose magnitudes are not squared (Tolonen and
    Karjalainen 2000), so that formants draw it less.
    """
    heard = windows * _HANN
    likeness = np.fft.irfft(np.abs(np.fft.rfft(heard, SIZE)), SIZE)[:, : LONGEST + 1]  # [hops, lags]
    likeness = likeness / np.maximum(likeness[:, :1], 1e-9)
    periods = likeness[:, SHORTEST:]
    sure, octaves = periods.max(axis=1), np.log2(RATE / (periods.argmax(axis=1) + SHORTEST))
    loud = np.log(np.mean(np.square(heard), axis=1) + 1e-8)             # [hops]
    voice = (sure > VOICED) & (loud > loud.max() - QUIET)
    usual = np.median(octaves[voice]) if voice.any() else 0.0
    return np.column_stack((np.where(voice, np.clip(octaves - usual, -1, 1), 0), sure, voice))
