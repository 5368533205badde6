"""Sound as clients send it (PCM16, G.711) and waves, chunk by chunk in any size and at any rate."""

import base64
import binascii
import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError

Wave = NDArray[np.float32]                                              # [samples] in -1..1
RATE, HOP = 16_000, 160                                                 # at which turns are listened for: 10 ms a hop
TAPS = 32                                                               # samples of the lower rate that one looks at
RATES = {"audio/pcm": 24_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}  # what the Realtime protocol knows
WIDTH = {"audio/pcm": 2, "audio/pcmu": 1, "audio/pcma": 1}              # bytes a sample


def from_bytes(data: bytes, encoding: str) -> Wave:
    """Bytes of one of `RATES` as a wave. Raises InputError for half a sample of PCM16."""
    if len(data) % WIDTH[encoding]:
        raise InputError(f"{len(data)} bytes of PCM16 are not whole samples of two bytes; send an even number")
    if encoding == "audio/pcm":
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
    table = _mu_law() if encoding == "audio/pcmu" else _a_law()         # [256]
    return table[np.frombuffer(data, np.uint8)]


def to_bytes(wave: Wave, encoding: str) -> bytes:
    """The inverse of `from_bytes`, to the nearest level; louder samples are clipped."""
    levels = np.clip(np.rint(wave * 32768), -32768, 32767).astype(np.int32)
    if encoding == "audio/pcm":
        return levels.astype("<i2").tobytes()
    table = _mu_law() if encoding == "audio/pcmu" else _a_law()
    order = np.argsort(table, kind="stable")
    ranked = table[order]                                               # [256], rising
    middles = (ranked[1:] + ranked[:-1]) / 2
    return order[np.searchsorted(middles, wave, side="right")].astype(np.uint8).tobytes()


def from_base64(text: str, encoding: str) -> Wave:
    """Base64 as the protocol carries it. Raises InputError for what is none."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError("audio is not base64; encode the bytes of the samples, without line breaks") from None
    return from_bytes(data, encoding)


def to_base64(wave: Wave, encoding: str) -> str:
    """The inverse of `from_base64`."""
    return base64.b64encode(to_bytes(wave, encoding)).decode()


@cache
def _mu_law() -> Wave:
    """ITU-T G.711 mu-law: the wave of every byte [256]."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 132) << ((code >> 4) & 7)) - 132
    return (np.where(code & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)


@cache
def _a_law() -> Wave:
    """ITU-T G.711 A-law: the wave of every byte [256]."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 264) << np.maximum(exponent - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)


@dataclass
class Resampler:
    """A wave at another rate, chunk by chunk: the same samples however it is cut, 1 or 2 ms late.

    (The streams of soxr hold back 12 to 96 ms, which a spoken answer cannot wait for.)
    """

    rate: int
    wanted: int
    _half: int = field(init=False)                                      # input samples that are looked at on each side
    _past: Wave = field(init=False)
    _seen: int = field(init=False)                                      # input samples before `_past`
    _given: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._half = TAPS // 2 * max(1, -(-self.rate // self.wanted))
        self._past = np.zeros(self._half, np.float32)                   # silence before the first sample
        self._seen = -self._half

    def __call__(self, chunk: Wave) -> Wave:
        """All samples that are certain after this chunk [any]."""
        if self.rate == self.wanted:
            return chunk
        common = math.gcd(self.rate, self.wanted)
        up, down = self.wanted // common, self.rate // common
        wave = np.concatenate((self._past, chunk))                      # starts at input sample `_seen`
        last = self._seen + len(wave) - self._half                      # the window [at - 15, at + 16] must be there
        count = max(0, -(-last * up // down) - self._given)
        numbers = np.arange(self._given, self._given + count) * down    # in units of 1 / up input samples
        starts = numbers // up - self._seen - (self._half - 1)          # of each sample's window
        taps = 2 * self._half
        windows = np.lib.stride_tricks.sliding_window_view(wave, taps)[starts] if count else np.zeros((0, taps))
        out = np.einsum("nt,nt->n", windows, _filters(up, down, self._half)[numbers % up])
        self._given += count
        keep = self._given * down // up - self._seen - (self._half - 1)  # where the next window starts
        self._past, self._seen = wave[keep:], self._seen + keep
        return out.astype(np.float32)

    def finish(self) -> Wave:
        """What is left once silence follows."""
        return self(np.zeros(0 if self.rate == self.wanted else self._half, np.float32))


@cache
def _filters(up: int, down: int, half: int) -> NDArray[np.float64]:
    """Windowed sinc of each phase [up, 2 * half], cut off below the lower of the two Nyquist frequencies."""
    cutoff = 0.94 * min(1.0, up / down)
    offsets = np.arange(2 * half) - (half - 1) - np.arange(up)[:, None] / up  # [up, taps] input samples from the phase
    window = np.i0(8.0 * np.sqrt(np.maximum(0, 1 - (offsets / half) ** 2)))
    filters = np.sinc(cutoff * offsets) * window
    scaled: NDArray[np.float64] = filters / filters.sum(axis=1, keepdims=True)
    return scaled
