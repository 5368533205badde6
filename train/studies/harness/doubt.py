"""What chance leaves open where runs of several seeds are measured on the same held-out items."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from omni.train.studies.harness.claims import Estimate

RESAMPLES = 1000
LEVEL_95 = 1.959964


def resampled(count: int) -> NDArray[np.float64]:
    """How often each of so many items counts: once each, then in RESAMPLES bootstraps: [1 + RESAMPLES, count]."""
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate((np.ones((1, count)), drawn))


def doubted(drawn: NDArray[np.float64], repeated: Iterable[NDArray[np.float64]], share: float, seeds: int) -> Estimate:
    """A statistic with its 95 % interval, which adds two doubts in quadrature: which items are held out (bootstrap),
    and which seed was drawn (Student's, the deviation pooled over all that has several seeds; no interval without).

    drawn: on the items and on their resamples [1 + RESAMPLES]; repeated: what each choice's runs measure, [runs];
    share: of a run's variance that the statistic has; seeds: behind it
    """
    half = math.hypot(LEVEL_95 * float(drawn[1:].std(ddof=1)), _of_a_run(list(repeated)) * math.sqrt(share))
    value = float(drawn[0])
    return Estimate(value, value - half, value + half, seeds)


def _of_a_run(repeated: list[NDArray[np.float64]]) -> float:
    """Half the 95 % interval of one run over seeds; not a number without repeated seeds."""
    from scipy import stats

    freedom = sum(len(runs) - 1 for runs in repeated)
    if not freedom:
        return math.nan
    squares = sum(float(((runs - runs.mean()) ** 2).sum()) for runs in repeated)
    return float(stats.t.ppf(0.975, freedom)) * math.sqrt(squares / freedom)
