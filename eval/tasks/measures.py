"""From the scores of samples to figures: the value, its interval, chance, the baseline, and each group by itself."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from inspect_ai.scorer import Metric, SampleScore, Score, metric
from numpy.typing import NDArray

from omni.eval.abilities.scoring import Measure, bleu_counts, bleu_of, chrf_counts, chrf_of, statistic
from omni.eval.statistics import paired_difference, paired_shares, wilson

LEAST = 5                                                               # samples of a group that is shown by itself


@dataclass(frozen=True)
class Kind:
    """How the rows of samples become one figure: by a table of numbers [samples, ...], and the value of its rows."""

    unit: str
    value: Callable[[NDArray[np.float64]], float]
    table: Callable[[Sequence[Any]], NDArray[np.float64]] = lambda rows: np.array(rows, np.float64)

    def measure(self, rows: Sequence[Any], chance: float | None = None) -> Measure:
        """The figure of samples by what each adds to it."""
        return self.of_table(self.table(rows), chance)

    def of_table(self, table: NDArray[np.float64], chance: float | None = None) -> Measure:
        """Shares and rates have Wilson's interval, all else one of a bootstrap, an extreme none: it was seen."""
        if self in EXTREMES:
            return Measure(self.value(table), self.unit, self.value(table), self.value(table), len(table), chance)
        if self._of_shares:
            return Measure(_mean(table), self.unit, *wilson(table[:, 0].sum(), len(table)), len(table), chance)
        return statistic(table, self.value, self.unit, chance)

    def gap(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
        """Interval at 95 % of the second table's value less the first's, of the same samples."""
        if self._of_shares:
            return paired_shares(first[:, 0], second[:, 0])
        return paired_difference(first, second, self.value)

    @property
    def _of_shares(self) -> bool:
        """Whether the rows are 0 to 1, and the value is their mean."""
        return self in (KINDS["share"], KINDS["rate"])


def _pooled(table: NDArray[np.float64]) -> float:
    """A sum over a sum: long texts weigh more than short ones."""
    return float(table[:, 0].sum() / max(1e-9, table[:, 1].sum()))


def _mean(table: NDArray[np.float64]) -> float:
    return float(table[:, 0].mean())


def _percentile(share: float) -> Callable[[NDArray[np.float64]], float]:
    return lambda table: float(np.percentile(table[:, 0], share))


def _effect(table: NDArray[np.float64]) -> float:
    """How much more the model's values are than those of the control, on average. Rows: (value, arm, topic)."""
    control, ours, _ = _of_arms(table)
    return float(ours - control)


def _ratio(table: NDArray[np.float64]) -> float:
    """The model's effect over that of people."""
    control, ours, theirs = _of_arms(table)
    return float((ours - control) / (theirs - control))


def _of_arms(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of control, model and people: [3]; not a number where, while samples still come in, there is nobody yet."""
    arms = table[:, 1].astype(np.intp)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(arms, table[:, 0], 3) / np.bincount(arms, minlength=3))


def _won(table: NDArray[np.float64]) -> float:
    """The share of topics in which the model's effect is the greater, of those that both were seen in."""
    pairs = [
        [table[(table[:, 1] == arm) & (table[:, 2] == topic), 0] for arm in (1, 2)] for topic in np.unique(table[:, 2])
    ]
    won = [float(ours.mean() > theirs.mean()) for ours, theirs in pairs if len(ours) and len(theirs)]
    return float(np.mean(won)) if won else 0.0


KINDS = {
    "pooled": Kind("share", _pooled), "bits": Kind("bits/byte", _pooled), "share": Kind("share", _mean),
    "rate": Kind("share", _mean),                                       # of samples that are right in part
    "mean": Kind("", _mean), "chrf": Kind("chrF", chrf_of, lambda rows: chrf_counts(*zip(*rows, strict=True))),
    "bleu": Kind("BLEU", bleu_of, lambda rows: bleu_counts(*zip(*rows, strict=True))),
    "mean ms": Kind("ms", _mean), "p50 ms": Kind("ms", _percentile(50)), "p95 ms": Kind("ms", _percentile(95)),
    "least ms": Kind("ms", _percentile(0)), "most ms": Kind("ms", _percentile(100)),
    "effect": Kind("points", _effect), "ratio": Kind("of the human effect", _ratio), "won": Kind("of topics", _won),
}  # fmt: skip
ARMS = ("control", "model", "human")                                    # of the rows of an effect, by their index
EXTREMES = (KINDS["least ms"], KINDS["most ms"])


def scored(
    kind: str, row: Sequence[Any], meta: Mapping[str, Any], answer: str, value: float,
    baseline: Sequence[Any] | None = None, chance: float | None = None, explanation: str | None = None,
    unparsable: bool | None = None,
) -> Score:  # fmt: skip
    """A sample's score with all that figures are made of.

    row: what this sample adds to the figure; baseline: what the trivial answer would add; chance: of guessing right
    unparsable: whether the answer is none of those that there are; None where it may be any text
    """
    kept = {"kind": kind, "row": list(row), "groups": dict(meta.get("groups") or {}), "chance": chance}
    kept |= {"baseline": None if baseline is None else list(baseline), "unparsable": unparsable}
    return Score(value=value, answer=answer, explanation=explanation, metadata=kept)


def figures(name: str, scores: Sequence[Score]) -> dict[str, Measure]:
    """`NAME` and what stands beside it: `NAME_baseline`, `NAME_unparsable`; for the groups of language `NAME_LL` and
    `NAME_LL_baseline`. Nothing where nothing was scored."""
    if not scores:
        return {}
    made = _with_baseline(name, scores)
    choosing = [lost for score in scores if (lost := (score.metadata or {}).get("unparsable")) is not None]
    if choosing:
        made[f"{name}_unparsable"] = KINDS["share"].measure([[one] for one in choosing])
    for group, members in grouped(scores, "language").items():
        made |= _with_baseline(f"{name}_{group}", members)
    return made


def _with_baseline(name: str, scores: Sequence[Score]) -> dict[str, Measure]:
    trivial = [row for score in scores if (row := (score.metadata or {})["baseline"]) is not None]
    return {name: _measure(scores)} | ({f"{name}_baseline": kind_of(scores).measure(trivial)} if trivial else {})


def broken_down(scores: Sequence[Score]) -> dict[str, dict[str, Measure]]:
    """The figure of every group by itself, by each key of `groups` that scores carry: {"subject": {"anatomy": …}}.

    All but language, which `figures` has.
    """
    keys = sorted({by for score in scores for by in (score.metadata or {})["groups"]} - {"language"})
    found = {by: {who: _measure(some) for who, some in grouped(scores, by).items()} for by in keys}
    return {by: measures for by, measures in found.items() if measures}


def grouped(scores: Sequence[Score], by: str) -> dict[str, list[Score]]:
    """Scores by a group such as `speaker`; those of a single group, or of too few samples, say nothing new."""
    names = Counter((score.metadata or {})["groups"].get(by) for score in scores)
    shown = sorted(name for name, count in names.items() if name is not None and count >= LEAST)
    if len(names) < 2:
        return {}
    return {name: [one for one in scores if (one.metadata or {})["groups"].get(by) == name] for name in shown}


@metric(scores="unreduced")                                             # Inspect's reducers keep the first epoch's rows
def measured(name: str) -> Metric:
    """The same figures in Inspect's log: NAME, NAME_low, NAME_high, NAME_n and, where there is one, NAME_chance."""

    def compute(scores: list[SampleScore]) -> dict[str, float]:
        flat: dict[str, float] = {}
        named = ((at if one.sample_id is None else str(one.sample_id), one.score) for at, one in enumerate(scores))
        for key, one in figures(name, over_epochs(named)).items():
            flat |= {key: one.value, f"{key}_low": one.low, f"{key}_high": one.high, f"{key}_n": one.n}
            flat |= {} if one.chance is None else {f"{key}_chance": one.chance}
        return {key: float(value) for key, value in flat.items()}

    return compute


def over_epochs(found: Iterable[tuple[object, Score]]) -> list[Score]:
    """One score a sample, with the `rows` of all its epochs, which are no further samples. found: with samples' ids."""
    by_sample: dict[object, list[Score]] = {}
    for sample, score in found:
        by_sample.setdefault(sample, []).append(score)
    return [_over_epochs(some) if len(some) > 1 else some[0] for some in by_sample.values()]


def _over_epochs(some: Sequence[Score]) -> Score:
    metas = [score.metadata or {} for score in some]
    lost = None if metas[0]["unparsable"] is None else float(np.mean([one["unparsable"] for one in metas]))
    whole = {**metas[0], "rows": [one["row"] for one in metas], "unparsable": lost}
    return some[0].model_copy(update={"metadata": whole})


def table_of(scores: Sequence[Score]) -> NDArray[np.float64]:
    """What each sample adds to the figure, on average over its epochs: [samples, ...]."""
    rows = [meta.get("rows") or [meta["row"]] for score in scores if (meta := score.metadata)]
    table = kind_of(scores).table([row for some in rows for row in some])
    ends = np.cumsum([len(some) for some in rows])[:-1]
    return table if len(table) == len(rows) else np.stack([some.mean(0) for some in np.split(table, ends)])


def kind_of(scores: Sequence[Score]) -> Kind:
    """How scores of one scorer become a figure."""
    return KINDS[(scores[0].metadata or {})["kind"]]


def _measure(scores: Sequence[Score]) -> Measure:
    chances = [chance for score in scores if (chance := (score.metadata or {})["chance"]) is not None]
    return kind_of(scores).of_table(table_of(scores), float(np.mean(chances)) if chances else None)
