"""What asking aloud costs: the score of a spoken task less that of the written one, over samples that both scored."""

from collections.abc import Sequence

from omni.eval.abilities.scoring import Measure
from omni.eval.statistics import paired_difference
from omni.eval.suite.outcome import Outcome, scores
from omni.eval.tasks.measures import kind_of, table_of

BESIDE = {"_aloud": "", "_channels": "_aloud", "_accents": "_aloud"}    # ending of a task to that of its counterpart


def counterpart(task: str) -> str | None:
    """The task whose samples a spoken one has, and less whose score its gap is; None of a task that is not spoken."""
    ending = next((one for one in BESIDE if task.endswith(one)), None)
    return None if ending is None else task.removesuffix(ending) + BESIDE[ending]


def add_gaps(outcomes: Sequence[Outcome]) -> None:
    """Give every spoken task the figure `TASK_gap`: speech less writing, or damaged or accented less clean speech."""
    known = {one.task: one for one in outcomes}
    for one in outcomes:
        other = known.get(counterpart(one.task) or "")
        if other is not None and (gap := _gap(other, one)):
            one.figures[f"{one.task}_gap"] = gap


def _gap(first: Outcome, second: Outcome) -> Measure | None:
    """The difference of the first scorer's figures, by a paired bootstrap; None where they have no sample in common."""
    ours, theirs = ([one for one in side.samples if not one.error] for side in (first, second))
    shared = {str(one.id) for one in ours} & {str(one.id) for one in theirs}
    before, after = (
        scores(sorted((one for one in side if str(one.id) in shared), key=lambda one: str(one.id)))
        for side in (ours, theirs)
    )
    name = next((name for name in before if len(before[name]) == len(after.get(name, ())) == len(shared) > 0), None)
    if name is None:
        return None
    kind = kind_of(before[name])
    one, other = table_of(before[name]), table_of(after[name])
    low, high = paired_difference(one, other, kind.value)
    return Measure(kind.value(other) - kind.value(one), kind.unit, low, high, len(shared))
