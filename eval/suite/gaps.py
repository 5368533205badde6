"""What asking aloud costs: the score of a spoken task less that of the written one, over samples that both scored."""

from collections.abc import Sequence

from inspect_ai.scorer import Score

from omni.eval.abilities.scoring import Measure
from omni.eval.suite.outcome import Outcome, scores
from omni.eval.tasks.measures import grouped, kind_of, table_of

BESIDE = {"_aloud": "", "_channels": "_aloud", "_accents": "_aloud"}    # ending of a task to that of its counterpart
WAYS = ("channel", "accent")                                            # groups of samples that have a gap of their own

Pairs = Sequence[tuple[Score, Score]]                                   # of a sample in both tasks


def counterpart(task: str) -> str | None:
    """The task whose samples a spoken one has, and less whose score its gap is; None of a task that is not spoken."""
    ending = next((one for one in BESIDE if task.endswith(one)), None)
    return None if ending is None else task.removesuffix(ending) + BESIDE[ending]


def add_gaps(outcomes: Sequence[Outcome]) -> None:
    """Give every spoken task the figure `TASK_gap`: speech less writing, or damaged or accented less clean speech.

    The same of each channel and accent by itself is among its groups, as `gap`.
    """
    known = {one.task: one for one in outcomes}
    for one in outcomes:
        other = known.get(counterpart(one.task) or "")
        if other is not None and (pairs := _pairs(other, one)):
            one.figures[f"{one.task}_gap"] = _gap(pairs)
            for by in WAYS:
                if gaps := _by_way(pairs, by):
                    one.groups.setdefault(by, {})["gap"] = gaps


def _by_way(pairs: Pairs, by: str) -> dict[str, Measure]:
    before = {id(after): first for first, after in pairs}
    some = grouped([after for _, after in pairs], by)
    return {who: _gap([(before[id(after)], after) for after in found]) for who, found in some.items()}


def _pairs(first: Outcome, second: Outcome) -> Pairs:
    """The first scorer's scores of every sample that both tasks scored; none where they have no sample in common."""
    ours, theirs = ([one for one in side.samples if not one.error] for side in (first, second))
    shared = {str(one.id) for one in ours} & {str(one.id) for one in theirs}
    before, after = (
        scores(sorted((one for one in side if str(one.id) in shared), key=lambda one: str(one.id)))
        for side in (ours, theirs)
    )
    name = next((name for name in before if len(before[name]) == len(after.get(name, ())) == len(shared) > 0), None)
    return [] if name is None else list(zip(before[name], after[name], strict=True))


def _gap(pairs: Pairs) -> Measure:
    """The difference of the two tasks' figures, of the same samples."""
    before, after = zip(*pairs, strict=True)
    kind, one, other = kind_of(before), table_of(before), table_of(after)
    low, high = kind.gap(one, other)
    return Measure(kind.value(other) - kind.value(one), kind.unit, low, high, len(pairs))
