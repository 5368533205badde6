"""The large recipes: they build, train scaled down, and their plans follow from closed forms."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.train.environment import free_port
from omni.train.monitor.log import read_log
from omni.train.plan.hardware import TABLE, hardware
from omni.train.plan.mend import mends
from omni.train.plan.throughput import Plan, plan_run
from omni.train.recipe import ParallelRecipe, Recipe
from omni.vocab import Vocabulary

LARGE = ("1b", "7b", "70b")
VOCAB = Vocabulary(text=8192, codebooks=1, codebook_size=4096, image=1024, picture_tokens=64)


def planned(name: str, world: int, gpu: str = "h100", **changes: object) -> Plan:
    recipe = replace(Recipe.load(name), **changes)  # type: ignore[arg-type]
    return plan_run(recipe.model.config(VOCAB), recipe, hardware(gpu), world)


@pytest.mark.parametrize("name", LARGE)
def test_large_models_build_on_the_meta_device_as_large_as_the_formula_says(name: str) -> None:
    config = Recipe.load(name).model.config(VOCAB)
    with torch.device("meta"):
        model = OmniTransformer(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == sum(config.parameters().values())


@pytest.mark.parametrize(("name", "world"), [("1b", 64), ("7b", 64), ("7b", 512), ("70b", 512)])
def test_large_recipes_fit_h100s(name: str, world: int) -> None:
    plan = planned(name, world)
    assert plan.fits and plan.throughput.bound == "compute"
    assert plan.memory.total == pytest.approx(sum(plan.memory.parts().values()))


WORKER = """
import sys
from pathlib import Path
import torch
from omni.train.engine import Trainer
from omni.train.recipe import Recipe

torch.set_num_threads(1)
small = dict(word.split("=", 1) for word in sys.argv[3:])
for name in sys.argv[2].split(","):
    trainer = Trainer(Recipe.load(name, small), Path(sys.argv[1]) / name, device="cpu")
    assert trainer.train() is None
    trainer.close()
"""


@pytest.mark.slow
def test_large_recipes_train_scaled_down(shards: Path, tmp_path: Path) -> None:
    """The same keys, on two gloo ranks: only widths, lengths and the data are small."""
    small = {
        "data": f"[{shards / 'train'}]", "valid": "[]", "tokenizers": "null", "sequence_length": "64",
        "model.d_model": "64", "model.n_layers": "2", "model.n_heads": "8", "model.n_kv_heads": "4", "model.d_ff": "96",
        "model.max_steps": "64", "batch.rows": "8", "schedule.steps": "2", "schedule.warmup": "0",
    }  # fmt: skip
    words = [sys.executable, "-c", WORKER, str(tmp_path), ",".join(LARGE), *(f"{key}={small[key]}" for key in small)]
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            words, env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE
        )
        for rank in range(2)
    ]
    errors = [rank.communicate()[1].decode() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(errors)
    for name in LARGE:
        trained = [record for record in read_log(tmp_path / name) if record["kind"] == "train"]
        assert [record["step"] for record in trained] == [1, 2] and all(record["loss"] < 10 for record in trained)


def test_communication_is_that_of_the_zero_paper() -> None:
    """Rajbhandari et al. 2020, section 7: 2 P numbers for stages 0 to 2, 3 P for stage 3, in one micro-batch a step."""
    volumes = []
    for zero in range(4):
        recipe = Recipe.load("7b")
        recipe = replace(recipe, zero=zero, batch=replace(recipe.batch, rows=128))  # type: ignore[arg-type]
        plan = plan_run(recipe.model.config(VOCAB), recipe, hardware("h100"), 64)
        numbers = plan.communication.total / (4 if zero == 0 else 2) / sum(plan.config.parameters().values())
        volumes.append(numbers * 64 / 63)
    assert volumes == pytest.approx([2, 2, 2, 3])


def test_speed_follows_the_slowest_resource() -> None:
    fast = planned("7b", 64)
    flops = 4 / 3 * fast.throughput.tokens * fast.config.flops_per_step(4096)
    assert fast.throughput.seconds == pytest.approx(flops / (64 * 0.45 * 989e12))
    slow = replace(TABLE["h100"], intra=1e9, inter=1e8)
    plan = plan_run(fast.config, fast.recipe, slow, 64)
    assert plan.throughput.bound == "communication" and plan.throughput.seconds == plan.communication.seconds
    narrow = plan_run(fast.config, fast.recipe, replace(TABLE["h100"], bandwidth=1e9), 64)
    assert narrow.throughput.bound == "memory"


def test_sequence_parallelism_divides_activations() -> None:
    alone = planned("7b", 64, batch=replace(Recipe.load("7b").batch, rows=512))
    rows = replace(alone.recipe.batch, rows=512)
    long = planned("7b", 64, batch=rows, parallel=ParallelRecipe(sequence=4))
    assert long.memory.activations == pytest.approx(alone.memory.activations / 4)
    assert long.memory.weights == alone.memory.weights
    assert long.communication.sequence > 0 == alone.communication.sequence
    with pytest.raises(InputError, match="64 processes cannot be divided into groups of 3"):
        planned("7b", 64, parallel=ParallelRecipe(sequence=3))


def test_tensor_parallelism_divides_blocks_and_sums_their_states() -> None:
    """Megatron's count: 4 all-reduces a layer of what a micro-batch has, here 5 since blocks are computed again."""
    batch = replace(Recipe.load("7b").batch, rows=512)
    alone, shared = (
        planned("7b", 64, batch=batch, zero=1, parallel=ParallelRecipe(tensor=tensor)) for tensor in (1, 8)
    )
    config, parts = alone.config, alone.config.parameters()
    norms = (2 * config.n_layers + 1) * config.d_model + 2 * config.n_layers * config.head_dim * config.qk_norm
    whole = parts["embedding"] + parts["output"] + norms
    count = whole + (sum(parts.values()) - whole) / 8
    assert shared.memory.weights == pytest.approx(2 * count)
    assert shared.memory.optimizer == pytest.approx(8 * count / 8)      # 64 processes, 8 copies
    states = 512 // 8 * alone.recipe.sequence_length * 2 * config.d_model
    assert shared.communication.tensor == pytest.approx(5 * config.n_layers * states * 2 * 7 / 8)
    assert shared.communication.gradients < alone.communication.gradients / 6 and not alone.communication.tensor
    assert shared.throughput.compute > alone.throughput.compute         # all of a group compute the whole output
    with pytest.raises(InputError, match=r"parallel\.tensor: 16 processes cannot share n_kv_heads=8"):
        planned("7b", 64, parallel=ParallelRecipe(tensor=16))


def test_a_plan_that_does_not_fit_names_changes_that_do() -> None:
    plan = planned("7b", 8, "rtx4090")
    assert not plan.fits
    found = mends(plan)
    assert any("zero: 3" in line for line in found)
    assert planned("7b", 8, "rtx4090", zero=3).fits
    assert mends(planned("70b", 8, "rtx4090")) == []


def test_this_machine_is_measured() -> None:
    machine = hardware("cpu")
    assert machine.memory > 2**30 and machine.bandwidth > 1e8 and machine.flops > 1e8


def test_presets_of_the_large_recipes_are_theirs() -> None:
    for name in LARGE:
        recipe = Recipe.load(name)
        assert recipe.model.preset == name and recipe.sequence_length <= ModelConfig.preset(name).max_steps
        assert recipe.precision == "bf16" and recipe.activation_checkpointing
