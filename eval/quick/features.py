"""Features of texts and sounds that nobody trained, by which a nearest neighbour is found.

Those of pictures are omni.tokenizers.image.metrics.neutral_features.
"""

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

BANDS = 24
SLICES = 12

Vector = NDArray[np.float64]


def text_features(text: str) -> dict[str, float]:
    """Counts of the character trigrams of a text, scaled to unit length."""
    padded = f"  {text.casefold()} "
    counts = Counter(padded[i : i + 3] for i in range(len(padded) - 2))
    length = math.hypot(*counts.values())
    return {gram: count / length for gram, count in counts.items()}


def text_similarity(a: dict[str, float], b: dict[str, float]) -> float:
    """Cosine of two texts' features, 0..1."""
    return sum(share * b.get(gram, 0.0) for gram, share in a.items())


def sound_features(wave: np.ndarray, sample_rate: int) -> Vector:
    """float [samples] to log band energies over 12 equal slices of time, of unit length, and the log duration."""
    size = 512
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, (0, size)), size)[::160] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2                    # [frames, bins]
    edges = np.unique(np.geomspace(3, size // 2, BANDS + 1).astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-6)   # [frames, bands]
    slices = np.array_split(bands, SLICES)
    grid = np.stack([part.mean(axis=0) if len(part) else np.zeros(bands.shape[1]) for part in slices])
    return np.append(_unit((grid - grid.mean()).reshape(-1)), 0.3 * np.log(len(wave) / sample_rate))


def closeness(a: Vector, b: Vector) -> float:
    """Negative distance of two feature vectors."""
    return -float(np.linalg.norm(a - b))


def _unit(vector: Vector) -> Vector:
    return vector / (np.linalg.norm(vector) + 1e-9)
