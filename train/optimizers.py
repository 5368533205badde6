"""AdamW, Adafactor, and Muon for the matrices with AdamW for the rest."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)                                # of the quintic iteration (Jordan et al. 2024)
ITERATIONS = 5
SMALL = 1 << 20                                                         # numbers of a matrix that keeps no GPU busy


class _Skippable(torch.optim.Optimizer):
    """`step` does nothing while `skip` is set."""

    skip = False

    def step(self, closure: Any = None) -> Any:
        return None if self.skip else super().step(closure)


class AdamW(_Skippable, torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019) that can leave a step out."""


class Adafactor(_Skippable, torch.optim.Adafactor):
    """Adafactor (Shazeer and Stern 2018): of a matrix's second moments only the means of rows and columns are kept."""

    def moments(self, parameter: Tensor) -> dict[str, Tensor]:
        """By name, row_var [rows, 1] and col_var [1, columns] of a matrix, variance of a vector; made where not yet."""
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            if parameter.ndim > 1:
                state["row_var"] = parameter.new_zeros(*parameter.shape[:-1], 1)
                state["col_var"] = parameter.new_zeros(*parameter.shape[:-2], 1, parameter.shape[-1])
            else:
                state["variance"] = torch.zeros_like(parameter)
        return {name: value for name, value in state.items() if name != "step"}


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024): the momentum of a matrix, orthogonalised, is its update; other parameters use AdamW.

    matrices: (parameter [rows, columns], rows of the independent matrices stacked in it). Queries, keys and values lie
    in one parameter, but are orthogonalised one by one. Updates have the root mean square of AdamW's, 0.2, so that one
    learning rate serves both (Liu et al. 2025, section 2.2). Each process works out its share of the matrices and keeps
    their momentum; the updates are then exchanged, so every process must call `step`. half: it works in bf16.
    """

    skip = False                                                        # a step does nothing while it is set

    def __init__(
        self,
        matrices: Sequence[tuple[nn.Parameter, Sequence[int]]],
        others: torch.optim.AdamW,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        half: bool = False,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__([{"params": [parameter for parameter, _ in matrices]}], defaults)
        self.rows = {parameter: list(rows) for parameter, rows in matrices}
        self.others = others
        self.param_groups += others.param_groups                        # the same dictionaries: one place for rates
        self.half = half
        self.owner = _divide([parameter for parameter, _ in matrices])

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of both optimizers."""
        if self.skip:
            return
        group = self.param_groups[0]
        mine = dist.get_rank() if dist.is_initialized() else 0
        updates = [torch.zeros_like(parameter) for parameter in group["params"]]
        small: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for parameter, update in zip(group["params"], updates, strict=True):
            if self.owner[parameter] != mine or parameter.grad is None:
                continue
            ahead, rows = self._ahead(parameter, group["momentum"]), self.rows[parameter]
            for matrix, place in zip(ahead.split(rows), update.split(rows), strict=True):
                if matrix.is_cuda and matrix.numel() <= SMALL:
                    small.setdefault(matrix.shape, []).append((matrix, place))
                else:
                    place.copy_(orthogonal(matrix, self.half))
        for alike in small.values():
            together = orthogonal(torch.stack([matrix for matrix, _ in alike]), self.half)
            for (_, place), solved in zip(alike, together, strict=True):
                place.copy_(solved)
        self._exchange(group["params"], updates)
        for parameter, update in zip(group["params"], updates, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])
        self.others.step()

    def momentum_of(self, parameter: nn.Parameter) -> Tensor:
        """Momentum [rows, columns] of one of this process's matrices."""
        state: dict[str, Any] = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        return state["momentum"]

    def _ahead(self, parameter: nn.Parameter, decay: float) -> Tensor:
        """Nesterov's momentum [rows, columns] of a parameter, its own brought up to date."""
        gradient, momentum = parameter.grad, self.momentum_of(parameter)
        assert gradient is not None
        momentum.lerp_(gradient, 1 - decay)
        return gradient.lerp(momentum, decay)

    def _exchange(self, parameters: Sequence[nn.Parameter], updates: Sequence[Tensor]) -> None:
        """Every process's own updates to all the others, in one message each."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return
        for rank in range(dist.get_world_size()):
            theirs = [u for p, u in zip(parameters, updates, strict=True) if self.owner[p] == rank]
            if not theirs:
                continue
            flat = torch.cat([update.flatten() for update in theirs])
            dist.broadcast(flat, rank)
            for update, part in zip(theirs, flat.split([update.numel() for update in theirs]), strict=True):
                update.copy_(part.view_as(update))


def orthogonal(matrices: Tensor, half: bool = False) -> Tensor:
    """About U V^T of the singular value decomposition of [..., rows, columns], scaled to a root mean square of 0.2.

    Newton-Schulz iterations; half: in bf16, as they are on a GPU anyhow. Of small matrices a GPU takes many at once:
    one after the other it waits for hundreds of launches, a third of a step of omni-tiny's.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    x = wide.bfloat16() if half or matrices.is_cuda else wide.float()
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)          # no singular value above 1
    multiply = torch.baddbmm if x.ndim == 3 else torch.addmm
    for _ in range(ITERATIONS):
        gram = x @ x.mT                                                 # [..., short side, short side]
        x = multiply(x, multiply(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.mT if tall else x
    return x.to(matrices.dtype) * (0.2 * max(matrices.shape[-2:]) ** 0.5)


def _divide(parameters: Sequence[nn.Parameter]) -> dict[nn.Parameter, int]:
    """The process that owns each matrix: the largest first, each to the one with the least work."""
    world = dist.get_world_size() if dist.is_initialized() else 1
    load = [0] * world
    owner = {}
    for parameter in sorted(parameters, key=lambda p: -p.numel() * min(p.shape)):
        rank = load.index(min(load))
        owner[parameter] = rank
        load[rank] += parameter.numel() * min(parameter.shape)
    return owner


AnyOptimizer = AdamW | Adafactor | Muon
