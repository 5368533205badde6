"""Stages of a run: mixtures, schedules and resets, and stopping between two of them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stopping import stopped_after

from omni.errors import InputError
from omni.train.data.loader import Dataset
from omni.train.engine import Trainer
from omni.train.monitor.log import read_log
from omni.train.recipe import Recipe
from omni.train.schedule import Schedule
from omni.train.stages import Stages
from omni.train.state.fragments import optimizer_steps

STAGES = [
    {"steps": 3, "mixture": {"weights": {"say": 0}}},
    {"steps": 4, "mixture": {"weights": {"copy": 0}}, "schedule": "restart", "optimizer": "reset"},
    {"steps": 2},
]


def test_schedules_go_on_or_begin_anew(recipe_file: Path) -> None:
    recipe = Recipe.load(recipe_file, {"stages": STAGES})
    stages = Stages.of(recipe, Dataset.load(recipe.data, 64))
    first, second = Schedule("cosine", 3, 2), Schedule("cosine", 6, 2)
    expected = [first.factor(step) for step in range(3)] + [second.factor(step) for step in range(6)]
    assert [stages.factor(step) for step in range(9)] == expected
    assert stages.steps == 9 and stages.resets == {3}


def test_steps_are_counted_from_where_the_optimizer_or_its_rate_begins_anew(recipe_file: Path) -> None:
    stages = [{"steps": 5}, {"steps": 4}, {"steps": 3, "optimizer": "reset"}, {"steps": 6, "schedule": "restart"}]
    recipe = Recipe.load(recipe_file, {"stages": stages})
    found = Stages.of(recipe, Dataset.load(recipe.data, 64))
    assert [found.since(step) for step in range(1, 19)] == [*range(1, 10), *range(1, 4), *range(1, 7)]


def run(recipe: Recipe, folder: Path, at: int | None = None) -> float:
    trainer = stopped_after(at)(recipe, folder, device="cpu")
    try:
        trainer.train()
        return optimizer_steps(trainer.optimizer)
    finally:
        trainer.close()


@pytest.mark.parametrize("at", [3, 4])
def test_a_run_in_stages_goes_on_bit_for_bit(recipe_file: Path, tmp_path: Path, at: int) -> None:
    recipe = Recipe.load(recipe_file, {"stages": STAGES, "valid": []})
    assert run(recipe, tmp_path / "whole") == 6                         # the first three were forgotten
    run(recipe, tmp_path / "cut", at)
    assert run(recipe, tmp_path / "cut") == 6
    whole, cut = (load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    tasks = [set(record["tasks"]) for record in read_log(tmp_path / "whole")]
    assert tasks[:3] == [{"copy"}] * 3 and tasks[3:7] == [{"say"}] * 4 and len(tasks) == 9


def test_a_stage_that_is_harder_than_the_last_is_no_fault(recipe_file: Path, tmp_path: Path) -> None:
    stages = [{"steps": 40, "mixture": {"weights": {"copy": 0}}}, {"steps": 8, "mixture": {"weights": {"say": 0}}}]
    changes = {"stages": stages, "valid": [], "schedule.kind": "constant", "optimizer.lr": 1e-2, "faults.spike": 2}
    recipe = Recipe.load(recipe_file, changes)
    run(recipe, tmp_path / "cut", 40)                                   # what the losses were is read back
    assert run(recipe, tmp_path / "cut") == 48 and not (tmp_path / "cut/skipped.jsonl").exists()
    losses = [record["loss"] for record in read_log(tmp_path / "cut")]
    assert losses[20] > 1.3 * losses[19]                                # a record is of two steps


def test_going_on_with_another_mixture_is_no_fault(recipe_file: Path, tmp_path: Path) -> None:
    changes = {"schedule": {"kind": "constant", "steps": 40}, "valid": [], "optimizer.lr": 1e-2, "faults.spike": 2}
    run(Recipe.load(recipe_file, {**changes, "mixture.weights": {"copy": 0}}), tmp_path)
    changes["schedule"] = {"kind": "constant", "steps": 44}
    trainer = Trainer(Recipe.load(recipe_file, {**changes, "mixture.weights": {"say": 0}}), tmp_path, "cpu", True)
    assert trainer.train() is None and not (tmp_path / "skipped.jsonl").exists()
    trainer.close()


def test_an_empty_stage_is_refused(recipe_file: Path) -> None:
    with pytest.raises(InputError, match="at least one step"):
        Recipe.load(recipe_file, {"stages": [{"steps": 0}]})
