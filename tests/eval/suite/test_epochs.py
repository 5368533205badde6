"""Inspect's `--epochs`: the same questions again, drawn anew, which are no further samples."""

import json
from pathlib import Path

import inspect_ai
import pytest
from inspect_ai import Task
from inspect_ai.model import GenerateConfig, ModelOutput, ModelUsage, get_model
from scipy.stats import binomtest

from omni.eval.inspected import wishes
from omni.eval.suite.compare import compare
from omni.eval.suite.outcome import outcome
from omni.eval.suite.run import Plan, run_suite
from omni.eval.tasks.scorers import right, translation
from omni.safety.registry import text_qa


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"what {n}?", "target": "owl"}) for n in range(6)))
    return path


def test_each_epoch_is_drawn_with_a_seed_of_its_own(
    model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishes, "MOST_TOKENS", 8)

    def drawn(data: str, n: int, seed: int) -> Task:
        task = text_qa(data, n, seed)
        task.epochs, task.config = 3, GenerateConfig(temperature=1.5)
        return task

    made = [run_suite([drawn], Plan(get_model(f"omni/{model}"), rows, 1, 0, "w"), tmp_path / out) for out in "ab"]
    first, again = ({(one.id, one.epoch): one.output.completion for one in some[0].samples} for some in made)
    assert first == again and len(set(first.values())) == 3
    assert not [one for one in made[0] if one.errored]


def test_all_epochs_are_measured_and_a_sample_is_one_however_often_it_is_asked(rows: Path, tmp_path: Path) -> None:
    said = {"wrong": 0, "right": 0}

    def answer(*asked: object) -> ModelOutput:
        word = "right" if said["right"] < 4 else "wrong"
        said[word] += 1
        made = ModelOutput.from_content("mock", {"right": "owl", "wrong": "bell"}[word])
        return made.model_copy(update={"usage": ModelUsage()})          # else Inspect counts by a downloaded vocabulary

    task = text_qa(str(rows), n=6)
    task.scorer = [right(), translation()]
    (log,) = inspect_ai.eval(
        task, model=get_model("mockllm/model", custom_outputs=answer), log_dir=str(tmp_path / "a" / "logs"),
        epochs=3, display="none", max_samples=1,
    )  # fmt: skip
    found = outcome("text_qa", log).figures["text_qa_accuracy"]
    exact = binomtest(4, 18).proportion_ci(method="wilson")
    assert (found.value, found.n) == (pytest.approx(4 / 18), 6) and found.low < exact.low < exact.high < found.high
    told = {name: one.value for score in log.results.scores for name, one in score.metrics.items()}
    assert (told["accuracy"], told["accuracy_n"], told["chrf_n"]) == (pytest.approx(4 / 18), 6, 6)
    assert (told["accuracy_low"], told["accuracy_high"]) == pytest.approx((found.low, found.high))
    same = compare(tmp_path / "a", tmp_path / "a")
    (accuracy,) = [one for one in same if one.name == "text_qa_accuracy"]
    assert (accuracy.first, accuracy.n, accuracy.change) == (pytest.approx(4 / 18), 6, 0)
