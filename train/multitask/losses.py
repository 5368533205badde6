"""Methods that weigh the losses and then differentiate once: their cost is that of plain training."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from omni.errors import InputError
from omni.train.multitask.gradients import checked, rows_of


class Scalarization:
    """A weighted sum of the losses. `combine`, where given, makes it, and may have parameters of its own to learn."""

    def __init__(self, combine: Callable[[Tensor], Tensor], parameters: Sequence[Tensor] = ()) -> None:
        """combine: losses [tasks] to their scalar; parameters: of `combine`, which the optimizer is to train too"""
        self.combine, self.parameters = combine, list(parameters)

    @classmethod
    def fixed(cls, weights: Sequence[float]) -> "Scalarization":
        """Raises InputError for weights that are negative, not finite or all zero."""
        tensor = torch.tensor(list(weights), dtype=torch.float32)
        if not bool(tensor.isfinite().all()) or bool((tensor < 0).any()) or not bool(tensor.any()):
            raise InputError(f"multitask.weights: must be 0 or more, and not all 0, got {list(weights)}")
        return cls(lambda losses: tensor.to(losses) @ losses)

    def backward(
        self,
        losses: Sequence[Tensor],
        shared: Sequence[Tensor] = (),
        own: Sequence[Tensor] = (),
        features: Sequence[Tensor] = (),
    ) -> Tensor:
        """Add to .grad of whatever the losses depend on. Returns the weights [tasks] that the losses had."""
        stacked = torch.stack(list(losses))
        leaf = checked(stacked.detach()).requires_grad_()
        total = self.combine(leaf)
        (weights,) = torch.autograd.grad(total, leaf, retain_graph=bool(self.parameters))
        if self.parameters:
            for parameter, slope in zip(self.parameters, torch.autograd.grad(total, self.parameters), strict=True):
                parameter.grad = slope if parameter.grad is None else parameter.grad + slope
        stacked.backward(weights)
        return weights


class RandomWeights:
    """Weights drawn anew for every step from a flat Dirichlet distribution (random loss weighting, Lin et al. 2022)."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, losses: Tensor) -> Tensor:
        return dirichlet(len(losses), self.generator).to(losses) @ losses


def dirichlet(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Weights [count] that add up to one, all such alike likely: exponentials over their sum."""
    drawn = -torch.rand(count, generator=generator).clamp(min=1e-20).log()
    return drawn / drawn.sum()


class GradNorm:
    """Weights that keep the norms of the tasks' gradients, on the last shared layer, in the ratio of what is left to
    learn (Chen et al. 2018). They begin at one and keep the sum of the number of tasks.
    """

    def __init__(self, tasks: int, layer: Sequence[Tensor] = (), alpha: float = 1.5, lr: float = 0.025) -> None:
        """layer: parameters by which norms are taken, the last shared ones where none are named
        alpha: how much slow tasks are favoured
        """
        self.weights = torch.ones(tasks, requires_grad=True)
        self.layer, self.alpha = list(layer), alpha
        self.optimizer = torch.optim.Adam([self.weights], lr=lr)
        self.first: Tensor | None = None

    def backward(
        self,
        losses: Sequence[Tensor],
        shared: Sequence[Tensor],
        own: Sequence[Tensor] = (),
        features: Sequence[Tensor] = (),
    ) -> Tensor:
        """Add to .grad of whatever the losses depend on, then move the weights. Returns those that were used."""
        layer = self.layer or list(shared)[-1:]
        stacked = torch.stack(list(losses))
        used = self.weights.detach().clone()
        rows = rows_of(losses, layer)
        norms = checked(torch.stack([torch.cat([g.flatten() for g in row]).norm() for row in rows]))  # [tasks]
        stacked.backward(used)
        self._move(norms, stacked.detach())
        return used

    def _move(self, norms: Tensor, losses: Tensor) -> None:
        self.first = losses.clone() if self.first is None else self.first
        left = losses / self.first.clamp(min=1e-12)
        scaled = self.weights * norms
        target = (scaled.mean() * (left / left.mean()) ** self.alpha).detach()
        self.optimizer.zero_grad()
        (scaled - target).abs().sum().backward()
        self.optimizer.step()
        with torch.no_grad():
            self.weights.clamp_(min=1e-3)
            self.weights.mul_(len(losses) / self.weights.sum())


def temperature_weights(sizes: Sequence[int], temperature: float) -> list[float]:
    """Weights in proportion to size^(1/temperature), with a mean of 1, as tasks are commonly mixed.

    Raises InputError unless sizes and temperature are positive.
    """
    if temperature <= 0 or not sizes or min(sizes) <= 0:
        raise InputError(f"multitask: sizes and temperature must be positive, got {list(sizes)} and {temperature}")
    raw = [size ** (1 / temperature) for size in sizes]
    return [len(raw) * one / sum(raw) for one in raw]
