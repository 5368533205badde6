"""What a microphone, a room and a telephone do to a voice: degraded copies that a codec learns to hear through."""

import numpy as np
from numpy.typing import NDArray

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
    spectrum = np.fft.rfft(wave)
    frequency = np.fft.rfftfreq(len(wave), 1 / rate)
    return np.fft.irfft(spectrum * np.clip((1.1 * top - frequency) / (0.1 * top), 0, 1), len(wave)).astype(np.float32)


def noisy(wave: Wave, decibels: float, chance: np.random.Generator) -> Wave:
    """Noise between white and brown, `decibels` below the wave's mean power."""
    spectrum = np.fft.rfft(chance.standard_normal(len(wave)))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** chance.uniform(0, 1)
    noise = np.fft.irfft(spectrum, len(wave))
    wanted = np.sqrt(np.mean(np.square(wave)) * 10 ** (-decibels / 10))
    return (wave + noise * wanted / max(1e-8, np.sqrt(np.mean(np.square(noise))))).astype(np.float32)


def echoed(wave: Wave, rate: int, seconds: float, chance: np.random.Generator) -> Wave:
    """In a room that takes `seconds` to fall by 60 dB: the direct sound and exponentially falling noise after it."""
    length = int(seconds * rate)
    tail = chance.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail *= chance.uniform(0.1, 0.5) / np.sqrt(np.sum(np.square(tail)))
    size = len(wave) + length
    response = np.fft.rfft(np.concatenate(([1.0], tail[1:])), size)
    return np.fft.irfft(np.fft.rfft(wave, size) * response, size)[: len(wave)].astype(np.float32)
