import re
from pathlib import Path

import pytest

from omni.cli import main
from omni.train.recipe import Recipe
from omni.train.rehearsal import fingerprint, rehearsed
from omni.train.stages import Stages
from omni.train.start.given import load_data


def test_without_its_data_a_recipe_is_shown_with_its_hash(tmp_path: Path) -> None:
    recipe = Recipe.load("tiny", {"data": [str(tmp_path / "nothing")], "valid": []})
    said = rehearsed(recipe)
    assert said.startswith(recipe.yaml()) and f"{tmp_path / 'nothing'} is not there" in said
    assert f"recipe: sha256 {fingerprint(recipe)}" in said


def test_a_shape_that_cannot_be_is_refused_without_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", "tiny", "--dry-run", "--data", f"[{tmp_path / 'nothing'}]", "--valid", "[]"]
    wrong = {"n_heads": "7", "n_kv_heads": "2", "preset": "vast", "z_loss": "-1"}
    for name, value in wrong.items():
        assert main([*train, f"--model.{name}", value]) == 2
        error = capsys.readouterr().err.strip()
        assert value in error and "\n" not in error
    assert main([*train, "--model.n_layers", "2"]) == 0


def test_the_hash_of_a_recipe_is_of_what_it_says_otherwise_than_by_default(tmp_path: Path) -> None:
    recipe = Recipe.load("tiny")
    (tmp_path / "whole.yaml").write_text(recipe.yaml())
    (tmp_path / "brief.yaml").write_text(re.sub(r"^binary:\n( .*\n)+", "", recipe.yaml(), flags=re.MULTILINE))
    whole, brief = (Recipe.load(str(tmp_path / f"{name}.yaml")) for name in ("whole", "brief"))
    assert "binary" not in (tmp_path / "brief.yaml").read_text()
    assert fingerprint(whole) == fingerprint(brief) == fingerprint(recipe)
    others = [{"optimizer.lr": 0.002}, {"binary.weights": {"*": 5}, "model.weight_bits": 1}, {"schedule.warmup": 299}]
    hashes = {fingerprint(Recipe.load("tiny", other)) for other in others}
    assert len(hashes | {fingerprint(recipe)}) == 4


def test_the_rows_of_a_run_are_those_of_its_order(shards: Path) -> None:
    given = {"data": [str(shards / "train")], "valid": [], "tokenizers": None, "schedule.steps": 30}
    recipe = Recipe.load("mini", given)
    said = rehearsed(recipe)
    data = load_data(recipe)
    counts = dict(re.findall(r"^  (\w+): ([\d,]+) of", said, flags=re.MULTILINE))
    assert set(counts) == set(data.rows)
    rows = 30 * recipe.batch.rows
    assert sum(int(count.replace(",", "")) for count in counts.values()) == rows
    tasks, _ = Stages.of(recipe, data).order.at([rows - 1])
    assert list(counts.values())[int(tasks[0])] != "0"


def test_what_the_run_would_refuse_or_never_reach_is_told(
    recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", str(recipe_file), "--dry-run"]
    assert main(train) == 0 and "warmup" not in capsys.readouterr().out.partition("recipe: sha256")[2]
    assert main([*train, "--schedule.warmup", "6"]) == 0
    assert "warmup: 6 steps, so that optimizer.lr is never reached" in capsys.readouterr().out
    for flags in (["--nproc", "0"], ["--nproc", "3", "--parallel.tensor", "2"]):
        assert main([*train, *flags]) == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_run_of_any_length_is_counted_and_its_stages_told(shards: Path) -> None:
    """A billion rows are counted, not drawn one by one."""
    second = {"temperature": float("inf"), "weights": {"copy": 0.25, "say": 0.75}}
    mixtures = [{"weights": {"copy": 1, "say": 0}}, second]
    stages = [{"steps": 4_000_000, "mixture": mixture} for mixture in mixtures]
    given = {"data": [str(shards / "train")], "valid": [], "tokenizers": None, "batch.rows": 128, "stages": stages}
    said = rehearsed(Recipe.load("mini", given)).splitlines()
    counted = [re.sub(r" of \d+,", ",", line) for line in said[-4:-2]]
    assert counted == ["  copy: 640,000,000, 62.50%", "  say: 384,000,000, 37.50%"]
    assert said[-2:] == ["stage 1, 4,000,000 steps: copy 100.00%", "stage 2, 4,000,000 steps: copy 25.00%, say 75.00%"]
