"""Waves as the audio files that HTTP clients ask for, and back."""

import io
from collections.abc import Callable

import numpy as np
import soundfile

from omni.decode.parts import LONGEST_AUDIO
from omni.errors import InputError
from omni.live.hearing.pcm import Resampler, Wave, to_bytes
from omni.live.http.asking import RefusedRequestError

MEDIA = {
    "wav": "audio/wav", "pcm": "audio/pcm", "pcm16": "audio/pcm", "flac": "audio/flac", "mp3": "audio/mpeg",
    "opus": "audio/ogg",
}  # fmt: skip
PCM_RATE = 24_000                                                       # of bare samples, as OpenAI's endpoints have it


def encoded(wave: Wave, rate: int, kind: str) -> bytes:
    """A wave [samples] at `rate` hertz as a file of one of `MEDIA`."""
    if kind in ("pcm", "pcm16"):
        resampler = Resampler(rate, PCM_RATE)
        return to_bytes(np.concatenate((resampler(wave), resampler.finish())), "audio/pcm")
    formats = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "mp3": ("MP3", None), "opus": ("OGG", "OPUS")}
    container, subtype = formats[kind]
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), rate, format=container, subtype=subtype)
    return file.getvalue()


def kind_of(name: object, default: str, param: str) -> str:
    """A format that was asked for. Raises RefusedRequestError for one that is not served."""
    kind = default if name is None else name
    if not isinstance(kind, str) or kind not in MEDIA:
        raise RefusedRequestError(f"{param} {kind!r} is not served; use one of {', '.join(MEDIA)}", param=param)
    return kind


def decoded(data: bytes, wanted: int, param: str, name: str = "the file") -> Wave:
    """A sound file as a mono wave at `wanted` hertz; name: what it is called in errors.

    Raises RefusedRequestError for what is none or too long.
    """
    from omni.tokenizers.audio.wavefile import read_open_wave

    try:
        return read_open_wave(io.BytesIO(data), name, wanted, LONGEST_AUDIO)
    except InputError as error:
        raise RefusedRequestError(str(error), param=param) from None


def header(rate: int) -> bytes:
    """The head of a WAV file of unknown length, for a stream."""
    import struct

    most = 0xFFFFFFFF
    riff = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", most, b"WAVE", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    return riff + struct.pack("<4sI", b"data", most - 36)


def streamer(kind: str, rate: int) -> Callable[[Wave], bytes] | None:
    """How a stream of this kind is written chunk by chunk; None for a kind that needs the whole."""
    if kind == "wav":
        return lambda wave: to_bytes(wave, "audio/pcm")
    if kind in ("pcm", "pcm16"):
        resampler = Resampler(rate, PCM_RATE)
        return lambda wave: to_bytes(resampler(wave), "audio/pcm")
    return None
