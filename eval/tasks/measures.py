"""From the scores of samples to figures: the value, its interval, chance, the baseline, and each group by itself."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from inspect_ai.scorer import Metric, SampleScore, Score, metric
from numpy.typing import NDArray

from omni.eval.abilities.scoring import Measure, bleu_counts, bleu_of, chrf_counts, chrf_of, share, statistic

LEAST = 5                                                               # samples of a group that is shown by itself


@dataclass(frozen=True)
class Kind:
    """How the rows of samples become one figure: by a table of numbers [samples, ...], and the value of its rows."""

    unit: str
    value: Callable[[NDArray[np.float64]], float]
    table: Callable[[Sequence[Any]], NDArray[np.float64]] = lambda rows: np.array(rows, np.float64)

    def measure(self, rows: Sequence[Any], chance: float | None = None) -> Measure:
        """Shares have Wilson's interval, everything else a bootstrap over the samples."""
        table = self.table(rows)
        if self is KINDS["share"]:
            return share([bool(one) for one in table[:, 0]], chance)
        return statistic(table, self.value, self.unit, chance)


def _pooled(table: NDArray[np.float64]) -> float:
    """A sum over a sum: long texts weigh more than short ones."""
    return float(table[:, 0].sum() / max(1e-9, table[:, 1].sum()))


def _mean(table: NDArray[np.float64]) -> float:
    return float(table[:, 0].mean())


KINDS = {
    "pooled": Kind("share", _pooled), "bits": Kind("bits/byte", _pooled), "share": Kind("share", _mean),
    "mean": Kind("", _mean), "chrf": Kind("chrF", chrf_of, lambda rows: chrf_counts(*zip(*rows, strict=True))),
    "bleu": Kind("BLEU", bleu_of, lambda rows: bleu_counts(*zip(*rows, strict=True))),
}  # fmt: skip


def scored(
    kind: str, row: Sequence[Any], meta: Mapping[str, Any], answer: str, value: float,
    baseline: Sequence[Any] | None = None, chance: float | None = None, explanation: str | None = None,
) -> Score:  # fmt: skip
    """A sample's score with all that figures are made of.

    row: what this sample adds to the figure; baseline: what the trivial answer would add; chance: of guessing right
    """
    kept = {"kind": kind, "row": list(row), "groups": dict(meta.get("groups") or {}), "chance": chance}
    kept["baseline"] = None if baseline is None else list(baseline)
    return Score(value=value, answer=answer, explanation=explanation, metadata=kept)


def figures(name: str, scores: Sequence[Score]) -> dict[str, Measure]:
    """`NAME`, `NAME_baseline` and, for the groups of language, `NAME_LL`; nothing where nothing was scored."""
    if not scores:
        return {}
    made = {name: _measure(scores)}
    trivial = [score for score in scores if (score.metadata or {})["baseline"] is not None]
    if trivial:
        made[f"{name}_baseline"] = kind_of(scores).measure([(score.metadata or {})["baseline"] for score in trivial])
    for group, members in grouped(scores, "language").items():
        made[f"{name}_{group}"] = _measure(members)
    return made


def grouped(scores: Sequence[Score], by: str) -> dict[str, list[Score]]:
    """Scores by a group such as `speaker`; those of a single group, or of too few samples, say nothing new."""
    names = Counter((score.metadata or {})["groups"].get(by) for score in scores)
    shown = sorted(name for name, count in names.items() if name is not None and count >= LEAST)
    if len(names) < 2:
        return {}
    return {name: [one for one in scores if (one.metadata or {})["groups"].get(by) == name] for name in shown}


@metric
def measured(name: str) -> Metric:
    """The same figures in Inspect's log: NAME, NAME_low, NAME_high, NAME_n and, where there is one, NAME_chance."""

    def compute(scores: list[SampleScore]) -> dict[str, float]:
        flat: dict[str, float] = {}
        for key, one in figures(name, [score.score for score in scores]).items():
            flat |= {key: one.value, f"{key}_low": one.low, f"{key}_high": one.high, f"{key}_n": one.n}
            flat |= {} if one.chance is None else {f"{key}_chance": one.chance}
        return {key: float(value) for key, value in flat.items()}

    return compute


def rows_of(scores: Sequence[Score]) -> list[Any]:
    """What each sample adds to the figure."""
    return [(score.metadata or {})["row"] for score in scores]


def kind_of(scores: Sequence[Score]) -> Kind:
    """How scores of one scorer become a figure."""
    return KINDS[(scores[0].metadata or {})["kind"]]


def _measure(scores: Sequence[Score]) -> Measure:
    chances = [chance for score in scores if (chance := (score.metadata or {})["chance"]) is not None]
    return kind_of(scores).measure(rows_of(scores), float(np.mean(chances)) if chances else None)
