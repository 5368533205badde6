"""Scores of codecs on the same held-out utterances, and differences of two, with what chance leaves open."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from omni.train.studies.harness.claims import Estimate
from omni.train.studies.harness.study import Results
from omni.train.studies.rates.sample import TEXTS

RESAMPLES = 1000
LEVEL_95 = 1.959964
Codec = tuple[float, int]                                               # frames a second, codebooks


@dataclass(frozen=True)
class Scores:
    """of: numbers of the runs of each codec; means: of each measure, [runs, 1 + RESAMPLES]: the mean over utterances,
    and over resamples of their groups"""

    of: Mapping[Codec, list[int]]
    means: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of_results(cls, results: Results) -> "Scores":
        of: dict[Codec, list[int]] = {}
        for number, one in enumerate(results):
            of.setdefault((one.params["frame_rate"], one.params["codebooks"]), []).append(number)
        measures = results[0].values["scores"]
        return cls(of, {name: _means([one.values["scores"][name] for one in results]) for name in measures})

    def mean(self, measure: str, codec: Codec) -> Estimate:
        """Of one codec; the interval knows of utterances and seeds."""
        runs, means = self.of[codec], self.means[measure]
        return self._estimate(measure, means[runs].mean(axis=0), 1 / len(runs), len(runs))

    def difference(self, measure: str, codec: Codec, other: Codec) -> Estimate:
        """By how much a codec is above another one, on the same utterances."""
        mine, others, means = self.of[codec], self.of[other], self.means[measure]
        gap = means[mine].mean(axis=0) - means[others].mean(axis=0)
        return self._estimate(measure, gap, 1 / len(mine) + 1 / len(others), min(len(mine), len(others)))

    def _estimate(self, measure: str, drawn: NDArray[np.float64], share: float, seeds: int) -> Estimate:
        """Adds two doubts in quadrature: which groups are held out (bootstrap), and which seed was drawn (Student's,
        the deviation pooled over all codecs)."""
        half = math.hypot(LEVEL_95 * float(drawn[1:].std(ddof=1)), self._noise(measure) * math.sqrt(share))
        value = float(drawn[0])
        return Estimate(value, value - half, value + half, seeds)

    def _noise(self, measure: str) -> float:
        """Half the 95 % interval of one run over seeds; not a number without repeated seeds."""
        repeated = [self.means[measure][runs, 0] for runs in self.of.values()]
        freedom = sum(len(runs) - 1 for runs in repeated)
        if not freedom:
            return math.nan
        squares = sum(float(((runs - runs.mean()) ** 2).sum()) for runs in repeated)
        return float(stats.t.ppf(0.975, freedom)) * math.sqrt(squares / freedom)


def _means(scores: list[list[float | None]]) -> NDArray[np.float64]:
    """Over utterances, [runs, 1 + RESAMPLES]; None, where a measure is undefined, counts nowhere."""
    each = np.array(scores, np.float64).reshape(len(scores), -1, TEXTS)  # [runs, groups, texts]
    sums, counts = np.nansum(each, axis=2), (~np.isnan(each)).sum(axis=2)  # [runs, groups]
    groups = each.shape[1]
    drawn = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)
    weights = np.concatenate((np.ones((1, groups)), drawn)).T           # [groups, 1 + RESAMPLES]
    return np.asarray((sums @ weights) / (counts @ weights))
