"""One-bit matrices: values and gradients by definition, packing, variance, and the decoder's kernel."""

import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from omni.cli import main
from omni.decode.step import KernelStep, fast_step, settle
from omni.errors import InputError
from omni.model.binary import BinaryLinear, binarized, one_bit_layers, pack, pack_state, unpack, unpack_state
from omni.model.cache import Cache
from omni.model.config import ModelConfig
from omni.model.folder import Weights, complete, load_model, save_model, save_packed
from omni.model.transformer import Batch, OmniTransformer
from omni.vocab import Vocabulary

SHAPE = ModelConfig(
    d_model=48, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=64, vocab_size=50, max_steps=64, weight_bits=1
)  # fmt: skip


def built(config: ModelConfig) -> OmniTransformer:
    torch.manual_seed(0)
    model = OmniTransformer(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 20), st.integers(0, 999))
def test_a_row_is_signs_of_half_its_bound(rows: int, cols: int, seed: int) -> None:
    x = torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed))
    bound = x.abs().amax(dim=1, keepdim=True)
    clipped = (x / bound).clamp(-1 + 1e-6, 1 - 1e-6)
    torch.testing.assert_close(binarized(x), (clipped.floor() + 0.5) * bound)   # the paper's formula
    assert binarized(torch.tensor([0.0, -0.0, 2.0])).tolist() == [1.0, 1.0, 1.0]


def test_the_gradient_passes_straight_through_what_is_not_clipped() -> None:
    x = torch.tensor([[0.1, -0.4, 1.0, -0.9]], requires_grad=True)
    (binarized(x) * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[1.0, 2.0, 0.0, 4.0]]


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 20), st.integers(1, 6), st.integers(0, 999))
def test_one_bit_inputs_and_their_gradients_are_the_papers(rows: int, cols: int, outputs: int, seed: int) -> None:
    """In float64, by the formula: clip(x / B, +-(1 - eps)), floor, + 1/2, times B; the gradient as if only clipped."""
    generator = torch.Generator().manual_seed(seed)
    layer = BinaryLinear(cols, outputs, activation_bits=1)
    x = torch.randn(2, rows, cols, generator=generator).requires_grad_()
    weigh = torch.randn(2, rows, outputs, generator=generator)
    (layer(x) * weigh).sum().backward()
    wide, theirs = x.detach().double(), layer.weight.detach().double()
    rounded, inside = zip(*(formula(one) for one in (wide, theirs)), strict=True)
    torch.testing.assert_close(layer(x).double(), rounded[0] @ rounded[1].T, rtol=1e-5, atol=1e-5)
    assert x.grad is not None and layer.weight.grad is not None
    expected = (weigh.double() @ rounded[1]) * inside[0]
    torch.testing.assert_close(x.grad.double(), expected, rtol=1e-5, atol=1e-5)
    expected = weigh.double().flatten(0, 1).T @ rounded[0].flatten(0, 1) * inside[1]
    torch.testing.assert_close(layer.weight.grad.double(), expected, rtol=1e-5, atol=1e-5)


def formula(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What x is rounded to, and where it is not clipped."""
    bound = x.abs().max(dim=-1, keepdim=True).values
    clipped = torch.clip(x / bound, -1 + 1e-6, 1 - 1e-6)
    return (torch.floor(clipped) + 0.5) * bound, clipped == x / bound


@pytest.mark.slow
def test_one_bit_layers_are_compiled_and_anew_when_they_are_switched(monkeypatch: pytest.MonkeyPatch) -> None:
    """As dynamo traces them; what C++ is then made of it takes half a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain, traced = (built(replace(SHAPE, activation_bits=1, inner_norms=True)) for _ in range(2))
    traced.compile_blocks()
    ids, everything = torch.randint(1, 50, (2, 9, 1)), torch.ones(2, 9, dtype=torch.bool)
    for late in (True, False):
        for model in (plain, traced):
            for name, layer in one_bit_layers(model).items():
                layer.binary_weight, layer.binary_input = not late or "attention" in name, not late
            model.zero_grad()
            model(Batch(ids, everything, everything.long(), ~everything)).total.backward()
        for name, parameter in plain.named_parameters():
            torch.testing.assert_close(traced.get_parameter(name).grad, parameter.grad, rtol=1e-3, atol=1e-3)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 40), st.integers(0, 999))
def test_packing_keeps_every_sign(rows: int, cols: int, seed: int) -> None:
    weight = torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed))
    bits, scale = pack(weight)
    assert bits.dtype == torch.uint8 and bits.shape == (rows, math.ceil(cols / 8))
    torch.testing.assert_close(unpack(bits, scale, cols), binarized(weight))


def test_a_packed_model_is_the_same_and_its_signs_are_sixteen_times_smaller(tmp_path: Path) -> None:
    model = built(replace(SHAPE, d_model=256, d_ff=512))
    save_file(pack_state(model), tmp_path / "packed.safetensors")
    again = built(replace(SHAPE, d_model=256, d_ff=512))
    again.load_state_dict(unpack_state(load_file(tmp_path / "packed.safetensors"), again))
    ids = torch.randint(1, 50, (1, 9, 1))
    states = [one.extend(ids, Cache.empty(one.config, 1, 64, one.table)) for one in (model, again)]
    torch.testing.assert_close(*states)
    matrices = [module for module in model.modules() if isinstance(module, BinaryLinear)]
    assert len(matrices) == 8
    half = sum(2 * module.weight.numel() for module in matrices)        # bytes in bf16
    kept = {end: sum(one.nbytes for name, one in pack_state(model).items() if name.endswith(end))
            for end in (".bits", ".scale")}  # fmt: skip
    assert half == 16 * kept[".bits"] and kept[".scale"] < 0.15 * kept[".bits"]


@torch.no_grad()
def test_a_packed_folder_is_loaded_to_the_same_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vocab = Vocabulary(text=20, codebooks=1, codebook_size=8, image=8, picture_tokens=4, languages=("en",))
    model = built(replace(SHAPE, d_ff=60).for_vocabulary(vocab))        # rows of 60 are no whole bytes
    save_model(tmp_path / "model", model.state_dict(), model.config, vocab)
    words = ["export", str(tmp_path / "model"), "--packed", "--out", str(tmp_path / "packed")]
    assert main(words) == 0
    again, theirs = load_model(tmp_path / "packed")
    assert theirs == vocab and again.config == model.config
    ids = torch.randint(1, 20, (1, 9, 1))
    states = [one.extend(ids, Cache.empty(one.config, 1, 64, one.table)) for one in (model, again)]
    torch.testing.assert_close(*states)
    stored = load_file(tmp_path / "packed" / "model.safetensors")       # by the library whose format it is
    assert stored["blocks.0.attention.qkv.bits"].dtype == torch.uint8
    assert "blocks.0.attention.qkv.weight" not in stored
    assert sum(one.nbytes for name, one in stored.items() if name.startswith("blocks.")) * 8 < sum(
        4 * one.numel() for name, one in model.named_parameters() if name.startswith("blocks."))  # fmt: skip
    assert main(words) == 2                                             # is there already
    with pytest.raises(InputError, match="packed, so not to be trained on"):
        Weights(tmp_path / "packed", {name: one.shape for name, one in model.named_parameters()})
    complete(tmp_path / "packed", replace(model.config, weight_bits=32), vocab)
    with pytest.raises(InputError, match="not those of config"):   # signs are not taken for floats
        load_model(tmp_path / "packed")
    save_model(tmp_path / "floats", model.state_dict(), replace(model.config, weight_bits=32), vocab)
    capsys.readouterr()
    assert main(["export", str(tmp_path / "floats"), "--packed", "--out", str(tmp_path / "other")]) == 2
    assert "no one-bit matrices" in capsys.readouterr().err and not (tmp_path / "other").exists()
    save_model(tmp_path / "norms", model.state_dict(), replace(model.config, weight_bits=32, inner_norms=True), vocab)
    assert main(["export", str(tmp_path / "norms"), "--out", str(tmp_path / "other")]) == 2
    assert "inner_norms has no class in transformers" in capsys.readouterr().err and not (tmp_path / "other").exists()


@pytest.mark.parametrize("d", [64, 1024])
def test_bare_signs_inflate_the_variance_and_the_scaled_form_does_not(d: int) -> None:
    """Inputs of unit variance and weights of variance 1/d: a float layer's output has variance 1."""
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(500, d, generator=generator), torch.randn(200, d, generator=generator) / math.sqrt(d)
    signs, scaled = x @ weight.sign().T, x @ binarized(weight).T
    assert float(signs.var()) == pytest.approx(d, rel=0.1)
    assert 1 < float(scaled.var()) < 4                                  # (max / 2)^2, which grows as log d


@torch.no_grad()
@settings(deadline=None, max_examples=12)
@given(
    st.booleans(), st.sampled_from([None, 6, 8]), st.integers(1, 12), st.booleans(), st.sampled_from([None, 32, 1])
)
def test_the_kernel_reads_bits_to_the_same_states(
    qk_norm: bool, head: int | None, steps: int, bias: bool, inner: int | None
) -> None:
    """inner: bits of an input of blocks with norms, or None without."""
    size = head if inner is None else None                              # the way around the projection keeps widths
    shape = replace(SHAPE, qk_norm=qk_norm, head_size=size, qkv_bias=bias, inner_norms=inner is not None)
    model = built(replace(shape, activation_bits=inner or 32, d_ff=72 if inner == 1 else 64))
    ids = torch.randint(1, 50, (1, 5 + steps, 1))
    plain, fast = (Cache.empty(model.config, 1, 64, model.table) for _ in range(2))
    states = model.extend(ids, plain)[:, 5:]
    settle(model)
    step = fast_step(model)
    assert isinstance(step, KernelStep) and step.bits == 1
    model.extend(ids[:, :5], fast)
    said = torch.cat([step(one, fast) for one in ids[:, 5:].split(1, dim=1)], dim=1)
    torch.testing.assert_close(said, states, rtol=1e-4, atol=1e-4)


def test_inner_norms_are_where_the_paper_has_them() -> None:
    """Section 4.2, in its words: LN after Q, K, V and the output, a shortcut around it; in and behind feed-forward."""
    model = built(replace(SHAPE, inner_norms=True, qk_norm=False, n_kv_heads=4))
    block, even = model.blocks[0], partial(F.layer_norm, eps=1e-5)
    x, rope = torch.randn(1, 5, 48), model.rope(torch.arange(5)[None])
    queries, keys, values = block.attention.project(x, rope)
    _, _, v = block.attention.qkv(x).chunk(3, dim=-1)
    torch.testing.assert_close(values, even(v.unflatten(-1, (4, 12)), (12,)).transpose(1, 2))
    context = F.scaled_dot_product_attention(queries, keys, values, is_causal=True).transpose(1, 2).flatten(2)
    attended = even(block.attention.out(context), (48,)) + context
    torch.testing.assert_close(block.attention(x, rope, None), attended)
    gate, up = block.feed_forward.gate_up(x).chunk(2, dim=-1)
    hidden = even(F.silu(gate) * up, (64,))
    torch.testing.assert_close(block.feed_forward(x), even(block.feed_forward.down(hidden), (48,)))


@torch.no_grad()
def test_one_bit_inputs_are_stored_and_decoded_as_they_are_trained(tmp_path: Path) -> None:
    vocab = Vocabulary(text=20, codebooks=1, codebook_size=8, image=8, picture_tokens=4, languages=("en",))
    model = built(replace(SHAPE, activation_bits=1, inner_norms=True).for_vocabulary(vocab))
    floats = built(replace(model.config, activation_bits=32))           # the same weights
    ids = torch.randint(1, 20, (1, 9, 1))
    everything = torch.ones(1, 9, dtype=torch.bool)
    trained, other = (one.hidden(Batch(ids, everything, everything.long(), ~everything)) for one in (model, floats))
    assert (trained - other).abs().max() > 0.1
    save_model(tmp_path / "model", model.state_dict(), model.config, vocab)
    save_packed(tmp_path / "packed", model, vocab)
    for name in ("model", "packed"):
        again, _ = load_model(tmp_path / name)
        assert again.config == model.config
        states = again.extend(ids, Cache.empty(again.config, 1, 64, again.table))
        torch.testing.assert_close(states, trained, rtol=1e-4, atol=1e-4)
    before = {name: value for name, value in model.config.as_dict().items() if name != "activation_bits"}
    assert ModelConfig.parse(before, "a folder of before there were any") == floats.config


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"weight_bits": 4}, "model.weight_bits: must be 1 or 32, got 4"),
        ({"inner_norms": True, "activation_bits": 8}, "model.activation_bits: must be 1 or 32, got 8"),
        ({"activation_bits": 1}, "model.activation_bits: 1 is for one-bit weights with the norms around them; set"),
        ({"inner_norms": True, "weight_bits": 32, "activation_bits": 1}, "model.activation_bits: 1 is for one-bit"),
    ],
)
def test_other_widths_are_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)):
        replace(SHAPE, **changes)
