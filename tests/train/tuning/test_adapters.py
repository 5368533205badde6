"""LoRA through peft: what a run trains, what it saves, and what peft itself makes of the files."""

import signal
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from safetensors.torch import load_file
from stopping import stopped_after

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.folder import load_model
from omni.model.transformer import Batch, OmniTransformer
from omni.train.engine import Trainer
from omni.train.recipe import Recipe
from omni.train.tuning.adapters import add_adapters, is_adapter, merge, plain_name
from omni.train.tuning.recipe import LoraRecipe

LORA = {"lora.rank": 4, "lora.alpha": 8, "optimizer.lr": 1e-2}


def train(recipe: Recipe, run: Path, kind: type[Trainer] = Trainer) -> int | None:
    trainer = kind(recipe, run, device="cpu")
    try:
        return trainer.train()
    finally:
        trainer.close()


def states(model: OmniTransformer) -> torch.Tensor:
    ids = torch.arange(5, 35).reshape(2, 15)
    document = torch.ones_like(ids)
    with torch.no_grad():
        return model.eval().hidden(Batch(ids[..., None], document > 0, document, document < 0))


@pytest.mark.parametrize("zero", [0, 1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_run_trains_adapters_alone_and_saves_them_merged(
    zero: int, tuning_file: Path, start: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(Recipe.load(tuning_file, {**LORA, "zero": zero}), run) is None
    before, after = (load_file(folder / "model.safetensors") for folder in (start, run / "model"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    adapted = ("attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down")
    assert changed == {name for name in before if name.endswith(tuple(f"{end}.weight" for end in adapted))}
    for name in changed:
        assert torch.linalg.matrix_rank((after[name] - before[name]).double(), rtol=1e-4) <= 4
    assert (run / "model" / "tokenizers" / "note").read_text() == "inherited"
    # peft, reading the adapter's own files over the model that the run started from, computes what the merged one does
    model, _ = load_model(start)
    inject_adapter_in_model(LoraConfig.from_pretrained(str(run / "adapter")), model)
    adapter = load_file(run / "adapter" / "adapter_model.safetensors")
    told = set_peft_model_state_dict(model, {name.removeprefix("base_model.model."): adapter[name] for name in adapter})
    assert not told.unexpected_keys
    torch.testing.assert_close(states(model), states(load_model(run / "model")[0]), rtol=1e-4, atol=1e-5)


def test_a_stopped_run_goes_on_bit_for_bit_and_only_from_the_same_model(
    tuning_file: Path, start: Path, tmp_path: Path
) -> None:
    recipe = Recipe.load(tuning_file, {**LORA, "lora.also": ["embedding.*"]})
    train(recipe, tmp_path / "whole")
    assert train(recipe, tmp_path / "cut", stopped_after(2)) == signal.SIGTERM
    moved = start.rename(tmp_path / "elsewhere")
    train(Recipe.load(tuning_file, {**LORA, "lora.also": ["embedding.*"], "init": str(moved)}), tmp_path / "cut")
    whole, cut = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert not torch.equal(whole["embedding.weight"], load_file(moved / "model.safetensors")["embedding.weight"])
    other = Recipe.load(tuning_file, {**LORA, "lora.also": ["embedding.*"], "init": str(tmp_path / "whole" / "model")})
    trainer = Trainer(other, tmp_path / "cut", device="cpu", changed_recipe=True)
    with pytest.raises(InputError, match="init was "):
        trainer.train()
    trainer.close()


def test_merging_is_exact_whatever_the_adapters_hold() -> None:
    torch.manual_seed(0)
    config = ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=2, d_ff=24, vocab_size=40)
    plan = LoraRecipe(rank=3, alpha=5)
    model = OmniTransformer(config)
    add_adapters(model, plan)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (".lora_" in name)
        torch.nn.init.normal_(parameter, std=0.3)
    plain = OmniTransformer(config)
    state = model.state_dict()
    others = {name: value for name, value in state.items() if not is_adapter(name)}
    plain.load_state_dict({plain_name(name): merge(name, value, state, plan) for name, value in others.items()})
    torch.testing.assert_close(states(plain), states(model), rtol=1e-4, atol=1e-5)


def test_a_target_that_nothing_has_is_refused_with_those_there_are(tuning_file: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(tuning_file, {"lora.rank": 2, "lora.targets": ["q_proj"]})
    with pytest.raises(InputError, match=r"lora\.targets: no matrix is called 'q_proj'; there are attention\.out, att"):
        Trainer(recipe, tmp_path / "run", device="cpu")
    with pytest.raises(InputError, match="name its folder as init"):
        Recipe.load(tuning_file, {"lora.rank": 2, "init": None})
