"""Trials of a recipe that is known to be good or bad."""

import json
from pathlib import Path

import pytest

from omni.cli import main
from omni.train.curvature.doctor import Doctor, Trial, spans
from omni.train.data.loader import rows_at
from omni.train.recipe import Recipe

SMALL = ["--set", "model.n_layers=1", "--set", "valid=[]", "--set", "batch.micro=8"]


@pytest.mark.slow
def test_a_rate_that_is_far_too_high_is_found_out(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "doctor", str(recipe_file), "--steps", "10", "--json", *SMALL]
    assert main([*words, "--set", "optimizer.lr=20.0", "--set", "optimizer.clip=0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = {name: figure["value"] for name, figure in json.loads(lines[-1])["figures"].items()}
    assert figures["highest_stable_lr"] is None or figures["highest_stable_lr"] < 20
    assert "ABOVE" in "".join(lines) or "no rate" in "".join(lines)
    assert figures["ratio blocks.0.attention"] > 0 and figures["spread embedding"] > 1


def test_parts_cover_every_parameter_once() -> None:
    names = ["embedding.weight", "blocks.0.attention.qkv.weight", "blocks.0.attention.out.weight", "norm.weight"]
    found = spans(dict(zip(names, (10, 5, 5, 2), strict=True)))
    assert found == {"embedding": (0, 10), "blocks.0.attention": (10, 20), "norm": (20, 22)}


def test_a_trial_is_compared_with_no_training_on_the_same_rows() -> None:
    """Rows that are dear in themselves are no failure; a step that makes them a fifth dearer is."""
    untrained = [1.0, 3.0, 1.0, 3.0, 1.0]
    better = Trial(0.1, 0, [1.0, 3.0, 0.9, 2.9, 0.8], untrained)
    assert better.stable and better.gain == pytest.approx(0.2)
    assert not Trial(0.1, 0, [1.0, 3.0, 0.9, 2.9, 1.1], untrained).stable
    failed = Trial(0.1, 0, [1.0, 3.0, 1.3], untrained)
    assert not failed.stable and failed.gain == pytest.approx(-0.3)


@pytest.mark.slow
def test_of_a_recipe_with_stages_the_first_is_tried(recipe_file: Path, tmp_path: Path) -> None:
    stages = "[{steps: 4, mixture: {weights: {say: 0}}}, {steps: 2}]"
    recipe = Recipe.load(str(recipe_file), {"stages": stages, "model.n_layers": "1", "batch.micro": "8"})
    trainer = Doctor(recipe, 10, tmp_path / "run").trainer
    tasks, _ = rows_at(trainer.data, trainer.stages.order, 0, 40)
    assert {trainer.data.tasks[task] for task in tasks} == {"copy"}
    trainer.close()


def test_bad_flags_are_refused(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "doctor", str(recipe_file), "--steps", "2"]) == 2
    assert main(["train", "doctor", str(recipe_file), "--set", "zero"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err
