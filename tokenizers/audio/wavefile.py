"""Sound files <-> mono waves at one rate: one reader for every recording that a user may hand us."""

import os
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from omni.errors import InputError
from omni.files import atomic_path

STREAMED = 0x7FFF0000                                                   # bytes or more: who writes a stream cannot know
CHUNKS = 100                                                            # of a WAV file, that are looked at


def read_wave(path: Path | str, sample_rate: int, max_seconds: float = 120) -> NDArray[np.float32]:
    """A sound file as mono float32 [samples] at `sample_rate` hertz, channels averaged.

    WAV, FLAC, Ogg (Vorbis, Opus), MP3 and what else libsndfile reads. Raises InputError when the file is missing, not
    sound, empty, cut off, longer than `max_seconds` (its header is looked at before a sample is read) or holds NaN or
    infinity.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; give the path of a recording")
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a recording; give the path of a sound file")
    return read_open_wave(path, str(path), sample_rate, max_seconds)


def read_open_wave(source: Path | BinaryIO, name: str, sample_rate: int, max_seconds: float) -> NDArray[np.float32]:
    """The same of a path or an open file; name: what it is called in errors."""
    try:
        with soundfile.SoundFile(source) as file:
            _refuse_length(name, file.frames, file.samplerate, max_seconds)
            rate = file.samplerate
            wave = file.read(int(max_seconds * rate) + 1, dtype="float32", always_2d=True)  # [time, channels]
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".")
        raise InputError(f"{name}: not audio that can be read ({reason}); give a WAV, FLAC, OGG or MP3 file") from None
    _refuse_cut_off(name, source)
    _refuse_length(name, len(wave), rate, max_seconds)                  # the header of a streamed file may not tell
    if not np.isfinite(wave).all():
        raise InputError(f"{name}: {np.count_nonzero(~np.isfinite(wave))} samples are NaN or infinite; export it again")
    mono = np.ascontiguousarray(wave.mean(axis=1, dtype=np.float32))    # [time]
    resampled: NDArray[np.float32] = soxr.resample(mono, rate, sample_rate).astype(np.float32)
    return resampled


def write_wave(path: Path | str, wave: NDArray[np.float32], sample_rate: int) -> None:
    """Write a mono wave [samples] in -1..1 as 16-bit PCM WAV, atomically; louder samples are clipped."""
    with atomic_path(path) as scratch:
        soundfile.write(scratch, np.clip(wave, -1, 1), sample_rate, subtype="PCM_16", format="WAV")


def _refuse_length(name: str, frames: int, rate: int, max_seconds: float) -> None:
    if frames == 0:
        raise InputError(f"{name}: empty audio (0 samples); record something")
    if max_seconds * rate < frames < 2**62:                             # libsndfile says 2**63 - 1 for unknown
        raise InputError(f"{name}: {_span(frames / rate)} of audio; cut it to at most {_span(max_seconds)}")


def _refuse_cut_off(name: str, source: Path | BinaryIO) -> None:
    """Refuse a WAV file with fewer bytes of sound than its header says, which libsndfile reads as far as it goes."""
    if isinstance(source, Path) and not source.is_file():               # a pipe is read once
        return
    with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(0)
        if file.read(4) != b"RIFF":
            return
        place = 12
        for _ in range(CHUNKS):
            file.seek(place)
            kind, size = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
            place += 8
            if kind == b"data":
                break
            place += size + size % 2
    if kind == b"data" and (there := end - place) < size < STREAMED:
        raise InputError(f"{name}: cut off, {there:,} of {size:,} bytes of sound are there; copy it again")


def _span(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
