"""Ulysses: the steps of a batch divided among processes, the heads while attention runs (Jacobs et al. 2023).

Everything in a Transformer but attention treats steps alone, so a process can hold a part of them. For attention the
processes exchange, so that each has all steps of a part of the heads, and afterwards exchange back.
"""

from typing import Any

import torch
import torch.distributed as dist
from einops import rearrange
from torch import Tensor

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.documents import Documents


class SequenceParallel:
    """This process's place among the `size` processes that share the steps of a batch."""

    def __init__(self, group: Any, size: int, rank: int) -> None:
        self.group, self.size, self.rank = group, size, rank

    @classmethod
    def of_world(cls, size: int, config: ModelConfig) -> "SequenceParallel":
        """Groups of `size` neighbouring processes of the whole world. Every process calls it.

        Raises InputError when heads or processes do not divide.
        """
        if config.prefix:
            raise InputError("parallel.sequence: not with model.prefix, whose prompts see what lies on other processes")
        if config.n_heads % size or config.n_kv_heads % size:
            raise InputError(
                f"parallel.sequence: {size} processes cannot share n_heads={config.n_heads} and"
                f" n_kv_heads={config.n_kv_heads}; use a number that divides both"
            )
        world, rank = dist.get_world_size(), dist.get_rank()
        groups = [dist.new_group(list(range(first, first + size))) for first in range(0, world, size)]
        return cls(groups[rank // size], size, rank % size)

    def part(self, steps: Tensor) -> Tensor:
        """This process's part of [real, ...]: [local, ...], equally long everywhere; the last is filled up."""
        local = -(-len(steps) // self.size)
        index = torch.arange(self.rank * local, (self.rank + 1) * local, device=steps.device)
        return steps[index.clamp(max=len(steps) - 1)]

    def mine(self, index: Tensor, real: int) -> tuple[Tensor, Tensor]:
        """Which of some steps of the whole are here, [n] bool, and where those are in the part."""
        local = -(-real // self.size)
        here = index // local == self.rank
        return here, index[here] - self.rank * local

    def attend(self, documents: Documents, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of the part's steps, [local, heads, head_dim] to the same."""
        real, local = len(documents.order), len(q)
        whole = documents.attend(*(self._to_heads(x)[:real] for x in (q, k, v)))  # [real, heads / size, head_dim]
        filled = torch.cat((whole, whole.new_zeros(self.size * local - real, *whole.shape[1:])))
        return self._to_steps(filled)

    def _to_heads(self, x: Tensor) -> Tensor:
        """[local, heads, dim] to all steps of a part of the heads, [size local, heads / size, dim]."""
        sent = rearrange(x, "local (to heads) dim -> to local heads dim", to=self.size)
        return _Exchange.apply(sent, self.group).flatten(0, 1)

    def _to_steps(self, x: Tensor) -> Tensor:
        """The inverse of `_to_heads`."""
        got = _Exchange.apply(rearrange(x, "(to local) heads dim -> to local heads dim", to=self.size), self.group)
        return rearrange(got, "source local heads dim -> local (source heads) dim")


class _Exchange(torch.autograd.Function):
    """Part i of [size, ...] goes to process i, whose part for this one comes back: its own inverse and transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        sent = x.contiguous()
        got = torch.empty_like(sent)
        dist.all_to_all_single(got, sent, group=group)
        return got

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Exchange.apply(grad, ctx.group), None
