"""One-bit layers in runs: trained, binarized late and by group, stopped and gone on with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from stopping import stopped_after

from omni.cli import main
from omni.errors import InputError
from omni.model.binary import one_bit_layers
from omni.model.config import ModelConfig
from omni.model.folder import load_model, save_model
from omni.model.init import draw, spreads
from omni.model.transformer import OmniTransformer
from omni.train.data.loader import Dataset, Loader, Share
from omni.train.monitor.log import read_log
from omni.train.recipe import Recipe
from omni.train.start.initial import shape_of
from omni.vocab import Vocabulary

ONE_BIT = {"model.weight_bits": 1, "model.activation_bits": 1}
LATE = {
    "binary.weights": {"*feed_forward*": 2, "*attention.out*": 3},
    "binary.inputs": {"blocks.1.*": 5, "*.qkv.*": 1},
}
STEPS = 6


def run(recipe: Recipe, folder: Path, at: int | None = None) -> dict[str, torch.Tensor]:
    trainer = stopped_after(at)(recipe, folder, device="cpu")
    try:
        trainer.train()
    finally:
        trainer.close()
    return load_file(folder / "model" / "model.safetensors")


def one_bit_at(name: str, step: int) -> tuple[bool, bool]:
    """Weights and inputs of a matrix, as LATE has them."""
    weights = 2 if "feed_forward" in name else 3 if "attention.out" in name else 0
    inputs = 5 if name.startswith("blocks.1.") else 1 if ".qkv." in name else 0
    return step >= weights, step >= inputs


@pytest.mark.parametrize("zero", [0, 1, *(pytest.param(zero, marks=pytest.mark.slow) for zero in (2, 3))])
def test_layers_become_one_bit_when_it_is_their_turn_as_in_a_plain_loop(
    zero: int, recipe_file: Path, tmp_path: Path
) -> None:
    recipe = Recipe.load(recipe_file, {**ONE_BIT, **LATE, "valid": [], "zero": zero})
    weights = run(recipe, tmp_path / "run")
    data = Dataset.load(recipe.data, 64)
    loader = Loader(data, data.order(1.0, {}, 0), Share(8, 8))
    model = OmniTransformer(recipe.model.config(data.vocab))
    for name, spread in spreads(model, model.config).items():
        draw(model.get_parameter(name).detach().view(-1), 0, name, spread, seed=0)
    still = [p for name, p in model.named_parameters() if "norm" in name or "embedding" in name]
    moved = [p for name, p in model.named_parameters() if "norm" not in name and "embedding" not in name]
    groups = [{"params": moved, "weight_decay": 0.1}, {"params": still, "weight_decay": 0.0}]
    optimizer, expected = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95)), []
    rates = [record["lr"] for record in read_log(tmp_path / "run")]
    for step in range(STEPS):
        for name, layer in one_bit_layers(model).items():
            layer.binary_weight, layer.binary_input = one_bit_at(name, step)
        batch = loader.batch(8 * step)
        result = model(batch.micro[0])
        (result.total / batch.trained).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.step()
        optimizer.zero_grad()
        expected.append(float(result.each.mean()))
    assert [record["loss"] for record in read_log(tmp_path / "run")] == pytest.approx(expected, rel=1e-4)
    trained, _ = load_model(tmp_path / "run" / "model")
    assert (trained.config.weight_bits, trained.config.activation_bits, trained.config.inner_norms) == (1, 1, True)
    assert all(layer.binary_weight and layer.binary_input for layer in one_bit_layers(trained).values())
    assert not torch.equal(weights["blocks.0.attention.out.weight"], OmniTransformer(trained.config).get_parameter(
        "blocks.0.attention.out.weight"))  # fmt: skip


@pytest.mark.parametrize("at", [2, 4])
def test_a_run_goes_on_bit_for_bit_at_and_between_turns(at: int, recipe_file: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(recipe_file, {**ONE_BIT, **LATE, "validate.every": 1})
    whole = run(recipe, tmp_path / "whole")
    run(recipe, tmp_path / "cut", at)
    cut = run(recipe, tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    valid = [[one["loss"] for one in read_log(tmp_path / name) if one["kind"] == "valid"] for name in ("whole", "cut")]
    assert valid[0] == valid[1] and len(valid[0]) == STEPS


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (LATE, "binary.weights: the model has none that are one-bit; set model.weight_bits: 1"),
        ({"model.weight_bits": 1, **LATE}, "binary.inputs: the model has none that are one-bit; set model.activation"),
        ({**ONE_BIT, "binary.weights": {"*ff*": 1}}, "binary.weights: no parameter is called '*ff*'; close names are "),
        ({**ONE_BIT, "binary.weights": {"*": 6}}, "binary.weights: *: begins at step 6, when the run of 6 is over"),
        ({**ONE_BIT, "binary.inputs": {"*": -1}}, "binary.inputs: *: steps are counted from 0, got -1"),
        ({"model.activation_bits": 1}, "model.activation_bits: 1 is for one-bit weights with the norms"),
        ({**ONE_BIT, "model.inner_norms": False}, "model.activation_bits: 1 is for one-bit weights with the norms"),
        ({**ONE_BIT, "model.activation_bits": 2}, "model.activation_bits: must be 1 or 32, got 2"),
    ],
)
def test_what_cannot_be_is_one_line(
    values: dict[str, Any], line: str, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for key, value in values.items() for word in (f"--{key}", str(value))]
    assert main(["train", str(recipe_file), "--out", str(tmp_path / "run"), *words]) == 2
    said = capsys.readouterr().err
    assert line in said and len(said.splitlines()) == 1 and not read_log(tmp_path / "run")


def test_what_one_bit_layers_do_not_go_with_is_refused(recipe_file: Path, vocab: Vocabulary, tmp_path: Path) -> None:
    shape = ModelConfig(d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=48, max_steps=64, inner_norms=True)
    config, folder = shape.for_vocabulary(vocab), tmp_path / "start"
    save_model(folder, OmniTransformer(config).state_dict(), config, vocab)
    start = {"init": str(folder), **{f"model.{name}": None for name in ("d_model", "n_layers", "n_heads")}}
    start |= {"model.n_kv_heads": None, "model.d_ff": None}
    late = shape_of(Recipe.load(recipe_file, {**start, **ONE_BIT}), vocab)
    assert (late.weight_bits, late.activation_bits) == (1, 1)           # a model of floats, binarized late
    with pytest.raises(InputError, match="lora: adapters are merged into floats, not into one-bit matrices"):
        shape_of(Recipe.load(recipe_file, {**start, **ONE_BIT, "lora.rank": 2}), vocab)
    with pytest.raises(InputError, match="binary: dpo compares"):
        Recipe.load(recipe_file, {**start, **ONE_BIT, **LATE, "dpo.beta": 0.1})
