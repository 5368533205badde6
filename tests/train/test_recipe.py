import json
from pathlib import Path

import pytest
import yaml

from omni.cli import main
from omni.errors import InputError
from omni.train.launch import launch
from omni.train.recipe import Recipe, recipe_keys
from omni.train.recipe_file import find_recipe


@pytest.mark.parametrize("name", ["mini", "tiny", "tiny-first", "tiny-more", "small", "1b", "7b", "70b"])
def test_the_recipes_of_the_package_are_read(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.model.preset == name.partition("-")[0]
    assert Recipe.parse(yaml.safe_load(recipe.yaml()), "again") == recipe


def test_the_recipes_of_fine_tuning_begin_with_a_model() -> None:
    sft, dpo = Recipe.load("sft"), Recipe.load("dpo")
    assert sft.init and sft.train_on == "answers" and not sft.dpo.beta
    assert dpo.init == "runs/sft/model" and dpo.dpo.beta == 0.1
    groups = Recipe.load("sft", {"optimizer.groups": "{'blocks.0.*': 0.5}", "lora.rank": "4", "freeze": "[norm.*]"})
    assert groups.optimizer.groups == {"blocks.0.*": 0.5} and groups.lora.rank == 4 and groups.freeze == ["norm.*"]
    assert Recipe.parse(yaml.safe_load(groups.yaml()), "again") == groups


def test_what_is_given_stays_as_it_is(recipe_file: Path) -> None:
    given = {"stages": [{"steps": 3, "mixture": {"weights": {"say": 0}}}], "valid": []}
    before = json.dumps(given)
    assert Recipe.load(recipe_file, given) == Recipe.load(recipe_file, given) and json.dumps(given) == before


def test_overrides_and_number_spellings(recipe_file: Path) -> None:
    given = {"optimizer.lr": "1e-3", "schedule.steps": "7", "mixture.weights": "{copy: 2}"}
    given |= {"optimizer.betas": "[0, 0.9]"}
    recipe = Recipe.load(recipe_file, given)
    assert (recipe.optimizer.lr, recipe.schedule.steps) == (0.001, 7)
    assert recipe.mixture.weights == {"copy": 2.0} and recipe.optimizer.betas == (0.0, 0.9)
    assert recipe.model.d_model == 32


def test_a_drive_needs_zero_3_and_a_folder(recipe_file: Path) -> None:
    given = {"offload.optimizer": "nvme", "offload.path": "scratch"}
    with pytest.raises(InputError, match=r"offload\.optimizer: nvme works with zero 3, not with 1"):
        Recipe.load(recipe_file, given)
    with pytest.raises(InputError, match=r"offload\.weights: nvme needs a folder on that drive; name it as"):
        Recipe.load(recipe_file, {"offload.weights": "nvme", "zero": "3"})
    with pytest.raises(InputError, match=r"offload\.weights: nvme works with precision bf16, not with fp32"):
        Recipe.load(recipe_file, {"offload.weights": "nvme", "offload.path": "scratch", "zero": "3"})
    assert Recipe.load(recipe_file, given | {"zero": "3"}).offload.path == "scratch"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("parallel.sequence", "2"),
        ("zero", "3"),
        ("optimizer.kind", "muon"),
        ("lora.rank", "2"),
        ("dpo.beta", "0.1"),
        ("compile", "true"),
        ("model.weight_bits", "1"),
    ],
)
def test_what_shared_blocks_do_not_go_with_is_named(recipe_file: Path, key: str, value: str) -> None:
    given = {"parallel.tensor": "2", "zero": "0", "init": "runs/model", key: value}
    with pytest.raises(InputError, match=f"recipe.yaml: parallel.tensor: 2 processes that share blocks need {key}: "):
        Recipe.load(recipe_file, given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {n_haeds: 4}", "recipe.yaml: model.n_haeds: unknown key; did you mean n_heads?"),
        ("zeero: 1", "recipe.yaml: zeero: unknown key; did you mean zero?"),
        ("optimizer: {lr: fast}", "recipe.yaml: optimizer.lr: expected float, got 'fast'"),
        ("zero: 4", "recipe.yaml: zero: expected Literal[0, 1, 2, 3], got '4'"),
        ("batch: 4", "recipe.yaml: batch: must be a mapping of keys to values, got 4"),
        ("batch: {rows: 0}", "recipe.yaml: batch.rows: must be at least 1, got 0"),
        ("optimizer: {lr: -1}", "recipe.yaml: optimizer.lr: must be a number of at least 0, got -1.0"),
        ("optimizer: {clip: .nan}", "recipe.yaml: optimizer.clip: must be a number of at least 0, got nan"),
        ("optimizer: {betas: [0.9, 1]}", "recipe.yaml: optimizer.betas: must be at least 0 and below 1, got 1.0"),
        ("faults: {hang_minutes: -1}", "recipe.yaml: faults.hang_minutes: must be a number of at least 0, got -1.0"),
        ("batch: {rows: }", "recipe.yaml: batch.rows: has no value; give one, or leave the key out"),
        ("stages: [{steps: 3, mixtur: {}}]", "recipe.yaml: stages.1.mixtur: unknown key; did you mean mixture?"),
        ("stages: [{steps: 3}, {}]", "recipe.yaml: stages: number 2 needs steps"),
        ("stages: [3]", "recipe.yaml: stages: number 1 must be a mapping of keys to values, got 3"),
        ("data: runs/shards", "recipe.yaml: data: expected list, got 'runs/shards'; write \"[runs/shards]\""),
        ("data: []", "recipe.yaml: data: name at least one folder of token shards"),
        ("- 1", "recipe.yaml: not a mapping of keys to values"),
        ("a: [", "recipe.yaml: not valid YAML in line 1"),
        ("zero: 1\nzero: 2", "recipe.yaml: zero: is there twice, in line 2 too; keep one"),
        ("batch: {rows: 4, rows: 8}", "recipe.yaml: rows: is there twice, in line 2 too; keep one"),
        ("{compile: true, zero: 3}", "recipe.yaml: compile: works with zero 0, 1 and 2"),
    ],
)
def test_a_mistake_is_one_line_with_its_mend(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text if text[0] in "-{" or "data" in text or "[" in text else f"data: [x]\n{text}")
    if text.startswith("{compile"):
        path.write_text("{data: [x], compile: true, zero: 3}")
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"omni: {message}") and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_shape_that_cannot_be_is_named(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", str(recipe_file), "--out", str(run), "--model.n_heads", "5"]) == 2
    assert "model.n_heads: 5 does not divide d_model=32" in capsys.readouterr().err
    assert main(["train", str(recipe_file), "--out", str(run), "--sequence_length", "20"]) == 2
    assert "raise sequence_length or set `too_long: drop`" in capsys.readouterr().err
    assert not run.exists()


def test_a_folder_of_several_splits_is_no_training_data(recipe_file: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"data: {shards} holds the splits train, valid; name the folder of one"):
        launch(Recipe.load(recipe_file, {"data": [str(shards)]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_such_recipe() -> None:
    with pytest.raises(InputError, match="name a YAML file or one of 1b, 70b, 7b, dpo, mini, sft, small, tiny"):
        find_recipe("tinny")
    assert find_recipe("recipes/tiny.yaml") == find_recipe("tiny.yaml") == find_recipe("tiny")
    with pytest.raises(InputError, match="no such recipe"):
        find_recipe("other/recipes/tiny.yaml")


def test_print_config_shows_every_key(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe_file), "--print_config", "--seed", "9"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["seed"] == 9
    for key in recipe_keys():
        value = shown
        for part in key.split("."):
            value = value[part]
