"""Methods that weigh the losses and then differentiate once: their cost is that of plain training."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from omni.errors import InputError
from omni.train.multitask.gradients import check_losses, checked, rows_of
from omni.train.multitask.learnt import Learnt


class Scalarization:
    """A weighted sum of the losses. `combine`, where given, makes it, and may have parameters of its own to learn."""

    def __init__(
        self, combine: Callable[[Tensor], Tensor], parameters: Sequence[Tensor] = (), tasks: int | None = None
    ) -> None:
        """combine: losses [tasks] to their scalar; parameters: of `combine`, which the optimizer is to train too
        tasks: how many losses it takes, if not any number
        """
        self.combine, self.parameters, self.tasks = combine, list(parameters), tasks

    @classmethod
    def fixed(cls, weights: Sequence[float]) -> "Scalarization":
        """Raises InputError for weights that are negative, not finite or all zero."""
        tensor = torch.tensor(list(weights), dtype=torch.float32)
        if not bool(tensor.isfinite().all()) or bool((tensor < 0).any()) or not bool(tensor.any()):
            raise InputError(f"multitask.weights: must be 0 or more, and not all 0, got {list(weights)}")
        return cls(lambda losses: tensor.to(losses) @ losses, tasks=len(tensor))

    def backward(
        self,
        losses: Sequence[Tensor],
        shared: Sequence[Tensor] = (),
        own: Sequence[Tensor] = (),
        features: Sequence[Tensor] = (),
    ) -> Tensor:
        """Add to .grad of whatever the losses depend on. Returns the weights [tasks] that the losses had."""
        check_losses(losses, tasks=self.tasks)
        stacked = torch.stack(list(losses))
        leaf = checked(stacked.detach(), "loss")
        if self.parameters:                                             # of a few numbers, wherever the model is
            leaf = leaf.to(self.parameters[0].device)
        leaf.requires_grad_()
        total = self.combine(leaf)
        (weights,) = torch.autograd.grad(total, leaf, retain_graph=bool(self.parameters))
        if self.parameters:
            for parameter, slope in zip(self.parameters, torch.autograd.grad(total, self.parameters), strict=True):
                parameter.grad = slope if parameter.grad is None else parameter.grad + slope
        weights = weights.to(stacked.device)
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
        """layer: parameters by which norms are taken (default: the last shared matrix and what follows it)
        alpha: how much slow tasks are favoured

        Raises InputError for alpha below 0, or a rate that is not above 0.
        """
        if not (0 <= alpha < math.inf and 0 < lr < math.inf):
            raise InputError(f"gradnorm: alpha must be 0 or more and lr above 0, got {alpha} and {lr}")
        ones = [torch.ones((), dtype=torch.float64, requires_grad=True) for _ in range(tasks)]
        self.layer, self.alpha, self.learnt = list(layer), alpha, Learnt(ones, lr)
        self.first = torch.zeros(tasks, dtype=torch.float64)            # losses, 0 before they are known

    @property
    def weights(self) -> Tensor:
        """As they are now: [tasks]."""
        return torch.stack([one.detach() for one in self.learnt.numbers])

    def backward(
        self,
        losses: Sequence[Tensor],
        shared: Sequence[Tensor],
        own: Sequence[Tensor] = (),
        features: Sequence[Tensor] = (),
    ) -> Tensor:
        """Add to .grad of whatever the losses depend on, then move the weights. Returns those that were used."""
        layer = self.layer or last_layer(shared)
        check_losses(losses, layer, len(self.first))
        stacked = torch.stack(list(losses))
        used = self.weights.to(stacked)
        rows = rows_of(losses, layer)
        norms = checked(torch.stack([torch.cat([g.flatten() for g in row]).norm() for row in rows]))  # [tasks]
        stacked.backward(used)
        self.move(range(len(losses)), norms, stacked.detach())
        return used

    def move(self, here: Sequence[int], norms: Tensor, losses: Tensor, factor: float = 1.0) -> None:
        """Move the weights of the tasks `here`, of which norms and losses are, [here]; their sum and all others stay.

        Those without a gradient, which none balances, take no part. factor: times the learning rate
        """
        moving = norms.cpu().nonzero().flatten()
        norms, losses = norms.double().cpu()[moving], losses.double().cpu()[moving]
        index = [here[at] for at in moving.tolist()]
        self.first[index] = torch.where(self.first[index] == 0, losses, self.first[index])
        if len(index) < 2:                                              # nothing to balance
            return
        numbers = [self.learnt.numbers[task] for task in index]
        before = self.weights[index].sum()
        left = losses / self.first[index].clamp(min=1e-12)
        scaled = torch.stack(numbers) * norms
        target = (scaled.mean() * (left / left.mean()) ** self.alpha).detach()
        self.learnt.descend((scaled - target).abs().sum(), factor)
        found = self.weights[index].clamp(min=1e-3)
        with torch.no_grad():
            for number, weight in zip(numbers, found * before / found.sum(), strict=True):
                number.copy_(weight)

    def memory(self) -> list[float]:
        """The losses at first and what is learnt: [5 tasks]."""
        return [*self.first.tolist(), *self.learnt.memory()]

    def remember(self, memory: Sequence[float]) -> None:
        """Be as when `memory` was asked."""
        self.first.copy_(torch.tensor(list(memory[: len(self.first)]), dtype=torch.float64))
        self.learnt.remember(memory[len(self.first) :])


def last_layer(shared: Sequence[Tensor]) -> list[Tensor]:
    """From the last parameter of two dimensions or more on; where there is none, the last parameter."""
    matrices = [at for at, one in enumerate(shared) if one.dim() > 1]
    return list(shared)[matrices[-1] if matrices else -1 :]


def temperature_weights(sizes: Sequence[int], temperature: float) -> list[float]:
    """Weights in proportion to size^(1/temperature), with a mean of 1, as tasks are commonly mixed.

    Raises InputError unless sizes and temperature are positive.
    """
    if temperature <= 0 or not sizes or min(sizes) <= 0:
        raise InputError(f"multitask: sizes and temperature must be positive, got {list(sizes)} and {temperature}")
    raw = [size ** (1 / temperature) for size in sizes]
    return [len(raw) * one / sum(raw) for one in raw]
