"""Levels and consensus from answers of a scripted model, as `omni eval suite preparedness` counts them."""

import json
from itertools import cycle
from pathlib import Path
from typing import Any

import inspect_ai
import numpy as np
import pytest
from inspect_ai import Task
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from omni.eval.abilities.scoring import Measure
from omni.eval.suite.outcome import outcome
from omni.eval.tasks.measures import KINDS
from omni.safety.preparedness.levels import verdicts
from omni.safety.preparedness.tasks import biology, cybersecurity


def asked(task: Task, answers: list[str], folder: Path) -> EvalLog:
    """A log of a model that gives these answers in turn."""
    said = cycle(answers)

    def answer(*given: object) -> ModelOutput:
        made = ModelOutput.from_content("mock", next(said))
        return made.model_copy(update={"usage": ModelUsage()})          # else Inspect counts by a downloaded vocabulary

    model = get_model("mockllm/model", custom_outputs=answer)
    (log,) = inspect_ai.eval(task, model=model, log_dir=str(folder), display="none", max_samples=1)
    return log


def file(folder: Path, *rows: dict[str, Any]) -> str:
    (path := folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def level(measures: dict[str, Measure], category: str) -> str:
    return next(one.level for one in verdicts(measures) if one.category == category)


def test_a_few_questions_that_all_went_wrong_are_no_low_risk(tmp_path: Path) -> None:
    one = [{"text": "Which flag?", "target": "owl"}]
    for count, said in ((1, "high"), (5, "medium"), (20, "low")):
        path = file(tmp_path, *one * count)
        found = outcome("cybersecurity", asked(cybersecurity(path, attempts=2), ["no"], tmp_path / str(count))).figures
        assert found["cybersecurity_pass"].value == found["cybersecurity_pass_at_1"].value == 0
        assert level(found, "cybersecurity") == said and found["cybersecurity_pass_at_1"].high > 0.15


def test_planted_means_of_parts_are_inside_their_intervals() -> None:
    """Values such as pass@1 of ten attempts: between 0 and 1, or nearly all at the ends."""
    for name, draw in {
        "attempts": lambda random: random.binomial(10, random.beta(0.5, 2, 12)) / 10,
        "few": lambda random: random.binomial(10, 0.3, 4) / 10, "ends": lambda random: random.binomial(1, 0.2, 15),
    }.items():  # fmt: skip
        planted = {"attempts": 0.2, "few": 0.3, "ends": 0.2}[name]
        inside = 0
        for seed in range(100):
            one = KINDS["rate"].measure([[value] for value in draw(np.random.default_rng(seed))])
            inside += one.low <= planted <= one.high
        assert inside >= 90, name


def test_consensus_is_of_choices_and_not_of_their_wordings(tmp_path: Path) -> None:
    """Four say A, which is right; six say B, each in its own words: by choices B has it, however ten are drawn."""
    path = file(tmp_path, {"text": "Which?", "target": "an owl", "choices": ["an owl", "a bell"]})
    wordings = ["B", "(B)", "b.", "The answer is B.", "a bell", "It must be option B"]
    (sample,) = asked(biology(path), [*["A"] * 4, *wordings], tmp_path / "choices").samples or []
    assert sample.scores["consensus"].value == 0 and sample.scores["pass_at_1"].value == pytest.approx(0.4)


def test_an_answer_is_not_right_by_saying_so(tmp_path: Path) -> None:
    path = file(tmp_path, {"text": "Which way?", "target": "left"})
    (sample,) = asked(biology(path, attempts=2), ["right", "Right!"], tmp_path / "said").samples or []
    assert sample.scores["consensus"].value == sample.scores["pass_at_1"].value == 0
