"""Music and singing: what holds a pitch. Speech glides from one to the next, an instrument or a singer stays on a note.

The last 1.2 s are judged by how much of them keeps its pitch within a third of a semitone for a fifth of a second or
more. No training: a few numbers, measured by `omni bench guards`.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import soxr
from numpy.typing import NDArray

from omni.safety.guards.embedding import windows

RATE = 8_000                                                            # hertz at which pitch is looked for
FRAME, HOP = 400, 160                                                   # samples: 50 ms, 20 ms
LOWEST, HIGHEST = 70.0, 1000.0                                          # hertz
WITHIN = 1 / 36                                                         # octaves, a third of a semitone
CLEAR = 0.8                                                             # autocorrelation of what is periodic
NOTE = 11                                                               # frames that a note is held: 0.22 s
SPAN = 60                                                               # frames that are judged together: 1.2 s
SHARE = 0.55                                                            # of them in notes, from which it is music
AT_ONCE = 10                                                            # frames looked at together, 0.2 s
QUIET = 1e-3                                                            # root mean square of silence


@dataclass
class MusicGuard:
    """A guard at run time: `feed(samples, transcript)` gives a reason once something is sung or played.

    rate: of the samples, in hertz
    """

    rate: int = 24_000
    _rest: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    _pitches: list[float] = field(default_factory=list)                 # octaves above LOWEST; nan where there is none
    _found: float = 0.0

    def __post_init__(self) -> None:
        self._resampler = soxr.ResampleStream(self.rate, RATE, 1, dtype="float32")

    def feed(self, samples: NDArray[np.float32], transcript: str = "") -> str | None:
        """samples: [n] float32. Having stopped, it gives its reason again and again."""
        wave = np.concatenate((self._rest, self._resampler.resample_chunk(np.ascontiguousarray(samples, np.float32))))
        self._rest = wave
        if len(wave) >= FRAME + (AT_ONCE - 1) * HOP:
            frames = windows(wave, FRAME, HOP)
            self._rest = wave[len(frames) * HOP :]
            self._pitches = [*self._pitches, *pitches(frames).tolist()][-SPAN:]
            self._found = max(self._found, held(self._pitches))
        return None if self._found < SHARE else f"music or singing: {self._found:.0%} of the last 1.2 s holds notes"


def pitches(frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """Octaves above LOWEST of each frame [n, FRAME], nan where it is silent or not periodic: [n]."""
    frames = frames - frames.mean(axis=1, keepdims=True)
    loud = np.sqrt((frames**2).mean(axis=1)) > QUIET
    spectrum = np.fft.rfft(frames, 2 * FRAME, axis=1)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, :FRAME]  # [n, lags]
    correlation = correlation / np.maximum(correlation[:, :1], 1e-9) / (1 - np.arange(FRAME) / FRAME)
    shortest, longest = int(RATE / HIGHEST), int(RATE / LOWEST)
    inner = correlation[:, shortest : longest + 1]
    lag = inner.argmax(axis=1)
    peak = inner[np.arange(len(inner)), lag]
    first = (inner > 0.93 * peak[:, None]).argmax(axis=1)               # the shortest strong lag: no octave too low
    lag = np.where(first < lag, [row[one : one + 4].argmax() + one for row, one in zip(inner, first, strict=True)], lag)
    octaves = np.log2(RATE / (_refined(inner, lag) + shortest) / LOWEST)
    return np.where(loud & (peak > CLEAR), octaves, np.nan)


def held(octaves: Sequence[float]) -> float:
    """The share of SPAN frames that lie in a note: NOTE or more in a row within WITHIN of their median."""
    inside = 0
    note: list[float] = []                                              # in order of pitch, so that the middle is known
    for octave in (*octaves, math.nan):
        if note and abs(octave - 0.5 * (note[(len(note) - 1) // 2] + note[len(note) // 2])) <= WITHIN:
            bisect.insort(note, octave)
            continue
        inside += len(note) if len(note) >= NOTE else 0
        note = [] if math.isnan(octave) else [octave]                   # nan ends a note, and begins none
    return inside / SPAN


def _refined(inner: NDArray[np.float64], lag: NDArray[np.int64]) -> NDArray[np.float64]:
    """The top of a parabola through each peak and its neighbours: at 8 kHz a whole sample is a semitone at 470 Hz."""
    rows = np.arange(len(inner))
    middle = np.clip(lag, 1, inner.shape[1] - 2)
    below, top, above = inner[rows, middle - 1], inner[rows, middle], inner[rows, middle + 1]
    bend = below - 2 * top + above
    shift = np.where(np.abs(bend) > 1e-9, 0.5 * (below - above) / np.where(bend == 0, 1, bend), 0.0)
    return middle + np.clip(shift, -0.5, 0.5)
