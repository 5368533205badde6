"""Tensor parallelism: the heads and the hidden units of every block divided among processes (Shoeybi et al. 2019).

A process has some heads of each attention and some units of each feed-forward: rows of what makes them, columns of what
reads them. What the processes have worked out is summed once after attention and once after the feed-forward, in
forward, and so are the gradients of what both read, in backward. Embeddings, norms and output are whole everywhere.

DeepSpeed is told of the groups and works among the copies of a share. (Its AutoTP divides layers in the same way, by
patterns over names; heads are counted and checkpoints made whole by the cuts themselves, which it would need twice.)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from omni.errors import InputError
from omni.model.attention import Attention
from omni.model.config import ModelConfig
from omni.model.transformer import FeedForward, OmniTransformer

DIVIDED = "tensor_model_parallel"                                       # the mark that DeepSpeed knows such weights by


@dataclass(frozen=True)
class Cut:
    """How a weight is divided along `dim`: of each of the parts of `sizes` that lie in it a process has its share.

    across: values that one place along the first dimension has, 1 for a bias
    """

    dim: int
    sizes: tuple[int, ...]
    across: int

    def of(self, whole: Tensor, rank: int, size: int) -> Tensor:
        """The share of process `rank` of `size`."""
        return torch.cat([part.chunk(size, self.dim)[rank] for part in whole.split(self.sizes, self.dim)], self.dim)

    def joined(self, shares: list[Tensor]) -> Tensor:
        """The whole of the shares of all processes: the inverse of `of`."""
        cuts = [share.split([size // len(shares) for size in self.sizes], self.dim) for share in shares]
        return torch.cat([part for parts in zip(*cuts, strict=True) for part in parts], self.dim)

    def whole(self, share: torch.Size, size: int) -> torch.Size:
        """Shape of the whole of `size` shares of this shape."""
        return torch.Size(count * size if dim == self.dim else count for dim, count in enumerate(share))

    def starts(self) -> list[int]:
        """Where each part begins along `dim`."""
        return [0, *accumulate(self.sizes[:-1])]


class TensorParallel:
    """This process's place among the `size` processes that share every block, and what DeepSpeed asks of it (`mpu`).

    group: those processes; copies: the ones with the same shares, among which ZeRO divides its states
    cuts: how each divided parameter is cut, by its name in the model
    """

    def __init__(self, group: Any, copies: Any, size: int) -> None:
        self.group, self.copies, self.size = group, copies, size
        self.rank = dist.get_rank(group)
        self.cuts: dict[str, Cut] = {}

    @classmethod
    def of_world(cls, size: int, config: ModelConfig) -> "TensorParallel":
        """Groups of `size` neighbouring processes of the whole world. Every process calls it.

        Raises InputError when heads or units do not divide.
        """
        check_divides(size, config)
        world, rank = dist.get_world_size(), dist.get_rank()
        groups = [dist.new_group(list(range(first, first + size))) for first in range(0, world, size)]
        copies = [dist.new_group(list(range(place, world, size))) for place in range(size)]
        return cls(groups[rank // size], copies[rank % size], size)

    def divide(self, model: OmniTransformer) -> None:
        """Leave this process its share of the shape of a model on the meta device. Parameters keep their names."""
        for number, block in enumerate(model.blocks):
            name = f"blocks.{number}"
            self._divide_attention(block.attention, f"{name}.attention")
            self._divide_feed_forward(block.feed_forward, f"{name}.feed_forward")

    def watch(self, model: OmniTransformer) -> None:
        """Mark the divided parameters, which have their values now, and sum the gradients of norms that all share."""
        for name, parameter in model.named_parameters():
            if name in self.cuts:
                setattr(parameter, DIVIDED, True)
            elif name.endswith(("q_norm.weight", "k_norm.weight")) and parameter.requires_grad:
                parameter.register_hook(self._sum)                      # of all heads, but here it reads only some

    def whole(self, name: str, share: Tensor) -> Tensor:
        """The undivided value of a parameter. Every process of the group calls it."""
        cut = self.cuts.get(name)
        if cut is None:
            return share
        shares = [torch.empty_like(share) for _ in range(self.size)]
        dist.all_gather(shares, share.contiguous(), group=self.group)
        return cut.joined(shares)

    def norm(self, parameters: Iterable[nn.Parameter]) -> float:
        """Norm of the gradient of the undivided model. Every process of the group calls it."""
        mine = [p.grad for p in parameters if p.grad is not None and (self.rank == 0 or hasattr(p, DIVIDED))]
        square = nn.utils.get_total_norm(mine).double().square()
        dist.all_reduce(square, group=self.group)
        return float(square.sqrt())

    def _divide_attention(self, attention: Attention, name: str) -> None:
        attention.qkv = self._columns(attention.qkv, attention.sizes, f"{name}.qkv")
        attention.out = self._rows(attention.out, f"{name}.out")
        attention.n_heads //= self.size
        attention.n_kv_heads //= self.size
        attention.sizes = [size // self.size for size in attention.sizes]

    def _divide_feed_forward(self, feed_forward: FeedForward, name: str) -> None:
        units = feed_forward.down.in_features
        feed_forward.gate_up = self._columns(feed_forward.gate_up, [units, units], f"{name}.gate_up")
        feed_forward.down = self._rows(feed_forward.down, f"{name}.down")

    def _columns(self, linear: nn.Linear, sizes: list[int], name: str) -> "_Columns":
        """sizes: outputs of the layers that are stacked in `linear`."""
        new = _Columns(linear.in_features, linear.out_features // self.size, linear.bias is not None, device="meta")
        new.group = self.group
        new.weight = self._share(linear.weight, Cut(0, tuple(sizes), linear.in_features), f"{name}.weight")
        if linear.bias is not None:
            new.bias = self._share(linear.bias, Cut(0, tuple(sizes), 1), f"{name}.bias")
        return new

    def _rows(self, linear: nn.Linear, name: str) -> "_Rows":
        new = _Rows(linear.in_features // self.size, linear.out_features, bias=False, device="meta")
        new.group = self.group
        new.weight = self._share(linear.weight, Cut(1, (linear.in_features,), linear.in_features), f"{name}.weight")
        return new

    def _share(self, whole: Tensor, cut: Cut, name: str) -> nn.Parameter:
        self.cuts[name] = cut
        return nn.Parameter(cut.of(whole.detach(), self.rank, self.size), whole.requires_grad)

    def _sum(self, gradient: Tensor) -> Tensor:
        summed = gradient.clone()
        dist.all_reduce(summed, group=self.group)
        return summed

    # ---- the names by which DeepSpeed asks

    def get_model_parallel_group(self) -> Any:
        return self.group

    def get_model_parallel_world_size(self) -> int:
        return self.size

    def get_model_parallel_rank(self) -> int:
        return self.rank

    def get_data_parallel_group(self) -> Any:
        return self.copies

    def get_data_parallel_world_size(self) -> int:
        return dist.get_world_size(self.copies)

    def get_data_parallel_rank(self) -> int:
        return dist.get_rank(self.copies)


def check_divides(size: int, config: ModelConfig) -> None:
    """Raises InputError where `size` processes cannot share the blocks of such a model."""
    if size > 1 and config.weight_bits == 1:                            # a model of `init` may be
        raise InputError("parallel.tensor: processes cannot share blocks of one-bit matrices; use parallel.tensor: 1")
    if size > 1 and config.inner_norms:
        raise InputError("parallel.tensor: processes cannot share blocks with inner_norms; use parallel.tensor: 1")
    for key in ("n_heads", "n_kv_heads", "d_ff"):
        count = getattr(config, key)
        if count % size:
            raise InputError(
                f"parallel.tensor: {size} processes cannot share {key}={count}; use a number that divides"
                f" n_heads={config.n_heads}, n_kv_heads={config.n_kv_heads} and d_ff={config.d_ff}"
            )


class _Columns(nn.Linear):
    """Some outputs of a layer whose input is the same everywhere."""

    group: Any

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(_Same.apply(x, self.group), self.weight, self.bias)


class _Rows(nn.Linear):
    """A layer of whose inputs a process has some: its output is summed."""

    group: Any

    def forward(self, x: Tensor) -> Tensor:
        return _Summed.apply(F.linear(x, self.weight), self.group)


class _Same(torch.autograd.Function):
    """What all processes read, each for other outputs: its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        summed = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed, group=ctx.group)
        return summed, None


class _Summed(torch.autograd.Function):
    """The sum of what the processes have: its gradient is each one's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.mark_dirty(x)
        dist.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
