"""What a study says about a paper's claim: a statistic, its interval, and the verdict that follows from the two."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["shown", "not shown", "inconclusive"]


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % interval and how many seeds stand behind it."""

    value: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Claim:
    """A claim with its verdict. None stands for what could not be measured.

    Make one with `above`, `below` or `within`: the interval decides, so a verdict cannot be chosen after the fact.
    """

    claim: str
    statistic: str
    value: float | None
    low: float | None
    high: float | None
    seeds: int
    verdict: Verdict

    @classmethod
    def above(cls, claim: str, statistic: str, estimate: Estimate, bound: float) -> "Claim":
        """That the statistic is above `bound`: shown when the whole interval is, not shown when none of it is."""
        return cls._judged(claim, statistic, estimate, estimate.low > bound, estimate.high <= bound)

    @classmethod
    def below(cls, claim: str, statistic: str, estimate: Estimate, bound: float) -> "Claim":
        """That the statistic is below `bound`."""
        return cls._judged(claim, statistic, estimate, estimate.high < bound, estimate.low >= bound)

    @classmethod
    def within(cls, claim: str, statistic: str, estimate: Estimate, least: float, most: float) -> "Claim":
        """That the statistic is in least..most: shown when all of the interval is, not shown when none of it is."""
        inside, outside = least <= estimate.low and estimate.high <= most, estimate.high < least or estimate.low > most
        return cls._judged(claim, statistic, estimate, inside, outside)

    @classmethod
    def _judged(cls, claim: str, statistic: str, estimate: Estimate, shown: bool, refuted: bool) -> "Claim":
        """An estimate that is no number, or whose interval is none, is inconclusive."""
        numbers = (estimate.value, estimate.low, estimate.high)
        verdict: Verdict = "inconclusive"
        if not any(map(math.isnan, numbers)):
            verdict = "shown" if shown else "not shown" if refuted else "inconclusive"
        value, low, high = (number if math.isfinite(number) else None for number in numbers)
        return cls(claim, statistic, value, low, high, estimate.seeds, verdict)

    def row(self) -> list[str]:
        """Its line of a table: claim, statistic, value, interval, seeds, verdict."""
        interval = "–" if self.low is None or self.high is None else f"[{self.low:.3g}, {self.high:.3g}]"
        value = "–" if self.value is None else f"{self.value:.3g}"
        return [self.claim, self.statistic, value, interval, str(self.seeds), self.verdict]


COLUMNS = ("claim", "statistic", "value", "95 % interval", "seeds", "verdict")


def mean(values: Sequence[float], seeds: int | None = None) -> Estimate:
    """The mean with Student's 95 % interval, which is honest for few values; no interval for one.

    seeds: behind the values, where there are several values a seed (default: as many as values)
    """
    from scipy import stats

    sample = np.asarray(values, np.float64)
    n, seeds = len(sample), len(sample) if seeds is None else seeds
    if n < 2:
        return Estimate(float(sample[0]) if n else math.nan, math.nan, math.nan, seeds)
    centre = float(sample.mean())
    half = float(stats.t.ppf(0.975, n - 1) * sample.std(ddof=1) / math.sqrt(n))
    return Estimate(centre, centre - half, centre + half, seeds)
