"""Frozen parts and learning rates of their own."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omni.cli import main
from omni.errors import InputError
from omni.model.folder import load_model
from omni.train.data.loader import Dataset, Loader, Share
from omni.train.engine import Trainer
from omni.train.monitor.log import read_log
from omni.train.recipe import Recipe
from omni.train.tuning.groups import chosen


def run_of(recipe: Recipe, run: Path) -> dict[str, torch.Tensor]:
    trainer = Trainer(recipe, run, device="cpu")
    trainer.train()
    trainer.close()
    return load_file(run / "model" / "model.safetensors")


@pytest.mark.parametrize("zero", [0, 1, pytest.param(3, marks=pytest.mark.slow)])
def test_frozen_parts_stay_and_the_others_learn_at_their_rates_as_in_a_plain_loop(
    zero: int, tuning_file: Path, start: Path, tmp_path: Path
) -> None:
    groups = {"blocks.0.*": 0.0, "*norm*": 3.0, "output.*": 0.5}
    values = {"freeze": ["embedding.*", "blocks.1.attention.*"], "optimizer.groups": groups, "zero": zero}
    weights = run_of(Recipe.load(tuning_file, values), tmp_path / "run")
    model, _ = load_model(start)
    model.train()
    rate = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(("embedding", "blocks.1.attention.")))
        first = (0.0, "blocks.0." in name), (3.0, "norm" in name), (0.5, "output" in name)
        rate[name] = next((multiplier for multiplier, hit in first if hit), 1.0)
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [parameter], "lr": 1e-3 * rate[name], "weight_decay": 0.1 if parameter.ndim > 1 else 0.0}
            for name, parameter in trained
        ],
        betas=(0.9, 0.95),
    )
    recipe = Recipe.load(tuning_file)
    data = Dataset.load(recipe.data, 64)
    loader = Loader(data, data.order(1.0, {}, 0), Share(8, 8))
    for step in range(4):
        batch = loader.batch(8 * step)
        (model(batch.micro[0]).total / batch.trained).backward()
        torch.nn.utils.clip_grad_norm_([parameter for _, parameter in trained], 1.0)
        optimizer.step()
        optimizer.zero_grad()
    before = load_file(start / "model.safetensors")
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(weights[name], expected, rtol=1e-4, atol=1e-5)
        still = name.startswith(("embedding", "blocks.0.", "blocks.1.attention."))
        assert torch.equal(weights[name], before[name]) == still


def test_a_pattern_without_a_parameter_names_close_ones(
    tuning_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(tuning_file), "--out", str(tmp_path / "run")]
    assert main([*words, "--freeze", "[embeding.weight]"]) == 2
    assert "freeze: no parameter is called 'embeding.weight'; close names are embedding.w" in capsys.readouterr().err
    assert main([*words, "--optimizer.groups", "{blocks.9.*: 2}"]) == 2
    assert "optimizer.groups: no parameter is called 'blocks.9.*'; close names are blocks." in capsys.readouterr().err
    assert main([*words, "--freeze", "['*']"]) == 2
    assert "nothing is left to train" in capsys.readouterr().err
    assert main([*words, "--optimizer.groups", "{'*': -1}"]) == 2
    assert "must be at least 0" in capsys.readouterr().err
    assert main([*words, "--optimizer.groups", "{'*': 2}", "--optimizer.kind", "muon", "--zero", "0"]) == 2
    assert "works with adamw" in capsys.readouterr().err
    assert not read_log(tmp_path / "run")


def test_the_first_pattern_that_matches_counts() -> None:
    names = ["embedding.weight", "blocks.0.norm.weight", "blocks.1.norm.weight"]
    found = chosen(["blocks.1.*", "*norm*"], names, "key")
    assert found == {"blocks.0.norm.weight": "*norm*", "blocks.1.norm.weight": "blocks.1.*"}
    with pytest.raises(InputError, match="key: no parameter is called 'norm'"):
        chosen(["norm"], names, "key")
