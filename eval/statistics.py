"""Intervals around measured scores."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

LEVEL_95 = 1.959964


def wilson(successes: int, n: int, z: float = LEVEL_95) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927): low and high in 0..1; the whole of it when nothing was observed."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(values: Sequence[float], resamples: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of a mean at 95 % (Efron 1979): low and high; not a number for no values."""
    if not values:
        return math.nan, math.nan
    sample = np.asarray(values, np.float64)
    draws = np.random.default_rng(seed).integers(len(sample), size=(resamples, len(sample)))
    low, high = np.percentile(sample[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def bootstrap_of(
    rows: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], float], resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval at 95 % of any statistic of the observations `rows` [n, ...]."""
    random = np.random.default_rng(seed)
    drawn = [statistic(rows[random.integers(len(rows), size=len(rows))]) for _ in range(resamples)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
