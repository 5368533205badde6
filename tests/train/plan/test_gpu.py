"""What a block saves on a GPU, by torch's own shapes of its CUDA kernels: nothing is computed, and no GPU is needed."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from omni.model.config import ModelConfig
from omni.model.documents import Documents
from omni.model.masks import packed_mask, positions_in
from omni.model.transformer import OmniTransformer
from omni.train.plan.activations import block_bytes, rounded_bytes

STEPS = 512


def efficient(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor, is_causal: bool) -> Tensor:
    """The kernel that CUDA takes for a mask. (The choice itself is compiled into builds for CUDA only.)"""
    assert not is_causal
    bias = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, float("-inf"))
    shape = (*q.shape[:-1], k.shape[-2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, bias.expand(shape), True)[0]


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("kv", [8, 2])
@pytest.mark.parametrize("bits", [{}, {"weight_bits": 1, "activation_bits": 1, "inner_norms": True}])
def test_a_block_saves_what_the_formula_counts(
    bits: dict[str, Any], kv: int, prefix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a prefix there is a bias besides: 2 bytes for each step that a step could see."""
    monkeypatch.setattr(F, "scaled_dot_product_attention", efficient)
    shape = ModelConfig(d_model=512, n_layers=1, n_heads=8, n_kv_heads=kv, d_ff=1024, vocab_size=100, max_steps=STEPS)
    config = replace(shape, prefix=prefix, **bits)
    saved: dict[Any, int] = {}
    usual = torch.get_default_dtype()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        try:
            block = OmniTransformer(config).blocks[0]
        finally:
            torch.set_default_dtype(usual)
        document = torch.ones(1, STEPS, dtype=torch.long)
        mask = packed_mask(document)
        cos, sin = OmniTransformer(config).rope(positions_in(document))
        steps, starts = torch.arange(STEPS), torch.tensor([0, STEPS], dtype=torch.int32)
        documents = Documents(steps, steps, steps, starts, STEPS, [STEPS], [(1, STEPS)])
        ours = {one.untyped_storage()._cdata for one in (*block.parameters(), cos, sin, starts)}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in ours:
                saved[storage._cdata] = storage.nbytes()
            kept.append(tensor)                                         # so that no address is given out twice
            return tensor

        kept: list[Tensor] = []
        x = torch.randn(1, STEPS, config.d_model, dtype=torch.bfloat16, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            if prefix:
                block(x, (cos, sin), mask)
            else:
                block.packed(x[0], (cos[0, 0, :, None], sin[0, 0, :, None]), documents.attend)
    expected = STEPS * (block_bytes(config, 2, "gpu") + 2 * STEPS * prefix) + rounded_bytes(config, 2)
    assert sum(saved.values()) == pytest.approx(expected, rel=0.002)
