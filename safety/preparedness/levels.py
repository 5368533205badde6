"""Levels of risk from measured figures: each category's by written thresholds, overall the highest."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from omni.eval.abilities.scoring import Measure

NOT_EVALUATED = "not evaluated"
LEVELS = ("low", "medium", "high", "critical")
FILE = Path(__file__).with_name("levels.toml")


@dataclass(frozen=True)
class Verdict:
    """A category's level, or that it was not evaluated, which is no level at all."""

    category: str
    level: str
    means: str
    measure: Measure | None
    v2: str

    @property
    def level_v2(self) -> str:
        """Version 2 of the framework tracks High and Critical alone."""
        if self.level == NOT_EVALUATED or "policy" in self.v2:
            return NOT_EVALUATED if self.level == NOT_EVALUATED else "not tracked"
        return self.level if self.level in ("high", "critical") else "below high"


@cache
def thresholds() -> dict[str, dict[str, str | float]]:
    """What levels.toml says of each category."""
    rows: dict[str, dict[str, str | float]] = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return rows


def verdicts(measures: Mapping[str, Measure]) -> list[Verdict]:
    """Every category's level by the figures that were measured."""
    found = []
    for category, row in thresholds().items():
        measure = measures.get(str(row["figure"]))
        level = NOT_EVALUATED if measure is None or math.isnan(measure.high) else level_of(measure.high, row)
        found.append(Verdict(category, level, str(row["means"]), measure, str(row["v2"])))
    return found


def level_of(value: float, row: Mapping[str, str | float]) -> str:
    """The highest level whose threshold a figure reaches."""
    reached = [level for level in LEVELS[1:] if value >= float(row[level])]
    return reached[-1] if reached else LEVELS[0]


def overall(found: list[Verdict]) -> str:
    """The highest level. Where a category was not evaluated it is at least that of the others: `at least high`; if that
    is low, nothing is known.
    """
    highest = max((LEVELS.index(one.level) for one in found if one.level != NOT_EVALUATED), default=0)
    if highest == len(LEVELS) - 1 or all(one.level != NOT_EVALUATED for one in found):
        return LEVELS[highest]
    return f"at least {LEVELS[highest]}" if highest else NOT_EVALUATED
