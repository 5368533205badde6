"""What a microphone, a room and a telephone do to a voice: degraded copies that a codec learns to hear through."""

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Wave = NDArray[np.float32]
SHARE = 0.25                                                            # of the crops, for each kind of damage


def degraded(clean: Wave, rate: int, chance: np.random.Generator) -> tuple[Wave, Wave]:
    """A crop [samples] as it is heard, and as it should sound again.

    A narrow band belongs to the recording and is kept; noise and echo are to be heard through.
    """
    if chance.random() < SHARE:
        clean = narrowed(clean, rate, float(chance.uniform(2800, 5500)))
    heard = clean
    if chance.random() < SHARE:
        heard = echoed(heard, rate, float(chance.uniform(0.1, 0.4)), chance)
    if chance.random() < SHARE:
        heard = noisy(heard, float(chance.uniform(5, 30)), chance)
    return heard, clean


def narrowed(wave: Wave, rate: int, top: float) -> Wave:
    """Nothing above `top` Hz, with an edge 10 % wide, as from a telephone."""
    size = _size(len(wave))
    frequency = fft.rfftfreq(size, 1 / rate)
    kept = np.clip((1.1 * top - frequency) / (0.1 * top), 0, 1)
    return _filtered(wave, kept, size)


def noisy(wave: Wave, decibels: float, chance: np.random.Generator) -> Wave:
    """Noise between white and brown, `decibels` below the wave's mean power."""
    size = _size(len(wave))
    slope = np.arange(size // 2 + 1, dtype=np.float32).clip(1) ** -np.float32(chance.uniform(0, 1))
    noise = _filtered(chance.standard_normal(size, np.float32), slope, size)[: len(wave)]
    wanted = np.sqrt(np.mean(np.square(wave)) * 10 ** (-decibels / 10))
    return wave + noise * np.float32(wanted / max(1e-8, np.sqrt(np.mean(np.square(noise)))))


def echoed(wave: Wave, rate: int, seconds: float, chance: np.random.Generator) -> Wave:
    """In a room that takes `seconds` to fall by 60 dB: the direct sound and exponentially falling noise after it."""
    length = int(seconds * rate)
    tail = chance.standard_normal(length, np.float32) * 10 ** np.linspace(0, -3, length, dtype=np.float32)
    tail *= np.float32(chance.uniform(0.1, 0.5)) / np.sqrt(np.sum(np.square(tail)))
    tail[0] = 1
    size = _size(len(wave) + length)
    return _filtered(wave, fft.rfft(tail, size), size)


def _filtered(wave: Wave, response: NDArray[np.generic], size: int) -> Wave:
    """`wave` after a filter with this frequency response [size // 2 + 1], as long as it was."""
    return fft.irfft(fft.rfft(wave, size) * response, size)[: len(wave)].astype(np.float32)


def _size(least: int) -> int:
    """A length that Fourier transforms like: one with a great prime factor takes several times as long."""
    return fft.next_fast_len(least, real=True)
