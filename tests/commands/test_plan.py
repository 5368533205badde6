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


@pytest.mark.parametrize(
    ("preset", "low", "high"), [("tiny", 8e6, 15e6), ("1b", 0.9e9, 1.5e9), ("7b", 6e9, 8e9), ("70b", 65e9, 75e9)]
)
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


def test_looks_at_curvature_have_a_memory_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "watched.yaml"
    recipe.write_text("data: [somewhere]\nmodel: {preset: mini}\nmonitor: {curvature: 100}\n")
    figures = planned(capsys, str(recipe))
    assert figures["memory_curvature"] * 2**30 == 4 * 17 * figures["parameters"]
    assert "memory_curvature" not in planned(capsys, "mini")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["huge"], "huge: neither a preset (mini, tiny, small, 1b, 7b, 70b) nor a recipe"),
        (["tiny", "--context", "0"], "must be a positive number"),
        (["7b", "--gpus", "0"], "--gpus 0: must be positive"),
        (["7b", "--gpus", "64", "--gpu", "abacus"], "--gpu abacus: unknown; use one of h100,"),
        (["7b", "--tokens", "1e12"], "--tokens: say --gpus as well"),
        (["7b", "--gpus", "8", "--price", "2"], "--price: say --tokens as well"),
        (["mine.yaml", "--price", "2"], "--price: say --gpus as well"),
    ],
)
def test_what_cannot_be_planned_is_one_line(
    flags: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *flags]) == 2
    out, error = capsys.readouterr()
    assert line in error and error.count("\n") == 1 and not out


def test_a_run_is_planned_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["omni-7b", "--gpus", "64", "--gpu", "h100", "--tokens", "1e12", "--price", "2"]
    figures = planned(capsys, *flags)
    parts = ("weights", "masters", "optimizer", "gradients", "activations", "loss", "buffers")
    assert sum(figures[f"gpu_memory_{part}"] for part in parts) == pytest.approx(figures["gpu_memory_peak"])
    assert figures["fits"] == 1 and figures["gpu_memory_peak"] < figures["gpu_memory_usable"]
    assert figures["days"] == pytest.approx(1e12 / figures["tokens_per_second"] / 86400)
    assert figures["cost"] == pytest.approx(2 * figures["gpu_hours"]) == pytest.approx(2 * 64 * 24 * figures["days"])
    assert figures["checkpoint_size"] * 1e9 == 12 * figures["parameters"]
    assert figures["memory_training"] * 2**30 == 16 * figures["parameters"]


@pytest.mark.parametrize(
    ("length", "steps"), [("schedule: {steps: 700}", 700), ("stages: [{steps: 300}, {steps: 200}]", 500)]
)
def test_a_recipe_file_says_how_long_it_trains(
    length: str, steps: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"data: [x]\nsequence_length: 128\nmodel: {{preset: mini}}\nbatch: {{rows: 32}}\n{length}\n")
    flags = ["--gpus", "8", "--price", "2"]
    assert main(["plan", str(recipe), *flags]) == 0
    tokens = steps * 32 * 128
    said = f"{tokens:.4g} tokens of the recipe ({steps} steps of 32 rows of 128): "
    assert said in capsys.readouterr().out
    own, told = planned(capsys, str(recipe), *flags), planned(capsys, str(recipe), *flags, "--tokens", "1e9")
    assert own["tokens"] == tokens and own["days"] == pytest.approx(tokens / own["tokens_per_second"] / 86400)
    assert own["cost"] == pytest.approx(2 * own["gpu_hours"])
    assert told["tokens"] == 1e9 and told["cost"] == pytest.approx(own["cost"] * 1e9 / tokens)
    assert "tokens" not in planned(capsys, "mini", "--gpus", "8")       # a preset has no length


def test_a_run_that_does_not_fit_says_what_would(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "7b", "--gpus", "8", "--gpu", "rtx4090"]) == 0
    shown = capsys.readouterr().out
    assert "DOES NOT FIT" in shown and "mend: zero: 3 takes" in shown and "assumed:" in shown
