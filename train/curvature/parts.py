"""The parts of a model apart: how sharply the loss bends in each, and how unevenly."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from omni.progress import progress
from omni.train.curvature.hessian import CurvatureError, FlatError, Hessian, Operator, Scaled
from omni.train.curvature.lanczos import Eigenpair, UnconvergedError, top_eigenvalue
from omni.train.curvature.running import preconditioner_of
from omni.train.curvature.spectrum import signs
from omni.train.data.loader import Loader, Share
from omni.train.engine import Trainer

TOLERANCE, MOST = 0.1, 10                                               # of a part's eigenvalue; products
HOLD = 2                                                                # of them, through which it must stand


@dataclass(frozen=True)
class PartOf:
    """How the optimizer finds the curvature of some parameters alone.

    ratio: largest eigenvalue over the stability threshold at the rate, or less by `error` at the most
    spread: largest eigenvalue over the root mean square of all of the part's, which is 1 where all directions are alike
    sure: whether the products sufficed
    """

    name: str
    ratio: float
    error: float
    spread: float
    sure: bool = True

    @property
    def converged(self) -> bool:
        """Whether the ratio is within the tolerance."""
        return self.sure and self.error <= TOLERANCE * abs(self.ratio)


def examine_parts(trainer: Trainer) -> list[PartOf]:
    """The sharpest first, on one row of the data, where some steps on one process have just ended.

    A part that nothing moves, or that the row does not use, is left out.
    """
    model = trainer.engine.module.model
    named = {name: one for name, one in model.named_parameters() if one.requires_grad}
    batch = Loader(trainer.data, trainer.stages.order, Share(1, 1), read=trainer.loader().read).batch(0)
    micro, found = batch.micro[0].to(trainer.device), []
    hessian = Hessian([lambda: model(micro).total / max(1, batch.trained)], list(named.values()))
    scale = preconditioner_of(trainer.recipe, trainer.engine, trainer.optimizer, trainer.gradient_norm)
    for name, span in progress(list(spans(list(named)).items()), "parts", unit="part"):
        try:
            found.append(PartOf(name, *_condition(Scaled(hessian.block(*span), scale.block(*span)))))
        except FlatError:                                               # no row of the batch uses it, or its rate is 0
            continue
        except CurvatureError as error:
            print(f"omni: {name} is left out: {error}", file=sys.stderr, flush=True)
    return sorted(found, key=lambda one: -one.ratio)


def spans(names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The parts of a model as numbers of its parameters, from and to: neighbours with the same name but for its end.

    `blocks.0.attention.qkv.weight` and `blocks.0.attention_norm.weight`, before it, belong to `blocks.0.attention`.
    """
    found: dict[str, tuple[int, int]] = {}
    for at, name in enumerate(names):
        words = name.split(".")[:-1]
        part = (".".join(words[: 3 if words[:1] == ["blocks"] else 1]) or name).removesuffix("_norm")
        found[part] = (found[part][0] if part in found else at, at + 1)
    return found


def _condition(part: Operator) -> tuple[float, float, float, bool]:
    """The largest eigenvalue, the bound on its error, how often it holds the root mean square of all, and whether the
    products sufficed for it."""
    try:
        top, sure = top_eigenvalue(part, TOLERANCE, MOST, hold=HOLD), True
    except UnconvergedError as error:
        top, sure = error.best, False
    return top.value, top.error, top.value / root_mean_square(part, top), sure


def root_mean_square(operator: Operator, top: Eigenpair, seed: int = 0) -> float:
    """Of all eigenvalues, from one product with a random vector.

    The part of the trace of the square that the known vector has is exact, and chance decides about the rest alone
    (Meyer et al. 2021): of that vector a random one has much or little.
    """
    chance = signs(operator, torch.Generator().manual_seed(seed))
    rest = chance - (top.vector @ chance) * top.vector
    known = top.value**2 + top.residual**2                              # |A v|^2
    return math.sqrt((known + float((operator @ rest).square().sum())) / operator.size)
