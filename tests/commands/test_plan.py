import json
from pathlib import Path

import pytest

from omni.cli import main
from omni.model.config import PRESETS, ModelConfig


def planned(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, float]:
    assert main(["plan", *flags, "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["command"] == "plan"
    return {name: figure["value"] for name, figure in report["figures"].items()}


@pytest.mark.parametrize(("preset", "low", "high"), [("tiny", 8e6, 14e6), ("1b", 0.9e9, 1.5e9), ("7b", 6e9, 8e9)])
def test_presets_have_the_size_of_their_name(
    preset: str, low: float, high: float, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = planned(capsys, preset)
    assert low < figures["parameters"] < high
    parts = [figures[f"parameters_{part}"] for part in PRESETS[preset].parameters()]
    assert sum(parts) == figures["parameters"]
    assert figures["memory_training"] * 2**30 == 16 * figures["parameters"]


def test_a_recipe_is_planned_as_its_preset_with_its_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("data: [somewhere]\nsequence_length: 128\nmodel: {preset: mini, n_layers: 2}\n")
    figures = planned(capsys, str(recipe))
    shorter = planned(capsys, str(recipe), "--context", "64")
    per_layer = ModelConfig.preset("mini").parameters()["blocks"] / 6
    assert figures["parameters_blocks"] == 2 * per_layer
    seen = 12 * 2 * 192 * (128 - 64) / 2
    assert figures["flops_per_token_training"] - shorter["flops_per_token_training"] == seen


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["huge"], "huge: neither a preset (mini, tiny, small, 1b, 7b) nor a recipe"),
        (["tiny", "--context", "0"], "must be a positive number"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    flags: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *flags]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
