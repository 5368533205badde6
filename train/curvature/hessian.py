"""Hessian-vector products of a training loss, and the preconditioned Hessian that an adaptive optimizer feels."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from omni.errors import InputError
from omni.model.twice import REFUSAL, twice_differentiable

ONCE = "torch::autograd::Error"                                         # what a gradient without a derivative hangs on


class CurvatureError(InputError):
    """A loss whose curvature cannot be had: not finite, flat, or without second derivatives."""


class FlatError(CurvatureError):
    """A loss whose curvature is zero: that says all about it."""


class Operator(Protocol):
    """A symmetric matrix of which only products are known."""

    size: int

    def __matmul__(self, vector: Tensor) -> Tensor:
        """[size] to [size]: a tensor of its own, which may be written into."""

    def guess(self) -> Tensor:
        """A vector [size] with much of the largest eigenvectors in it, as a gradient has; products are of its type."""


class Hessian:
    """Second derivatives of a loss with respect to parameters, as an operator on flat vectors [size].

    The vectors hold the parameters' numbers in order. A product is the gradient's derivative along a vector
    (Pearlmutter 1994), exact but for rounding. products: so far; gradient: [size]; level: the sizes of the loss's
    parts, summed: of this process.
    """

    def __init__(
        self,
        parts: Sequence[Callable[[], Tensor]],
        parameters: Sequence[Tensor],
        total: Callable[[Tensor], Tensor] | None = None,
        keep: bool = True,
        movable: bool = True,
    ) -> None:
        """parts: each computes a share of the loss, a scalar; they sum up to it
        total: the sum over processes of a vector, where each has its own parts (all then call every product together)
        keep: the recorded gradient between products: half the time of one, for the memory of all parts at once
        movable: whether a search may move the weights a little, and put them back to the bit, as `differences` does

        Raises CurvatureError where the loss is not one finite number, does not depend on the parameters or has a
        gradient that was not recorded; in all processes, where it is so in one.
        """
        self.parts, self.parameters = list(parts), [p for p in parameters if p.requires_grad]
        if not self.parameters:
            raise CurvatureError("curvature: no parameter is trained; nothing to differentiate by")
        if any(one.is_complex() for one in self.parameters):
            raise CurvatureError("curvature: complex parameters have no Hessian here; use their view_as_real")
        self.total, self.keep, self.movable = total or (lambda vector: vector), keep, movable
        self.size = sum(parameter.numel() for parameter in self.parameters)
        self.products, self.level = 0, 0.0
        self._recorded: list[list[Tensor]] | None = None
        self.gradient = torch.zeros(self.size, dtype=_precise(self.parameters), device=self.parameters[0].device)
        self.gradient = self._summed(self.gradient, self._gradients, "the gradient")

    def block(self, first: int, last: int) -> "Hessian":
        """The diagonal block of parameters `first` to before `last`: the curvature of a part of the model.

        What comes before the part is not differentiated again, so that a product costs less than one of the whole.
        """
        one = copy.copy(self)
        sizes = [parameter.numel() for parameter in self.parameters]
        one.parameters, one.size, one.products = self.parameters[first:last], sum(sizes[first:last]), 0
        one.gradient = torch.cat(self.gradient.split(sizes)[first:last])
        one._recorded = self._recorded and [gradient[first:last] for gradient in self._recorded]
        return one

    def guess(self) -> Tensor:
        """The gradient, which lies almost wholly among the largest eigenvectors (Gur-Ari et al. 2018)."""
        return self.gradient

    def __matmul__(self, vector: Tensor) -> Tensor:
        """H v, [size] to [size]. Raises CurvatureError for numbers that are not finite."""
        pieces = vector.split([parameter.numel() for parameter in self.parameters])
        along = [piece.view_as(p).to(p.dtype) for piece, p in zip(pieces, self.parameters, strict=True)]
        gradients = self._recorded or (self._gradient(_loss_of(part)) for part in self.parts)
        derivatives = (self._derivative(gradient, along) for gradient in gradients)
        self.products += 1
        return self._summed(torch.zeros_like(vector), lambda: derivatives, "a Hessian-vector product")

    def gradient_here(self) -> Tensor:
        """The gradient [size] for the parameters as they are now, in a tensor of its own."""
        parts = (self._gradient(_loss_of(part), record=False) for part in self.parts)
        return self._summed(torch.zeros_like(self.gradient), lambda: parts, "the gradient")

    def _summed(self, found: Tensor, parts: Callable[[], Iterable[Sequence[Tensor]]], what: str) -> Tensor:
        """The sum of parts, over all processes, in `found` [size].

        A process that can add nothing takes part in the sum all the same, or the others would wait for it: with numbers
        that are none, of which they hear.
        """
        error = None
        try:
            for part in parts():
                self._add(found, part)
        except CurvatureError as one:
            error = one
            found.fill_(torch.nan)
        found = self.total(found)
        if error is not None:
            raise error
        _check_finite(found, what)
        return found

    def _gradients(self) -> Iterator[Sequence[Tensor]]:
        """Of each part; what `keep` keeps is there when the last has been given."""
        kept = []
        for part in self.parts:
            loss = _loss_of(part)
            self.level += abs(float(loss.detach()))
            gradient = self._gradient(loss)
            _check_recorded(gradient)
            if self.keep:
                kept.append(gradient)
            yield [one.detach() for one in gradient]
            del loss, gradient                                          # and its record, before the next is made
        self._recorded = kept if self.keep else None

    def _gradient(self, loss: Tensor, record: bool = True) -> list[Tensor]:
        """Of one part, recorded so that it can be differentiated, unless it is told not to be."""
        with torch.enable_grad(), twice_differentiable():
            one = torch.ones_like(loss, requires_grad=True)             # so that all that follows is recorded
            with _refusals():
                found = torch.autograd.grad(loss, self.parameters, one, create_graph=record, materialize_grads=True)
        return list(found)

    def _derivative(self, gradient: list[Tensor], along: list[Tensor]) -> Sequence[Tensor]:
        known = [(one, v) for one, v in zip(gradient, along, strict=True) if one.requires_grad]
        if not known:                                                   # the part has none of the parameters
            return [torch.zeros_like(one) for one in self.parameters]
        outputs, vectors = zip(*known, strict=True)
        keep = self._recorded is not None
        with _refusals(), twice_differentiable():                       # what was not kept is computed again
            return torch.autograd.grad(outputs, self.parameters, vectors, retain_graph=keep, materialize_grads=True)

    def _add(self, vector: Tensor, values: Sequence[Tensor]) -> None:
        """Values of the parameters to a flat vector [size], which nothing is copied for."""
        for place, value in zip(vector.split([one.numel() for one in self.parameters]), values, strict=True):
            place += value.detach().reshape(-1)


class Scaled:
    """D A D of an operator A and a diagonal or block-diagonal symmetric D: the preconditioned Hessian for D = P^-1/2.

    It has the eigenvalues of P^-1 H, the matrix by which the stability of preconditioned descent is decided (Cohen et
    al. 2022, section 3). Where the scale is a Preconditioner of an optimizer that adds its weight decay to the
    gradient, A has that decay, too, for what is descended bends by it.
    """

    def __init__(self, operator: Operator, scale: Callable[[Tensor], Tensor]) -> None:
        """scale: multiplies a vector [size] by D

        Raises CurvatureError for a Preconditioner of other parameters than a Hessian's, or in another order.
        """
        self.operator, self.scale, self.size = operator, scale, operator.size
        ours, theirs = (getattr(one, "parameters", None) for one in (operator, scale))
        if ours is not None and theirs is not None and list(map(id, ours)) != list(map(id, theirs)):
            raise CurvatureError(
                "curvature: the preconditioner is of other parameters than the Hessian, or has them in another order;"
                " give both the same, as in Preconditioner.of_optimizer(optimizer, parameters)"
            )

    def guess(self) -> Tensor:
        return self.scale(self.operator.guess())

    def __matmul__(self, vector: Tensor) -> Tensor:
        along = self.scale(vector)
        product = self.operator @ along
        add_decay: Callable[[Tensor, Tensor], None] | None = getattr(self.scale, "add_decay", None)
        if add_decay:
            add_decay(product, along)
        del along
        return self.scale(product)


def _precise(parameters: Sequence[Tensor]) -> torch.dtype:
    """Of vectors: at least fp32, since Lanczos in bf16 finds nothing."""
    return torch.promote_types(parameters[0].dtype, torch.float32)


@contextmanager
def _refusals() -> Iterator[None]:
    """Raises CurvatureError in place of torch's error where something has no second derivative."""
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in (REFUSAL, "derivative", "twice", "double backward")):
            raise
        raise _not_twice(str(error).splitlines()[0].partition(";")[0]) from None


def _not_twice(reason: str) -> CurvatureError:
    return CurvatureError(
        f"curvature: the loss cannot be differentiated twice ({reason});"
        " compute it within omni.model.twice.twice_differentiable()"
    )


def _loss_of(part: Callable[[], Tensor]) -> Tensor:
    """What a part computes, recorded. Raises CurvatureError for what has no curvature."""
    with torch.enable_grad(), twice_differentiable():
        loss = part()
    _check_loss(loss)
    return loss


def _check_loss(loss: object) -> None:
    """Raises CurvatureError for what has no curvature."""
    if not isinstance(loss, Tensor):
        raise CurvatureError(f"curvature: a loss of type {type(loss).__name__} has no gradient; return a tensor")
    if loss.numel() != 1:
        raise CurvatureError(f"curvature: a loss of shape {list(loss.shape)} is no number; use its mean")
    if not loss.requires_grad:
        raise CurvatureError("curvature: the loss does not depend on the parameters; is the model detached?")
    _check_finite(loss, "the loss")


def _check_recorded(gradient: Sequence[Tensor]) -> None:
    """Raises CurvatureError where something of the gradient has no derivative, which would count as constant.

    A gradient is linear in the one that it begins with, of which a record is kept: what does not lead there was not
    recorded, and torch marks what is `once_differentiable`.
    """
    if any(not one.requires_grad and bool(one.any()) for one in gradient):
        raise _not_twice("a gradient is not recorded")
    seen, waiting = set(), [one.grad_fn for one in gradient]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name() == ONCE:
            raise _not_twice("a function is marked as once_differentiable")
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]


def _check_finite(vector: Tensor, what: str) -> None:
    if not math.isfinite(float(vector.detach().sum())) and not bool(vector.isfinite().all()):  # the quicker first
        raise CurvatureError(
            f"curvature: {what} has numbers that are not finite: the run has diverged, bf16 overflows (use fp32),"
            " or the loss has no derivative here (a norm or a root at 0)"
        )
