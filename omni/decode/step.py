"""Feeding a few steps of a few conversations: the model's own way, or a compiled kernel that reads each weight once."""

import ctypes
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from omni.decode.compiler import POINTERS, Past, Shape, kernel
from omni.decode.memory import in_huge_pages
from omni.decode.slots import SlotStep, slots
from omni.decode.together import Step, Together
from omni.model.attention import Attention
from omni.model.binary import pack
from omni.model.cache import Cache
from omni.model.transformer import Block, OmniTransformer
from omni.native import addresses

MOST_STEPS = 24                                                         # of one row: of more than 32 a BLAS is faster


def settle(model: OmniTransformer) -> None:
    """Move a model's weights, in place, to where single steps read them fastest; values and shapes stay the same.

    On a CPU they lie in one block of huge pages (a fifth faster to read than 4 KiB pages on the Zen 3 measured). The
    table that scores ids is stored by columns: its product with one state adds up contiguous columns, which BLAS does
    at the speed of memory, and by rows at less than half of it. Batches and prompts are as fast as before. A GPU keeps
    them in bfloat16, where that can say them all, as those of models that ship, and computes in it.
    """
    device = model.table.device
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8:  # which multiply bfloat16
        halve(model)
        torch.cuda.empty_cache()                                        # of what others may have
    if device.type != "cpu":
        return
    weights = list(model.parameters())
    table = model.table
    stored = [weight.data.T.contiguous() if weight is table else weight.data for weight in weights]
    for weight, moved in zip(weights, in_huge_pages(stored), strict=True):
        weight.data = moved.T if weight is table else moved


def halve(model: OmniTransformer) -> None:
    """Keep weights in bfloat16, if none of them loses anything by it."""
    if all(_is_bf16(weight) for weight in model.parameters()):
        for weight in model.parameters():
            weight.data = weight.data.bfloat16()


def fast_step(model: OmniTransformer, int8: bool = False) -> Step:
    """`model.extend` for few steps of one row, or of several: within rounding the same states, on a CPU in a fifth of
    the time and on one thread, on a GPU as one CUDA graph (omni.decode.slots).

    int8: the blocks' matrices as 8-bit integers with a scale a row, which is four times less to read.
    A model of one-bit matrices is read with eight weights a byte (with one-bit inputs their products are counts of
    signs), one whose matrices bfloat16 can say, as models are shipped, with two bytes a weight; both as they are when
    this is called.
    Batches and prompts take `model.extend`, and on a CPU everything does in another precision than fp32, without a C
    compiler, and with one-bit matrices whose rows are no whole bytes. int8 is of a CPU alone.
    """
    if found := slots(model):
        return SlotStep(model, found)
    here = model.table.device.type == "cpu" and model.table.dtype == torch.float32
    c, bits = model.config, 8 if int8 else model.config.weight_bits
    if c.weight_bits == 1:
        bits, here = 1, here and not any(size % 8 for size in (c.d_model, c.d_ff, c.n_heads * c.head_dim))
    step = kernel() if here else None
    if step is None:
        return model.extend
    halved = bits == 32 and all(_is_bf16(weight) for block in model.blocks for weight in _matrices(block))
    return KernelStep(model, step, 16 if halved else bits)


class KernelStep(Together):
    """A few steps of one conversation, or of several with a cache each.

    Holds what the kernel's pointers point to: the weights themselves, where they are of 32 bits, so that training goes
    on to show here, else copies.
    """

    def __init__(self, model: OmniTransformer, step: Callable[..., None], bits: int) -> None:
        super().__init__(model)
        self.config, self.run = (c := model.config), step
        self.held = [tensor for block in model.blocks for tensor in _tensors(block, bits)]
        self.held.append(model.norm.weight.detach())
        self.bits = bits
        if bits < 32:
            moved = iter(in_huge_pages([tensor for tensor in self.held if tensor is not None]))
            self.held = [None if tensor is None else next(moved) for tensor in self.held]
        addresses = [None if tensor is None else tensor.data_ptr() for tensor in self.held]
        self.layers = (ctypes.c_void_p * len(addresses))(*addresses)
        assert len(addresses) == c.n_layers * POINTERS + 1
        self.sizes = c.n_layers, c.d_model, c.d_ff, c.n_heads, c.n_kv_heads, c.head_dim
        mixed, qkv_rows = c.n_heads * c.head_dim, (c.n_heads + 2 * c.n_kv_heads) * c.head_dim
        self.scratch_size = 2 * c.d_model + mixed + max(qkv_rows, 2 * c.d_ff)  # a row's, and a score a step

    def takes(self, cache: Cache, steps: int) -> bool:
        """Few, to one row, without padding, with room."""
        fits = 0 < steps <= MOST_STEPS and cache.length + steps <= cache.max_steps
        return fits and len(cache.padding) == 1 and not bool(cache.padding)

    def _joined(self, ids: Tensor, caches: Sequence[Cache], at: Sequence[int]) -> Tensor:
        x = self.model.embed(ids[None])[0].contiguous()                 # [rows, d_model]
        held = [(addresses(cache.keys), addresses(cache.values)) for cache in caches]
        past = (Past * len(caches))()
        for row, (keys, values), cache, step in zip(past, held, caches, at, strict=True):
            row.keys, row.values = ctypes.addressof(keys), ctypes.addressof(values)
            row.max_steps, row.at = cache.max_steps, step
        longest = max(cache.max_steps for cache in caches)
        scratch = x.new_empty(len(caches) * self.scratch_size + longest)
        c, rope = self.config, self.model.rope
        shape = Shape(*self.sizes, self.bits, c.activation_bits, c.inner_norms, c.norm_eps)
        cos, sin = rope.cos.data_ptr(), rope.sin.data_ptr()             # [max_steps, head_dim]
        self.run(ctypes.addressof(shape), self.layers, len(caches), past, cos, sin, x.data_ptr(), scratch.data_ptr())
        return x


def _tensors(block: Block, bits: int) -> Iterator[Tensor | None]:
    """A layer's tensors in the order of the enum in kernel.c."""
    attention: Attention = block.attention
    for norm in (block.attention_norm, attention.q_norm, attention.k_norm, block.feed_forward_norm):
        yield norm.weight.detach() if isinstance(norm, nn.RMSNorm) else None
    yield None if attention.qkv.bias is None else attention.qkv.bias.detach()
    for weight in _matrices(block):
        if bits in (1, 8):
            yield from {1: pack, 8: quantized}[bits](weight)
        else:
            yield from (weight.to({16: torch.bfloat16, 32: torch.float32}[bits]).contiguous(), None)


def _matrices(block: Block) -> Iterator[Tensor]:
    """Weights of a layer [rows, cols] in the kernel's order."""
    for linear in (block.attention.qkv, block.attention.out, block.feed_forward.gate_up, block.feed_forward.down):
        yield linear.weight.detach()


def _is_bf16(weight: Tensor) -> bool:
    return bool((weight.bfloat16().float() == weight).all())


def quantized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of a matrix [rows, cols] as int8 and the scales [rows] that give them back to within half a scale."""
    scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127             # [rows]
    return (weight / scale[:, None]).round().to(torch.int8), scale
