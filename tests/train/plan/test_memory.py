"""Planned memory against real runs, autograd, and DeepSpeed's own estimators."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from omni.model.config import ModelConfig
from omni.model.documents import Documents
from omni.model.transformer import OmniTransformer
from omni.train.plan.activations import activations, block_bytes, rounded_bytes
from omni.train.plan.allocations import Allocations
from omni.train.plan.bench_memory import difference
from omni.train.plan.measure import measured
from omni.train.plan.memory import memory
from omni.train.recipe import OffloadRecipe, OptimizerRecipe, Recipe

STEPS = 48


def model(
    heads: int, kv: int, qk_norm: bool = True, layers: int = 1, kind: torch.dtype = torch.float32, **bits: Any
) -> Any:
    config = ModelConfig(
        d_model=16 * heads, n_layers=layers, n_heads=heads, n_kv_heads=kv, d_ff=24 * heads, vocab_size=100,
        max_steps=STEPS, qk_norm=qk_norm, **bits,
    )  # fmt: skip
    return OmniTransformer(config).to(kind)


BITS: list[dict[str, Any]] = [
    {}, {"inner_norms": True}, {"weight_bits": 1}, {"weight_bits": 1, "inner_norms": True},
    {"weight_bits": 1, "activation_bits": 1, "inner_norms": True},
]  # fmt: skip


@given(
    groups=st.integers(1, 3), kv=st.integers(1, 2), qk_norm=st.booleans(), bf16=st.booleans(),
    bits=st.sampled_from(BITS),
)  # fmt: skip
def test_a_block_saves_what_the_formula_counts(
    groups: int, kv: int, qk_norm: bool, bf16: bool, bits: dict[str, Any]
) -> None:
    """Autograd's own list of saved storages, to the byte."""
    kind = torch.bfloat16 if bf16 else torch.float32
    made = model(groups * kv, kv, qk_norm, kind=kind, **bits)
    documents = Documents.of(torch.tensor([[1] * 20 + [2] * 20 + [3] * (STEPS - 40)]))
    cos, sin = made.rope(documents.position[None])
    rope = cos[0, 0, :, None], sin[0, 0, :, None]
    ours = {one.untyped_storage().data_ptr() for one in (*made.parameters(), *rope)}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ours:
            saved[storage.data_ptr()] = storage
        return tensor

    x = torch.randn(STEPS, made.config.d_model, dtype=kind, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made.blocks[0].packed(x, rope, documents.attend)
    wide = 2 if bf16 else 4
    expected = STEPS * block_bytes(made.config, wide, "cpu") + rounded_bytes(made.config, wide)
    assert sum(storage.nbytes() for storage in saved.values()) == expected


@pytest.mark.parametrize("checkpointing", [False, True])
def test_layers_add_up_and_checkpointing_keeps_their_inputs(checkpointing: bool) -> None:
    """The allocator's count of a forward pass, and of what backward adds where a block is computed again."""
    made = model(4, 4, layers=6)
    documents = Documents.of(torch.ones(1, STEPS, dtype=torch.long))
    cos, sin = made.rope(documents.position[None])
    rope = cos[0, 0, :, None], sin[0, 0, :, None]
    leaf = torch.randn(STEPS, made.config.d_model, requires_grad=True)

    def run(record: Allocations) -> None:
        x = leaf
        record.mark("before")
        for block in made.blocks:
            again = partial(checkpoint, block.packed, use_reentrant=False) if checkpointing else block.packed
            x = again(x, rope, documents.attend)
        record.mark("after")
        x.sum().backward()
        record.mark("end")

    with Allocations() as warm:
        run(warm)                                                       # the gradients are there from now on
    with Allocations() as record:
        run(record)
    before, after, end = (moment for moment in record.moments if moment.name in ("before", "after", "end"))
    recipe = Recipe(data=["."], activation_checkpointing=checkpointing)
    planned = sum(activations(made.config, recipe, STEPS, "cpu"))
    most = max(after.held, end.peak if checkpointing else 0) - before.held
    assert most == pytest.approx(planned, rel=0.1)
    if checkpointing:
        assert planned < sum(activations(made.config, Recipe(data=["."]), STEPS, "cpu")) / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("zero", "precision", "world", "tensor"),
    [(1, "fp32", 1, 1), (2, "fp32", 2, 1), (3, "bf16", 2, 1), (1, "fp32", 2, 2)],
)
def test_the_plan_is_what_a_real_run_takes(
    recipe_file: Path, zero: int, precision: str, world: int, tensor: int
) -> None:
    """Every part within 10 % of what the allocator gave out, one process and two, under ZeRO."""
    shape = {"model.d_model": "128", "model.d_ff": "352", "sequence_length": "128", "train_on": "everything"}
    shape |= {"zero": str(zero), "precision": precision, "too_long": "drop", "parallel.tensor": str(tensor)}
    recipe = Recipe.load(recipe_file, shape)
    found, planned = measured(recipe, world)
    apart = difference(found, planned)
    assert max(apart.values()) < 0.1, (found, planned)
    assert "working" in apart and "peak" in apart


def plan(zero: int, world: int, offload: OffloadRecipe | None = None) -> Any:
    config = replace(ModelConfig.preset("1b"), vocab_size=13_344)
    recipe = Recipe(data=["."], zero=zero, precision="bf16", offload=offload or OffloadRecipe())  # type: ignore[arg-type]
    return config, memory(config, recipe, world)


@pytest.mark.parametrize("world", [1, 8, 64])
def test_deepspeeds_estimators_agree_on_the_parts_they_count(world: int) -> None:
    """They count 2 bytes a weight, and, divided, 2 of gradients, 4 of their fp32 copies, 4 of masters and 8 of moments;
    with stage 3 one gathered layer, but not the shard of the weights. No activations, buckets or logits. Ours holds
    fp32 gradients in the optimizer's step alone."""
    config, two = plan(2, world)
    count = sum(config.parameters().values())
    _, theirs = estimate_zero2_model_states_mem_needs(count, world, 1, cpu_offload=False)
    stepping = two.stepping                                             # 2 + 4 bytes of gradients, divided
    assert two.weights + two.masters + two.optimizer + stepping == pytest.approx(theirs, rel=1e-6)
    largest = 2 * config.d_ff * config.d_model
    _, three = plan(3, world)
    _, theirs, layer = estimate_zero3_model_states_mem_needs(count, largest, world, 1, cpu_offload=False)
    assert layer == 4 * largest                                         # one layer's weights and gradients, gathered
    assert three.weights == pytest.approx(2 * count / world)
    assert three.masters + three.optimizer + three.stepping == pytest.approx(theirs - layer, rel=1e-6)


def test_offloading_moves_what_deepspeed_says_it_moves() -> None:
    config, off = plan(3, 8, OffloadRecipe("cpu", "cpu"))
    count = sum(config.parameters().values())
    _, theirs, layer = estimate_zero3_model_states_mem_needs(count, 1000, 8, 1)
    assert theirs == layer and off.weights == off.masters == off.optimizer == 0
    assert off.host * 8 == pytest.approx((2 + 4 + 8) * count) and not off.drive
    _, far = plan(3, 8, OffloadRecipe("nvme", "cpu", "scratch"))
    assert (far.drive * 8, far.host * 8) == pytest.approx(((4 + 8) * count, 2 * count)) and far.total == off.total


@pytest.mark.parametrize("tied", [True, False])
def test_adafactor_keeps_rows_and_columns(tied: bool) -> None:
    """Against what the optimizer in torch holds after a step."""
    config = replace(ModelConfig.preset("mini"), n_kv_heads=1, vocab_size=1000, tie_embeddings=tied)
    recipe = Recipe(data=["."], zero=0, optimizer=OptimizerRecipe(kind="adafactor"))
    made = OmniTransformer(config)
    optimizer = torch.optim.Adafactor(made.parameters())
    for parameter in made.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    held = sum(one.nbytes for state in optimizer.state.values() for name, one in state.items() if name != "step")
    assert memory(config, recipe, 1).optimizer == held


def test_muon_keeps_one_number_for_each_of_the_matrices() -> None:
    config = replace(ModelConfig.preset("mini"), vocab_size=1000)
    kinds = [Recipe(data=["."], zero=0, optimizer=OptimizerRecipe(kind=kind)) for kind in ("adamw", "muon")]  # type: ignore[arg-type]
    adamw, muon = (memory(config, recipe, 1).optimizer for recipe in kinds)
    made = OmniTransformer(config)
    matrices = sum(p.numel() for name, p in made.named_parameters() if p.ndim > 1 and "embedding" not in name)
    norms = sum(p.numel() for p in made.parameters() if p.ndim == 1)
    assert adamw - muon == pytest.approx(4 * matrices, abs=4 * norms)
