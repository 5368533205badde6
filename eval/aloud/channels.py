"""What happens to a spoken question on its way: noise, rooms, telephones, other talkers, other speeds and pitches."""

from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray

from omni.errors import InputError
from omni.tokenizers.audio.augment import echoed, narrowed, noisy

Wave = NDArray[np.float32]
Channel = Callable[[Wave, int, np.random.Generator], Wave]              # samples [n], their rate, chance


def noise(wave: Wave, rate: int, chance: np.random.Generator) -> Wave:
    """Noise 10 dB below the voice."""
    return noisy(wave, 10.0, chance)


def room(wave: Wave, rate: int, chance: np.random.Generator) -> Wave:
    """A room that takes 0.6 s to fall silent."""
    return echoed(wave, rate, 0.6, chance)


def telephone(wave: Wave, rate: int, chance: np.random.Generator) -> Wave:
    """From 300 to 3,400 Hz, in 8 bits of the mu law, as G.711 has them."""
    low = narrowed(wave, rate, 3400.0)
    spectrum, frequency = np.fft.rfft(low), np.fft.rfftfreq(len(low), 1 / rate)
    band = np.fft.irfft(spectrum * np.clip((frequency - 200) / 100, 0, 1), len(low)).clip(-1, 1)
    pressed = np.sign(band) * np.log1p(255 * np.abs(band)) / np.log(256)
    levels = np.round(pressed * 127) / 127
    return (np.sign(levels) * (256 ** np.abs(levels) - 1) / 255).astype(np.float32)


def crosstalk(wave: Wave, other: Wave, chance: np.random.Generator) -> Wave:
    """Somebody else talks, 10 dB softer, and is heard from a random moment on."""
    heard = np.resize(np.roll(other, -int(chance.integers(len(other)))), len(wave))  # over and over, where it is short
    loudness = np.sqrt(np.mean(wave**2) / max(1e-12, float(np.mean(heard**2))))
    return np.asarray(wave + 10 ** (-10 / 20) * loudness * heard, np.float32)


def fast(wave: Wave, rate: int, chance: np.random.Generator) -> Wave:
    """A quarter faster, and higher, as a tape that is played too fast."""
    return np.asarray(soxr.resample(wave, rate * 1.25, rate), np.float32)


def slow(wave: Wave, rate: int, chance: np.random.Generator) -> Wave:
    """A fifth slower, and lower."""
    return np.asarray(soxr.resample(wave, rate * 0.8, rate), np.float32)


def high(wave: Wave, rate: int, chance: np.random.Generator) -> Wave:
    """Four semitones higher at the same speed, by overlap-add of stretched frames."""
    ratio = 2 ** (4 / 12)
    return np.asarray(soxr.resample(stretched(wave, ratio), rate * ratio, rate), np.float32)


CHANNELS: dict[str, Channel] = {
    "clean": lambda wave, rate, chance: wave, "noise": noise, "room": room, "telephone": telephone,
    "fast": fast, "slow": slow, "high": high,
}  # fmt: skip
NAMES = (*CHANNELS, "crosstalk")


def sent(wave: Wave, rate: int, channel: str, seed: int, other: Callable[[], Wave] | None = None) -> Wave:
    """A voice through a channel; the same seed, the same damage.

    other: what somebody else says, for `crosstalk`. Raises InputError for an unknown channel, and for that without him.
    """
    chance = np.random.default_rng(seed)
    if channel in CHANNELS:
        return CHANNELS[channel](wave, rate, chance)
    if channel not in NAMES:
        raise InputError(f"channel {channel}: unknown; use one of {', '.join(NAMES)}")
    if other is None:
        raise InputError("channel crosstalk: nobody else says anything; ask more than one question")
    return crosstalk(wave, other(), chance)


def stretched(wave: Wave, ratio: float) -> Wave:
    """The wave `ratio` times as long at the same pitch (WSOLA, Verhelst and Roelands 1993)."""
    size, hop, search = 640, 320, 160
    window = np.hanning(size + 1)[:-1]
    padded = np.concatenate((wave, np.zeros(2 * size + search, np.float32)))
    out = np.zeros(int(len(wave) * ratio) + 2 * size)
    expected, at = padded[:size], 0
    for start in range(0, int(len(wave) * ratio), hop):
        if start:
            middle = min(int(start / ratio), len(padded) - size - search - 1)
            first = max(0, middle - search)
            lags = np.lib.stride_tricks.sliding_window_view(padded[first : middle + search + size], size)
            at = first + int(np.argmax(lags @ expected))
        out[start : start + size] += padded[at : at + size] * window
        expected = padded[at + hop : at + hop + size]
        if len(expected) < size:
            break
    return out[: int(len(wave) * ratio)].astype(np.float32)
