"""What an optimizer makes of curvature: the Hessian as its steps feel it, measured against where they are stable.

The steps of an optimizer are -lr P^-1 m with some average m of gradients, whose bias P corrects. On a quadratic they
are stable while every eigenvalue of P^-1/2 H P^-1/2 lies below a threshold (Cohen et al. 2022). Here each parameter's
P^-1/2 is divided by the root of its own threshold, so that the largest eigenvalue of the result is the ratio to the
threshold itself, also where parameters have rates, decay or optimizers of their own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn, optim

from omni.train.curvature.hessian import CurvatureError
from omni.train.curvature.threshold import threshold
from omni.train.optimizers import COEFFICIENTS, ITERATIONS, Muon
from omni.train.state.fragments import optimizer_steps

State = Mapping[str, Any]                                               # of one parameter, whole
Root = Callable[[Tensor], Tensor]                                       # multiplies what has a parameter's shape

MOMENTS = ("exp_avg_sq", "square_avg", "row_var", "col_var", "variance", "momentum")  # kinds that a P is made of
KNOWN = (optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW, optim.Adafactor, Muon)
NO_STEP = "curvature: the optimizer has taken no step yet, so that nothing is preconditioned"
STEEPEST = COEFFICIENTS[0] ** ITERATIONS                                # most by which `orthogonal` raises a direction


@dataclass(frozen=True)
class Preconditioner:
    """roots: of each of the parameters, P^-1/2 / threshold^1/2 at its rate, 0 where that is 0
    threshold: of the first that moves, infinite where none does
    decays: weight decay of each that the optimizer adds to its gradient, as SGD, RMSprop and Adam do and AdamW does not
    """

    roots: Sequence[Root]
    parameters: Sequence[Tensor]
    threshold: float
    decays: Sequence[float]

    @torch.no_grad()
    def __call__(self, vector: Tensor) -> Tensor:
        """Scale a flat vector [size]."""
        found, sizes = torch.empty_like(vector), [parameter.numel() for parameter in self.parameters]
        pieces = zip(self.roots, found.split(sizes), vector.split(sizes), self.parameters, strict=True)
        for root, place, piece, parameter in pieces:
            place.copy_(root(piece.view_as(parameter)).reshape(-1))
        return found

    def add_decay(self, product: Tensor, vector: Tensor) -> None:
        """Add to the Hessian's product with a flat vector, both [size], that of the decay which gradients contain."""
        sizes = [parameter.numel() for parameter in self.parameters]
        for place, piece, decay in zip(product.split(sizes), vector.split(sizes), self.decays, strict=True):
            if decay:
                place.add_(piece, alpha=decay)

    def block(self, first: int, last: int) -> "Preconditioner":
        """That of parameters `first` to before `last`, as `Hessian.block`."""
        part = slice(first, last)
        return replace(self, roots=self.roots[part], parameters=self.parameters[part], decays=self.decays[part])

    @classmethod
    def of(
        cls, parameters: Sequence[Tensor], states: Sequence[State], groups: Sequence[State], kept: float = 1.0
    ) -> "Preconditioner":
        """states: of the optimizer for each parameter, gradient descent's where it has none of MOMENTS
        groups: the settings of each, with its rate now
        kept: of a gradient, what clipping leaves; a step follows the curvature by as much less

        Raises CurvatureError where no step has been taken yet.
        """
        limits = [_threshold(*each) / kept for each in zip(states, groups, strict=True)]
        roots = [_root(*each) for each in zip(parameters, states, groups, limits, strict=True)]
        moving = next(filter(math.isfinite, limits), math.inf)
        decays = [_added(*each) / kept for each in zip(states, groups, strict=True)]  # which clipping does not lessen
        return cls(roots, list(parameters), moving, decays)

    @classmethod
    def of_optimizer(
        cls, optimizer: optim.Optimizer, parameters: Sequence[Tensor] | None = None
    ) -> "Preconditioner":
        """Of torch's SGD, RMSprop, Adam, AdamW or Adafactor or, on one process, our Muon.

        parameters: those of the Hessian in its order, of which those that are not trained are passed over; the
        optimizer's, group by group, where none are given

        Raises CurvatureError for other optimizers, for parameters that are not the optimizer's and for those that it
        has not moved yet, but for SGD's.
        """
        if not isinstance(optimizer, KNOWN):
            names = ", ".join(kind.__name__ for kind in KNOWN)
            raise CurvatureError(f"curvature: what {type(optimizer).__name__} divides by is not known, only: {names}")
        groups = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
        wanted = [one for one in (groups if parameters is None else parameters) if one.requires_grad]
        if missing := [one for one in wanted if one not in groups]:
            raise CurvatureError(
                f"curvature: {len(missing)} of {len(wanted)} parameters are not the optimizer's, the first of shape"
                f" {list(missing[0].shape)}; look at the curvature of those that it trains"
            )
        states = [_state(optimizer, parameter) for parameter in wanted]
        if not isinstance(optimizer, optim.SGD) and not all(states):
            raise CurvatureError(NO_STEP)
        return cls.of(wanted, states, [groups[one] for one in wanted])


def _state(optimizer: optim.Optimizer, parameter: Tensor) -> State:
    """Empty where nothing is known yet."""
    state: State = optimizer.state.get(parameter, {})
    if not isinstance(optimizer, Muon):
        return state
    if "momentum" not in state:                                         # one that AdamW moves
        return optimizer.others.state.get(parameter, {})
    steps = optimizer_steps(optimizer)
    return {**state, "rows": optimizer.rows[cast(nn.Parameter, parameter)], "step": steps} if steps else {}


def _root(parameter: Tensor, state: State, group: State, limit: float) -> Root:
    """limit: the threshold, whose infinity makes a root that is zero"""
    limit = math.sqrt(limit)
    if "momentum" in state:
        return _muon(state["momentum"] / (1 - group["momentum"] ** state["step"]), state["rows"], limit)
    diagonal = _diagonal(parameter, state, group)
    if diagonal is None:
        return lambda piece: piece / limit
    factor = diagonal.rsqrt() / limit
    return lambda piece: factor * piece


def _diagonal(parameter: Tensor, state: State, group: State) -> Tensor | None:
    """P of a parameter, or None for 1."""
    if "exp_avg_sq" in state:                                           # Adam, with the bias of both moments corrected
        steps = float(state["step"])
        if steps < 1:
            raise CurvatureError(NO_STEP)
        second = state.get("max_exp_avg_sq", state["exp_avg_sq"])       # AMSGrad: the largest yet
        first, seconds = (1 - float(beta) ** steps for beta in group["betas"])
        return first * ((second / seconds).sqrt() + group["eps"])
    if "square_avg" in state:                                           # RMSProp, which does not correct it
        second = state["square_avg"]
        if "grad_avg" in state:                                         # centered
            second = (second - state["grad_avg"].square()).clamp(min=0)
        return second.sqrt() + group["eps"]
    if "row_var" in state or "variance" in state:
        return _adafactor(parameter, state, group["eps"])
    return None


def _adafactor(parameter: Tensor, state: State, eps: tuple[float | None, float]) -> Tensor:
    """Of Adafactor (Shazeer and Stern 2018, algorithms 4 and 5), whose steps grow with the parameter.

    Updates are taken to lie below the threshold at which it clips them.
    """
    least = eps[0] if eps[0] is not None else torch.finfo(parameter.dtype).eps
    second = state.get("variance")
    if second is None:
        row = state["row_var"]
        second = (row @ state["col_var"]) / row.mean(dim=-2, keepdim=True).clamp(min=least)
    size = max(eps[1], float(parameter.detach().norm()) / parameter.numel() ** 0.5)
    return second.clamp(min=least**2).sqrt() / size


def _muon(momentum: Tensor, rows: Sequence[int], limit: float) -> Root:
    """Of Muon, whose step is (M M^T)^-1/2 M: P = (M M^T)^1/2 for each of the matrices stacked in the momentum M.

    momentum: its bias corrected. The step, which knows no sizes, is the same without, but not P: the threshold is that
    of an average of gradients, of which M is a fraction early on. Directions that the Newton-Schulz iterations leave
    below one are raised by as much as these can.
    """
    parts = []
    for matrix in momentum.split(list(rows)):
        wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        squares, vectors = torch.linalg.eigh((wide @ wide.T).double())
        least = float(matrix.norm()) / STEEPEST or 1.0
        values = squares.clamp(min=0).sqrt().clamp(min=least)           # singular values of M
        step = 0.2 * max(matrix.shape) ** 0.5                           # as `orthogonal` scales its updates
        root = (vectors * (step / values).sqrt()) @ vectors.T / limit
        parts.append((root.to(matrix), matrix.shape[0] <= matrix.shape[1]))

    def multiply(piece: Tensor) -> Tensor:
        pieces = zip(parts, piece.split(list(rows)), strict=True)
        return torch.cat([root @ one if left else one @ root for (root, left), one in pieces])

    return multiply


def _added(state: State, group: State) -> float:
    """The weight decay that becomes part of the gradient: that of SGD, RMSprop and Adam, but not of their kin."""
    alone = any(kind in state for kind in ("momentum", "row_var", "variance"))  # Muon, Adafactor
    if alone or ("exp_avg_sq" in state and group.get("decoupled_weight_decay", True)):
        return 0.0
    return float(group.get("weight_decay", 0.0))


def _threshold(state: State, group: State) -> float:
    lr, decay = float(group["lr"]), float(group.get("weight_decay", 0.0))
    if "momentum" in state:
        return threshold(lr, group["momentum"], "nesterov-ema", decay)
    if "exp_avg_sq" in state:
        return threshold(lr, group["betas"][0], "ema", 0.0 if _added(state, group) else decay)
    if "row_var" in state or "variance" in state:
        return threshold(min(lr, float(state["step"]) ** -0.5), 0.0, "ema", decay)
    momentum = float(group.get("momentum", 0.0))
    if group.get("nesterov"):
        return threshold(lr, momentum, "nesterov")
    dampening = float(group.get("dampening", 0.0)) if momentum else 0.0  # torch has none without momentum
    return threshold(lr * (1 - dampening), momentum, "heavy-ball")
