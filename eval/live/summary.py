"""What the benchmarks of turns say alike: means, differences of the same questions, and false starts."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from omni.eval.statistics import bootstrap, wilson
from omni.figures import Report

PAUSE = 0.2                                                             # seconds from which on a silence is a pause


class Turn(Protocol):
    """pause: seconds of the longest silence in what was said; false_start: whether it was held to have ended in it"""

    @property
    def pause(self) -> float: ...
    @property
    def false_start(self) -> bool: ...


def add_mean(report: Report, name: str, values: Sequence[float]) -> None:
    """The mean in milliseconds, None of no values."""
    low, high = bootstrap(values) if values else (None, None)
    report.add(name, float(np.mean(values)) if values else None, "ms", low=low, high=high, n=len(values))


def add_delay(report: Report, name: str, before: Sequence[float | None], after: Sequence[float | None]) -> None:
    """How much later the same questions are answered after than before, of those that were answered both times."""
    pairs = zip(before, after, strict=True)
    add_mean(report, name, [other - one for one, other in pairs if one is not None and other is not None])


def add_false_starts(report: Report, turns: Sequence[Turn]) -> None:
    """The share of false starts, of all turns and of those with a pause."""
    paused = [turn for turn in turns if turn.pause >= PAUSE]
    for name, group in (("false_start_rate", turns), ("false_start_rate_with_pauses", paused)):
        wrong = sum(turn.false_start for turn in group)
        low, high = wilson(wrong, len(group))
        report.add(name, wrong / len(group) if group else None, "1", low=low, high=high, n=len(group))
