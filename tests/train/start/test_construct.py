"""Initial weights are the same bits whatever the stage, the number of processes, and where they come from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omni.model.config import ModelConfig
from omni.model.folder import save_model
from omni.model.init import draw, spreads
from omni.model.transformer import OmniTransformer
from omni.tokenizers.text import TextTokenizer
from omni.train.engine import Trainer
from omni.train.environment import deepspeed, free_port
from omni.train.recipe import Recipe
from omni.vocab import Vocabulary

WORKER = """
import json, sys
from pathlib import Path
from test_construct import begun
from safetensors.torch import save_file

recipe_file, out, runs = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
for name, changes in runs.items():
    found = begun(recipe_file, out / name, changes)
    if sys.argv[4] == "0":
        save_file(found, out / f"{name}.safetensors")
"""


def begun(recipe_file: Path | str, run: Path, changes: dict[str, object]) -> dict[str, torch.Tensor]:
    """The weights that a run begins with, in this process or, with those beside it, in many."""
    trainer, found = Trainer(Recipe.load(recipe_file, changes), run, device="cpu"), {}
    for key, value in trainer.engine.module.model.named_parameters():
        with deepspeed().zero.GatheredParameters([value]):
            found[key] = value.detach().clone()
    trainer.close()
    return found


def begun_by(world: int, recipe_file: Path, out: Path, runs: dict[str, dict[str, object]]) -> dict[str, dict]:
    """The weights that each of `runs` begins with in `world` processes, which start once."""
    out.mkdir()
    meeting = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    place = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(recipe_file), str(out), json.dumps(runs), str(rank)],
            env={**os.environ, **meeting, "PYTHONPATH": place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(world)
    ]
    errors = [rank.communicate()[1].decode() for rank in ranks]
    assert not any(rank.returncode for rank in ranks), "\n".join(errors)
    return {name: load_file(out / f"{name}.safetensors") for name in runs}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_every_stage_and_any_number_of_processes_begins_with_the_same_bits(
    recipe_file: Path, vocab: Vocabulary, tmp_path: Path
) -> None:
    linear = torch.nn.functional.linear
    TextTokenizer.train([], 256).save(tmp_path / "tokenizers" / "text")
    config = ModelConfig(d_model=32, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=48, qkv_bias=True, tie_embeddings=False)
    torch.manual_seed(4)
    given = OmniTransformer(config.for_vocabulary(vocab))
    for parameter in given.parameters():
        torch.nn.init.normal_(parameter)
    save_model(tmp_path / "given", given.state_dict(), given.config, vocab)
    plain: dict[str, object] = {"seed": 3, "valid": "[]"}
    init = {**plain, "init": str(tmp_path / "given"), "model": {}}
    kinds: dict[str, dict[str, object]] = {
        "drawn": plain,
        "alike": {**plain, "tokenizers": str(tmp_path / "tokenizers")},
        "stored": init,
        "adapted": {**init, "lora.rank": 3},
        "low": {**plain, "precision": "bf16"},
    }
    runs = {f"{kind}-{zero}": {**changes, "zero": zero} for kind, changes in kinds.items() for zero in (1, 3)}
    alone = {**runs, "drawn-0": {**plain, "zero": 0}}
    one = {name: begun(recipe_file, tmp_path / "one" / name, changes) for name, changes in alone.items()}
    few = {name: changes for name, changes in runs.items() if name[-1] == "3" or name in ("drawn-1", "adapted-1")}
    assert torch.nn.functional.linear is linear                         # DeepSpeed would leave another one behind
    three = begun_by(3, recipe_file, tmp_path / "three", few)
    for name in few:
        assert same(one[name], three[name]), name
    for name in runs:
        assert same(one[name], one[f"{name[:-1]}1"]), name
    assert same(one["stored-3"], given.state_dict())
    assert same(one["low-3"], {name: value.bfloat16() for name, value in one["drawn-0"].items()})
    changed = {name for name in one["drawn-0"] if not torch.equal(one["drawn-0"][name], one["alike-3"][name])}
    assert changed == {"embedding.weight"}
    for name, value in one["adapted-3"].items():
        if "lora_B" in name:
            assert not value.any()
        elif "lora_A" in name:
            assert float(value.std()) == pytest.approx((3 * value.shape[1]) ** -0.5, rel=0.3)
        else:
            assert torch.equal(value, given.state_dict()[name.replace(".base_layer.", ".")])


def test_a_run_draws_what_a_single_model_draws(recipe_file: Path, vocab: Vocabulary, tmp_path: Path) -> None:
    found = begun(recipe_file, tmp_path / "run", {"seed": 11, "zero": 0})
    config = ModelConfig(d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, d_ff=48).for_vocabulary(vocab)
    with torch.device("meta"):
        how = spreads(OmniTransformer(config), config)
    for name, value in found.items():
        expected = torch.empty(value.numel())
        draw(expected, 0, name, how[name], 11)
        assert torch.equal(expected.view_as(value), value)
