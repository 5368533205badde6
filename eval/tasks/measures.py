"""From the scores of samples to figures: the value, its interval, chance, the baseline, and each group by itself."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from inspect_ai.scorer import Metric, SampleScore, Score, metric

from omni.eval.abilities.scoring import Measure, corpus_chrf, mean, share, statistic

LEAST = 5                                                               # samples of a group that is shown by itself


@dataclass(frozen=True)
class Kind:
    """How the rows of samples, each a list of numbers or texts, become one figure."""

    unit: str
    measure: Callable[[Sequence[Any], float | None], Measure]


def _pooled(rows: Sequence[Any], chance: float | None) -> Measure:
    """A sum over a sum: long texts weigh more than short ones."""
    table = np.array(rows, np.float64)
    return statistic(table, lambda some: float(some[:, 0].sum() / max(1e-9, some[:, 1].sum())), "share", chance)


def _bits(rows: Sequence[Any], chance: float | None) -> Measure:
    return Measure(**{**vars(_pooled(rows, chance)), "unit": "bits/byte"})


def _chrf(rows: Sequence[Any], chance: float | None) -> Measure:
    return corpus_chrf([row[0] for row in rows], [row[1] for row in rows], chance)


def _share(rows: Sequence[Any], chance: float | None) -> Measure:
    return share([bool(row[0]) for row in rows], chance)


def _mean(rows: Sequence[Any], chance: float | None) -> Measure:
    return mean([float(row[0]) for row in rows], "", chance)


KINDS = {
    "pooled": Kind("share", _pooled), "bits": Kind("bits/byte", _bits), "chrf": Kind("chrF", _chrf),
    "share": Kind("share", _share), "mean": Kind("", _mean),
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
        rows = [(score.metadata or {})["baseline"] for score in trivial]
        made[f"{name}_baseline"] = KINDS[_kind(scores)].measure(rows, None)
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


def figure(scores: Sequence[Score]) -> Measure:
    """One figure over scores of one kind."""
    return _measure(scores)


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


def _measure(scores: Sequence[Score]) -> Measure:
    chances = [chance for score in scores if (chance := (score.metadata or {})["chance"]) is not None]
    chance = float(np.mean(chances)) if chances else None
    return KINDS[_kind(scores)].measure([(score.metadata or {})["row"] for score in scores], chance)


def _kind(scores: Sequence[Score]) -> str:
    return str((scores[0].metadata or {})["kind"])
