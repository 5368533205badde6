"""What became of a task: its figures, and a count of every sample that went in."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.scorer import Score

from omni.errors import InputError
from omni.eval.abilities.scoring import Measure
from omni.eval.tasks.measures import broken_down, figures, over_epochs
from omni.figures import Report
from omni.files import read_json


@dataclass
class Outcome:
    """A task's figures, `scored` + `errored` + `missing` = `given` samples, and its log in the folder `logs`.

    seconds: in which one of them at least was on its way
    missing: samples that were never asked, since the run was interrupted; note: why there is less than there could be
    groups:  figures by key, scorer and group: groups["subject"]["accuracy"]["anatomy"]
    """

    task: str
    figures: dict[str, Measure] = field(default_factory=dict)
    given: int = 0
    scored: int = 0
    errored: int = 0
    missing: int = 0
    log: str = ""
    note: str = ""
    seconds: float = 0.0
    groups: dict[str, dict[str, dict[str, Measure]]] = field(default_factory=dict)
    samples: list[EvalSample] = field(default_factory=list, repr=False)

    @property
    def partial(self) -> bool:
        return bool(self.note or self.errored or self.missing)

    def as_dict(self) -> dict[str, Any]:
        """All but the samples, which the log has."""
        values = {name: value for name, value in vars(self).items() if name not in ("samples", "figures")}
        values["figures"] = {name: asdict(one) for name, one in self.figures.items()}
        values["groups"] = {by: as_json(measures) for by, measures in self.groups.items()}
        return {**values, "partial": self.partial}


def as_json(measures: dict[str, dict[str, Measure]]) -> dict[str, dict[str, Any]]:
    """Measures by figure and group as JSON holds them."""
    return {name: {who: asdict(one) for who, one in rows.items()} for name, rows in measures.items()}


def read_suite(folder: Path) -> dict[str, Any]:
    """What the suite.json of a folder says. Raises InputError where it is none."""
    about = read_json(folder / "suite.json")
    if not isinstance(about, dict) or not {"suite", "key", "tasks"} <= set(about):
        raise InputError(f"{folder / 'suite.json'}: not what `omni eval suite` writes; run the suite again")
    return about


def outcome(task: str, log: EvalLog) -> Outcome:
    """The outcome that a whole log tells. Figures are computed again from its samples, as anybody could."""
    samples = log.samples or []
    by_scorer = scores(samples)
    errors = [sample for sample in samples if sample.error]
    given = log.results.total_samples if log.results else len(log.eval.dataset.sample_ids or samples)
    result = Outcome(
        task, given=given, scored=sum(bool(one.scores) and not one.error for one in samples), errored=len(errors),
        log=Path(log.location).name, samples=samples, seconds=busy(samples),
    )  # fmt: skip
    result.missing = given - result.scored - result.errored
    result.note = _note(log, errors)
    for name, found in by_scorer.items():
        result.figures |= figures(f"{task}_{name}", found)
        for by, measures in broken_down(found).items():
            result.groups.setdefault(by, {})[name] = measures
    return result


def scores(samples: Sequence[EvalSample]) -> dict[str, list[Score]]:
    """Scores by scorer, of the samples that have one, each sample's over its epochs."""
    found: dict[str, list[tuple[object, Score]]] = {}
    for sample in samples:
        for name, score in ({} if sample.error else sample.scores or {}).items():
            found.setdefault(name, []).append((sample.id, score))
    return {name: over_epochs(some) for name, some in found.items()}


def report(command: str, outcomes: Sequence[Outcome]) -> Report:
    """Every figure, and the counts of all samples."""
    made = Report(command)
    for one in outcomes:
        for name, measure in one.figures.items():
            made.add(name, measure.value, measure.unit, low=measure.low, high=measure.high, n=measure.n)
    for count in ("given", "scored", "errored", "missing"):
        made.add(f"samples_{count}", sum(getattr(one, count) for one in outcomes), "samples")
    made.add("tasks_left_out", sum(not one.given for one in outcomes), "tasks")
    return made


def busy(samples: Sequence[EvalSample]) -> float:
    """Seconds of the clock that samples took: those that were asked together count once."""
    total, until = 0.0, -math.inf
    for begun, done in sorted(
        (datetime.fromisoformat(one.started_at).timestamp(), datetime.fromisoformat(one.completed_at).timestamp())
        for one in samples if one.started_at and one.completed_at
    ):  # fmt: skip
        total += max(0.0, done - max(begun, until))
        until = max(until, done)
    return total


def _note(log: EvalLog, errors: Sequence[EvalSample]) -> str:
    if log.status == "error" and log.error:
        return f"stopped: {log.error.message}"
    if log.status != "success":
        return f"not finished ({log.status})"
    if errors and errors[0].error:
        return f"{len(errors)} samples could not be asked or answered; the first: {errors[0].error.message}"
    return ""
