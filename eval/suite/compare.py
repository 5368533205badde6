"""Two runs of a suite on the same samples: is the difference more than chance?"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from inspect_ai.log import EvalSample, read_eval_log
from inspect_ai.scorer import Score
from numpy.typing import NDArray

from omni.errors import InputError
from omni.eval.statistics import holm, mcnemar, randomization
from omni.eval.suite.outcome import read_suite
from omni.eval.suite.run import logs_of
from omni.eval.tasks.measures import KINDS, kind_of, over_epochs, table_of

OTHERS, OF_VOICES = "graders_error", "_asked_wer"                       # what grader and synthesizer err: no model's


@dataclass(frozen=True)
class Difference:
    """A figure of two runs over the samples that both scored; `p` is adjusted for how many are compared (Holm)."""

    name: str
    first: float
    second: float
    low: float
    high: float
    n: int
    p: float

    @property
    def change(self) -> float:
        return self.second - self.first


def compare(first: Path, second: Path) -> list[Difference]:
    """Every figure of the model that both folders of `omni eval suite` have, paired by sample.

    Raises InputError where there is none, and where a sample was asked differently in the two.
    """
    (ours, asked), (theirs, asked_too) = _read(first), _read(second)
    _refuse_other_questions(asked, asked_too, f"{first} and {second}")
    names = [name for name in ours if name in theirs and not name.startswith(OTHERS) and not name.endswith(OF_VOICES)]
    found = [_difference(name, ours[name], theirs[name]) for name in names if set(ours[name]) & set(theirs[name])]
    if not found:
        raise InputError(f"{first} and {second}: have no sample in common; run the same suite with one --seed")
    adjusted = holm([one.p for one in found])
    return [Difference(**{**vars(one), "p": p}) for one, p in zip(found, adjusted, strict=True)]


def _read(folder: Path) -> tuple[dict[str, dict[str, Score]], dict[str, dict[str, str]]]:
    """Of a folder's samples the scores, by TASK_SCORER, and what was asked and wanted, by task, as a checksum."""
    scores: dict[str, dict[str, list[Score]]] = {}
    asked: dict[str, dict[str, str]] = {}
    for task, log in _logs(folder).items():
        for sample in read_eval_log(log).samples or []:
            asked.setdefault(task, {})[str(sample.id)] = _question(sample)
            for name, score in ({} if sample.error else sample.scores or {}).items():
                scores.setdefault(f"{task}_{name}", {}).setdefault(str(sample.id), []).append(score)
    if not scores:
        raise InputError(f"{folder}: no logs of `omni eval suite` there")
    return {name: {one: over_epochs((one, score) for score in some)[0] for one, some in by.items()}
            for name, by in scores.items()}, asked  # fmt: skip


def _logs(folder: Path) -> dict[str, str]:
    """The log of each task: that which suite.json rests on, and not a newer one, such as of a run that was broken off.

    Without a suite.json the newest. Raises InputError where one that is named is gone.
    """
    if not (folder / "suite.json").is_file():
        return {task: header.location for task, header in logs_of(folder / "logs").items()}
    tasks = read_suite(folder)["tasks"]
    found = {one["task"]: folder / "logs" / one["log"] for one in tasks if one["log"]}
    if gone := [path for path in found.values() if not path.is_file()]:
        raise InputError(f"{gone[0]}: {folder / 'suite.json'} names this log, and it is gone; run the suite again")
    return {task: str(path) for task, path in found.items()}


def _question(sample: EvalSample) -> str:
    """Sounds and pictures are in a log by their checksums already."""
    asked = sample.input if isinstance(sample.input, str) else [
        one.model_dump(include={"role", "content"}) for one in sample.input
    ]  # fmt: skip
    return hashlib.sha256(json.dumps([asked, sample.target], sort_keys=True).encode()).hexdigest()


def _refuse_other_questions(ours: dict[str, dict[str, str]], theirs: dict[str, dict[str, str]], where: str) -> None:
    for task in set(ours) & set(theirs):
        other = [one for one in set(ours[task]) & set(theirs[task]) if ours[task][one] != theirs[task][one]]
        if other:
            raise InputError(f"{where}: {task}: {len(other)} samples, {min(other)} first, were asked differently; run"
                             " both on the same data")  # fmt: skip


def _difference(name: str, ours: dict[str, Score], theirs: dict[str, Score]) -> Difference:
    shared = sorted(set(ours) & set(theirs))
    first, second = [ours[key] for key in shared], [theirs[key] for key in shared]
    kind = kind_of(first)
    if kind is not kind_of(second):
        raise InputError(f"{name}: was scored in two ways; run both suites with the same version of omni")
    one, other = table_of(first), table_of(second)
    low, high = kind.gap(one, other)
    p = _mcnemar(one, other) if kind is KINDS["share"] else randomization(one, other, kind.value)
    return Difference(name, kind.value(one), kind.value(other), low, high, len(shared), p)


def _mcnemar(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return mcnemar(int((one > other).sum()), int((other > one).sum()))
