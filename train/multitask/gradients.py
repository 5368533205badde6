"""Methods that look at each task's gradient, a bounded number of them in memory at a time."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from omni.errors import InputError

MOST = 200_000_000                                                      # numbers of gradients in memory, of all tasks


class Gramian:
    """Weights that follow from the products of the tasks' gradients, [tasks, tasks] (MGDA, PCGrad, IMTL-G, ...).

    The products are summed over groups of parameters, so that the gradients of all tasks never are in memory for more
    numbers than `most`; where one group holds everything, they are kept and combined, else the weighted loss is
    differentiated once more.
    """

    def __init__(self, weighting: "Weighting", most: int = MOST) -> None:
        self.weighting, self.most = weighting, most

    def backward(
        self,
        losses: Sequence[Tensor],
        shared: Sequence[Tensor],
        own: Sequence[Tensor] = (),
        features: Sequence[Tensor] = (),
    ) -> Tensor:
        """Add to .grad the weighted gradient of the shared parameters, and for `own`, those of single tasks, that of
        the plain sum. Returns the weights [tasks].

        features: what the tasks read of the shared parameters' work. Where given, the products are those of gradients
        by them, and everything below is gone through only once. Raises InputError without losses or shared parameters.
        """
        check_losses(losses, shared)
        if features:
            return self._by_features(losses, shared, own, features)
        groups = list(divided(shared, self.most // len(losses)))
        if len(groups) == 1:
            return self._at_once(losses, shared, own)
        products = torch.stack([products_of(rows_of(losses, group)) for group in groups]).sum(dim=0)
        weights = self._weigh(products)
        _add_plain(losses, own)
        _add(shared, torch.autograd.grad(weights @ torch.stack(list(losses)), shared, materialize_grads=True))
        return weights

    def _weigh(self, products: Tensor) -> Tensor:
        return weighed(checked(products), self.weighting).to(products)

    def _at_once(self, losses: Sequence[Tensor], shared: Sequence[Tensor], own: Sequence[Tensor]) -> Tensor:
        both = [*shared, *own]
        rows = [torch.autograd.grad(one, both, retain_graph=True, materialize_grads=True) for one in losses]
        weights = self._weigh(products_of([row[: len(shared)] for row in rows]))
        scales = weights.tolist()
        for at, parameter in enumerate(both):
            pairs = zip(rows, scales if at < len(shared) else [1.0] * len(rows), strict=True)
            _add([parameter], [_weighted([(row[at], scale) for row, scale in pairs])])
        return weights

    def _by_features(
        self, losses: Sequence[Tensor], shared: Sequence[Tensor], own: Sequence[Tensor], features: Sequence[Tensor]
    ) -> Tensor:
        rows = rows_of(losses, features)
        weights = self._weigh(products_of(rows))
        _add_plain(losses, own)
        scales = weights.tolist()
        along = [_weighted(list(zip(column, scales, strict=True))) for column in zip(*rows, strict=True)]
        _add(shared, torch.autograd.grad(features, shared, along, retain_graph=True, materialize_grads=True))
        return weights


class Elementwise:
    """An aggregation of the tasks' gradients, [tasks, numbers] to [numbers], each number by itself (GradDrop)."""

    def __init__(self, aggregate: Callable[[Tensor], Tensor], most: int = MOST) -> None:
        self.aggregate, self.most = aggregate, most

    def backward(
        self,
        losses: Sequence[Tensor],
        shared: Sequence[Tensor],
        own: Sequence[Tensor] = (),
        features: Sequence[Tensor] = (),
    ) -> Tensor:
        """As Gramian.backward; there are no weights: all are one. `features` makes no difference."""
        check_losses(losses, shared)
        _add_plain(losses, own)
        for group in divided(shared, self.most // len(losses)):
            rows = rows_of(losses, group)
            for parameter, *column in zip(group, *rows, strict=True):
                matrix = checked(torch.stack([one.flatten() for one in column]))
                _add([parameter], [self.combined(matrix).view_as(parameter)])
        return torch.ones_like(torch.stack(list(losses)))

    def combined(self, matrix: Tensor) -> Tensor:
        """[tasks, numbers] to [numbers]."""
        moves = matrix.any(dim=0)                                       # where none has a gradient there is no sign
        if bool(moves.all()):                                           # in most, and they are not to be copied
            return self.aggregate(matrix)
        found = torch.zeros_like(matrix[0])
        found[moves] = self.aggregate(matrix[:, moves])
        return found


Weighting = Callable[[Tensor, list[int]], Tensor]                       # products [here, here] of tasks of such numbers
                                                                        # to their weights [here]


def weighed(products: Tensor, weighting: Weighting) -> Tensor:
    """Weights of the tasks, [tasks], by the products of their gradients, [tasks, tasks].

    A task without a gradient, which every direction suits, takes no part, or rules would stand still for it: its weight
    is one, and so is that of a task alone.
    """
    moving = products.diagonal().nonzero().flatten().tolist()
    if len(moving) < 2:
        return torch.ones_like(products[0])
    found = weighting(products[moving][:, moving], moving)
    weights = torch.ones(len(products), dtype=found.dtype, device=found.device)
    weights[moving] = found
    return weights


def divided(parameters: Sequence[Tensor], most: int) -> Iterator[list[Tensor]]:
    """Consecutive groups of at most `most` numbers, or of a single parameter with more."""
    group: list[Tensor] = []
    for parameter in parameters:
        if group and sum(one.numel() for one in group) + parameter.numel() > most:
            yield group
            group = []
        group.append(parameter)
    yield group


def checked(values: Tensor, what: str = "gradient") -> Tensor:
    """Raises InputError where what the tasks have is not finite, which no method survives."""
    if not bool(values.isfinite().all()):
        raise InputError(f"multitask: a task's {what} is not finite; lower the learning rate, or look at its data")
    return values


def check_losses(losses: Sequence[Tensor], shared: Sequence[Tensor] | None = None, tasks: int | None = None) -> None:
    """Raises InputError for losses that cannot be combined.

    shared: parameters by which the method differentiates, if it does; tasks: how many losses it is made for, if not any
    """
    if not losses:
        raise InputError("multitask: no losses; give one a task")
    if tasks is not None and len(losses) != tasks:
        raise InputError(f"multitask: {len(losses)} losses for a method that was made for {tasks} tasks")
    if shape := next((list(one.shape) for one in losses if one.dim()), None):
        raise InputError(f"multitask: a loss of shape {shape} is no number; use its mean")
    constant = [at for at, one in enumerate(losses) if not one.requires_grad]
    if constant and (shared is not None or len(constant) == len(losses)):
        told = "depends on nothing that is trained; leave it out, or is it detached?"
        raise InputError(f"multitask: loss {constant[0]} {told}")
    if shared is not None and not (shared and all(one.requires_grad for one in shared)):
        raise InputError("multitask: shared must be parameters that all tasks use and that are trained, one at least")


def rows_of(losses: Sequence[Tensor], sources: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Gradients of every loss by every source; the graphs stay."""
    return [torch.autograd.grad(one, sources, retain_graph=True, materialize_grads=True) for one in losses]


def products_of(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Of the tasks' gradients with each other, [tasks, tasks], source by source, nothing copied."""
    first = rows[0][0]
    kind = torch.promote_types(first.dtype, torch.float32)
    found = torch.zeros(len(rows), len(rows), dtype=kind, device=first.device)
    for column in zip(*rows, strict=True):
        flat = [one.detach().reshape(-1) for one in column]
        for i, left in enumerate(flat):
            for j in range(i + 1):
                found[i, j] += left @ flat[j]
    return found + found.tril(-1).T


def _weighted(pairs: Sequence[tuple[Tensor, float]]) -> Tensor:
    total = pairs[0][0] * pairs[0][1]
    for gradient, scale in pairs[1:]:
        total.add_(gradient, alpha=scale)
    return total


def _add_plain(losses: Sequence[Tensor], own: Sequence[Tensor]) -> None:
    """Those of single tasks get the gradient of the plain sum; the graph stays."""
    if own:
        _add(own, torch.autograd.grad(torch.stack(list(losses)).sum(), own, retain_graph=True, materialize_grads=True))


def _add(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.detach() if parameter.grad is None else parameter.grad + gradient.detach()
