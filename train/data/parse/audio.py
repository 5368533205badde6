"""Recordings of any rate and format as 16 kHz mono, equally loud, without the silence around them."""

from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from omni.train.data.items import SAMPLE_RATE
from omni.train.data.parse.base import UnusableError

LOUDNESS_DB = -23.0  # RMS of the voiced frames, dB below full scale
PEAK = 10 ** (-1.0 / 20)  # no sample above -1 dBFS
SILENCE_DB = -45.0
MARGIN = SAMPLE_RATE // 20  # 50 ms kept at both ends
FRAME = SAMPLE_RATE // 100  # 10 ms
VOICED_DB = 25.0  # a frame counts as voiced down to so much below the loudest
SHORTEST, LONGEST = 0.15, 12.0  # seconds


def load_clip(path: Path) -> NDArray[np.int16]:
    """One file as int16 samples at 16 kHz, levelled and trimmed: [samples]. Raises UnusableError with the reason."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)  # [samples, channels]
    except (soundfile.LibsndfileError, OSError):
        raise UnusableError("recording cannot be decoded") from None
    return finish(samples.mean(axis=1), rate)


def finish(samples: NDArray[np.float32], rate: int) -> NDArray[np.int16]:
    """Resample, level and trim a mono waveform [samples]. Raises UnusableError when nothing usable is left."""
    if not np.isfinite(samples).all():
        raise UnusableError("recording has samples that are not numbers")
    if len(samples) and rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    if len(samples) < SHORTEST * SAMPLE_RATE:
        raise UnusableError(f"recording under {SHORTEST} s")
    samples = trim(level(samples - samples.mean()))
    if len(samples) < SHORTEST * SAMPLE_RATE:
        raise UnusableError(f"recording under {SHORTEST} s")
    if len(samples) > LONGEST * SAMPLE_RATE:
        raise UnusableError(f"recording over {LONGEST:.0f} s")
    return np.round(samples * 32767).astype(np.int16)


def level(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale so that the voiced frames have an RMS of -23 dBFS, less where the peak would pass -1 dBFS.

    Only voiced frames count: a pause must not make the words louder.
    """
    energy = frame_energy(samples)  # [frames]
    if energy.max() < 1e-9:  # -90 dBFS: digital silence
        raise UnusableError("recording is silent")
    voiced = energy[energy > energy.max() * 10 ** (-VOICED_DB / 10)]
    gain = 10 ** (LOUDNESS_DB / 20) / np.sqrt(voiced.mean())
    return samples * np.float32(min(gain, PEAK / np.abs(samples).max()))


def trim(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut leading and trailing frames below -45 dBFS, keeping 50 ms of them."""
    loud = np.flatnonzero(frame_energy(samples) > 10 ** (SILENCE_DB / 10))
    if not len(loud):
        return samples[:0]
    return samples[max(0, loud[0] * FRAME - MARGIN) : (loud[-1] + 1) * FRAME + MARGIN]


def frame_energy(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean square of each 10 ms frame, the last one padded with silence: [frames]."""
    frames = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)  # [frames, 160]
    return np.square(frames).mean(axis=1)
