from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.decode import compiler
from omni.decode.step import KernelStep, fast_step, quantized, settle
from omni.model.cache import Cache
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.native import library
from omni.vocab import Vocabulary

SHAPE = ModelConfig(d_model=48, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=52, max_steps=64, rope_theta=100.0)


def built(config: ModelConfig, layout: str = "flat") -> OmniTransformer:
    torch.manual_seed(0)
    vocab = Vocabulary(text=20, codebooks=3, codebook_size=8, image=8, picture_tokens=4, layout=layout)
    model = OmniTransformer(config.for_vocabulary(vocab)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model


@torch.no_grad()
@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([1, 2, 4]), st.booleans(), st.booleans(), st.sampled_from(["flat", "delay", "depth"]),
    st.integers(0, 50), st.integers(1, 12), st.sampled_from([None, 6, 20]), st.booleans(),
)  # fmt: skip
def test_the_kernels_states_and_cache_are_the_models(
    n_kv_heads: int, qk_norm: bool, tied: bool, layout: str, prompt: int, steps: int, size: int | None, bias: bool
) -> None:
    shape = replace(SHAPE, n_kv_heads=n_kv_heads, qk_norm=qk_norm, tie_embeddings=tied, head_size=size, qkv_bias=bias)
    model = built(shape, layout)
    ids = torch.randint(1, model.config.vocab_size, (1, prompt + steps, model.config.channels))
    plain, fast = (Cache.empty(model.config, 1, 64, model.table) for _ in range(2))
    states = model.extend(ids, plain)[:, prompt:]
    settle(model)
    step = fast_step(model)
    if prompt:
        model.extend(ids[:, :prompt], fast)
    said = torch.cat([step(one, fast) for one in ids[:, prompt:].split(1, dim=1)], dim=1)
    torch.testing.assert_close(said, states, rtol=1e-4, atol=1e-4)
    assert fast.length == plain.length
    for ours, theirs in zip(fast.keys + fast.values, plain.keys + plain.values, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 4), st.sampled_from([24, 40, 64])), min_size=1, max_size=5),
    st.sampled_from([32, 16, 8, 1]), st.sampled_from(["flat", "delay"]),
)  # fmt: skip
def test_steps_of_many_taken_together_are_those_of_each_alone(
    talks: list[tuple[int, int, int]], bits: int, layout: str
) -> None:
    """Talks of any lengths, (heard before, steps to take, room), each with a cache of its own."""
    model = built(replace(SHAPE, d_ff=56, weight_bits=1 if bits == 1 else 32), layout)
    if bits == 16:
        halve(model)
    step, vocab, channels = fast_step(model, int8=bits == 8), model.config.vocab_size, model.config.channels
    assert isinstance(step, KernelStep) and step.bits == bits
    alone, shared, parts, expected = [], [], [], []
    for before, steps, room in talks:
        ids = torch.randint(1, vocab, (1, before + steps, channels))
        caches = [Cache.empty(model.config, 1, room, model.table) for _ in range(2)]
        for cache in caches:
            for at in range(before):
                step(ids[:, at : at + 1], cache)
        expected.append(torch.cat([step(one, caches[0]) for one in ids[:, before:].split(1, dim=1)], dim=1)[0])
        parts.append(ids[0, before:])
        alone.append(caches[0])
        shared.append(caches[1])
    named = [cache for cache, (_, steps, _) in zip(shared, talks, strict=True) for _ in range(steps)]
    states = step.together(torch.cat(parts), named)
    torch.testing.assert_close(states, torch.cat(expected), rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(shared, alone, strict=True):
        assert ours.length == theirs.length
        for one, other in zip(ours.keys + ours.values, theirs.keys + theirs.values, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def halve(model: OmniTransformer) -> None:
    """Weights as bfloat16 has them."""
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()


@torch.no_grad()
@pytest.mark.parametrize("steps", [1, 3, 24, 25])
def test_weights_of_two_bytes_give_the_models_own_states(steps: int) -> None:
    model = built(SHAPE)
    assert isinstance(whole := fast_step(model), KernelStep) and whole.bits == 32
    halve(model)
    step = fast_step(model)
    assert isinstance(step, KernelStep) and step.bits == 16
    ids = torch.randint(1, model.config.vocab_size, (1, steps, model.config.channels))
    plain, fast = (Cache.empty(model.config, 1, 64, model.table) for _ in range(2))
    torch.testing.assert_close(step(ids, fast), model.extend(ids, plain), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_settling_changes_no_value_and_no_logit() -> None:
    model = built(SHAPE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = torch.randn(2, 48)
    logits = model.logits(states)
    settle(model)
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert model.embedding.weight.shape == (model.config.vocab_size, 48)
    torch.testing.assert_close(model.logits(states), logits)


@torch.no_grad()
def test_batches_padding_and_a_full_cache_take_the_models_own_way() -> None:
    model = built(SHAPE)
    step = fast_step(model)
    ids = torch.randint(1, model.config.vocab_size, (2, 5, 1))
    ours, theirs = (Cache.empty(model.config, 2, 5, model.table) for _ in range(2))
    ours.padding = theirs.padding = torch.tensor([0, 2])
    for one in ids.split(1, dim=1):
        torch.testing.assert_close(step(one, ours), model.extend(one, theirs))
    with pytest.raises(ValueError, match="do not fit the cache of 5"):
        step(ids[:, :1], ours)
    assert fast_step(model.double()).__name__ == "extend"               # the kernel knows fp32 only


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(1e-6, 1e4), st.integers(0, 99))
def test_quantized_rows_are_within_half_a_scale(rows: int, cols: int, size: float, seed: int) -> None:
    weight = size * torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed))
    codes, scale = quantized(weight)
    assert codes.dtype == torch.int8
    error = (codes * scale[:, None] - weight).abs()
    assert (error <= 0.5001 * scale[:, None] + 1e-12).all()
    torch.testing.assert_close(codes.abs().amax(dim=1).float(), torch.full((rows,), 127.0))


@torch.no_grad()
def test_int8_states_equal_those_of_the_rounded_weights() -> None:
    model = built(replace(SHAPE, head_size=20, qkv_bias=True))
    step = fast_step(model, int8=True)
    ids = torch.randint(1, model.config.vocab_size, (1, 9, 1))
    fast = Cache.empty(model.config, 1, 64, model.table)
    said = torch.cat([step(one, fast) for one in ids.split(1, dim=1)], dim=1)
    for block in model.blocks:
        for linear in (block.attention.qkv, block.attention.out, block.feed_forward.gate_up, block.feed_forward.down):
            codes, scale = quantized(linear.weight)
            linear.weight.copy_(codes * scale[:, None])
    states = model.extend(ids, Cache.empty(model.config, 1, 64, model.table))
    torch.testing.assert_close(said, states, rtol=1e-4, atol=1e-4)


def test_without_a_compiler_the_plain_way_is_taken_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = built(SHAPE)
    monkeypatch.setenv("PATH", "")
    for cache in (compiler.kernel, library):
        cache.cache_clear()
    step = fast_step(model)
    for cache in (compiler.kernel, library):
        cache.cache_clear()
    assert step == model.extend
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "install gcc" in said


def test_a_denormal_survives_loading_the_kernel() -> None:
    """-ffast-math at link time would make the whole process flush denormals to zero."""
    assert compiler.kernel() is not None
    tiny = torch.tensor([1e-40])
    assert float(tiny * 1.0) > 0
