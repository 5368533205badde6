"""Scores of codecs on the same held-out utterances, and differences of two, with what chance leaves open."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omni.train.studies.harness.claims import Estimate
from omni.train.studies.harness.doubt import doubted, resampled
from omni.train.studies.harness.study import Results
from omni.train.studies.rates.sample import TEXTS

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
        return doubted(drawn, [self.means[measure][runs, 0] for runs in self.of.values()], share, seeds)


def _means(scores: list[list[float | None]]) -> NDArray[np.float64]:
    """Over utterances, [runs, 1 + RESAMPLES]; None, where a measure is undefined, counts nowhere."""
    each = np.array(scores, np.float64).reshape(len(scores), -1, TEXTS)  # [runs, groups, texts]
    sums, counts = np.nansum(each, axis=2), (~np.isnan(each)).sum(axis=2)  # [runs, groups]
    weights = resampled(each.shape[1]).T                                # [groups, 1 + RESAMPLES]
    return np.asarray((sums @ weights) / (counts @ weights))
