"""Training with a look at the curvature every so many steps."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from omni.model.twice import twice_differentiable
from omni.train.curvature import (
    CurvatureError,
    Density,
    Eigenpair,
    Hessian,
    Operator,
    Preconditioner,
    Scaled,
    UnconvergedError,
    density,
    top_eigenvalue,
)
from omni.train.studies.dynamics.problems import Problem

TOLERANCE, MOST = 0.01, 200
GONE = 1e4                                                              # a loss that has diverged
COLUMNS = ("step", "loss", "sharpness", "preconditioned", "ratio", "sharpness_error", "ratio_error", "converged")

Schedule = Callable[[int], float]                                       # step -> share of the peak rate
KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda p, lr, b1, b2: torch.optim.Adam(p, lr=lr, betas=(b1, b2), eps=1e-8),
    "rmsprop": lambda p, lr, b1, b2: torch.optim.RMSprop(p, lr=lr, alpha=b2, eps=1e-8),
    "gd": lambda p, lr, b1, b2: torch.optim.SGD(p, lr=lr),
    "heavy-ball": lambda p, lr, b1, b2: torch.optim.SGD(p, lr=lr, momentum=b1),
}


def schedule(name: str, steps: int) -> Schedule:
    """constant, warmup (over the first fifth) or decay (linear to a tenth over the second half)."""
    if name == "warmup":
        return lambda step: min(1.0, (step + 1) / (steps / 5))
    if name == "decay":
        return lambda step: 1.0 - 0.9 * max(0.0, (step - steps / 2) / (steps / 2))
    return lambda step: 1.0


class Watch:
    """Sharpness and preconditioned sharpness of the loss of all examples; each look starts from the last one."""

    def __init__(self, whole: Problem) -> None:
        self.problem = whole
        self.last: dict[str, Tensor] = {}

    def look(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """sharpness, preconditioned, ratio to the threshold; bounds on the errors of sharpness and ratio; and whether
        both are within TOLERANCE. Raises CurvatureError where there is none."""
        with twice_differentiable():
            hessian = Hessian([self.problem.whole], self.problem.parameters)
            scale = Preconditioner.of_optimizer(optimizer)
            ratio, sure = self._top("ratio", Scaled(hessian, scale))
            sharpness, too = self._top("sharpness", hessian)
        return {
            "sharpness": sharpness.value,
            "preconditioned": ratio.value * scale.threshold,
            "ratio": ratio.value,
            "sharpness_error": sharpness.error,
            "ratio_error": ratio.error,
            "converged": sure and too,
        }

    def spectrum(self, optimizer: torch.optim.Optimizer) -> Density:
        """All eigenvalues of the Hessian as the optimizer feels it, as multiples of the threshold."""
        with twice_differentiable():
            hessian = Hessian([self.problem.whole], self.problem.parameters)
            return density(Scaled(hessian, Preconditioner.of_optimizer(optimizer)), samples=2, steps=40)

    def _top(self, name: str, operator: Operator) -> tuple[Eigenpair, bool]:
        found, sure = largest(operator, TOLERANCE, self.last.get(name))
        self.last[name] = found.vector
        return found, sure


def largest(operator: Operator, tolerance: float, start: Tensor | None = None) -> tuple[Eigenpair, bool]:
    """The largest eigenvalue and True; or as much of it as MOST products allow, with its bound, and False."""
    try:
        return top_eigenvalue(operator, tolerance, MOST, start), True
    except UnconvergedError as error:
        return error.best, False


def descend(whole: Problem, settings: Mapping[str, Any], seed: int, spectrum: bool = False) -> dict[str, Any]:
    """Columns step, loss and those of `Watch.look`, at every look; ended: why the run ended early, where the loss or
    its curvature is gone. Else, with `spectrum`, nodes and weights: of all eigenvalues at the end, as multiples of the
    threshold.

    settings: optimizer, lr, b1, b2, steps, batch (0: all examples), schedule, looks (how many)
    """
    optimizer = KINDS[settings["optimizer"]](whole.parameters, settings["lr"], settings["b1"], settings["b2"])
    steps, rate = settings["steps"], schedule(settings["schedule"], settings["steps"])
    draw, watch = torch.Generator().manual_seed(seed + 1), Watch(whole)
    every, order = max(1, steps // settings["looks"]), torch.empty(0, dtype=torch.long)
    columns: dict[str, Any] = {name: [] for name in COLUMNS} | {"ended": None}
    for step in range(steps):
        batch = torch.arange(whole.count)
        if settings["batch"]:
            if len(order) < settings["batch"]:
                order = torch.randperm(whole.count, generator=draw)
            batch, order = order[: settings["batch"]], order[settings["batch"] :]
        for group in optimizer.param_groups:
            group["lr"] = settings["lr"] * rate(step)
        optimizer.zero_grad()
        loss = whole.loss(batch)
        loss.backward()
        now = float(loss.detach())
        if not math.isfinite(now) or now > GONE:
            columns["ended"] = f"a loss of {now:.3g} at step {step + 1}"
            break
        optimizer.step()
        if (step + 1) % every == 0:
            try:
                seen = watch.look(optimizer)
            except CurvatureError as error:
                columns["ended"] = f"{error}, at step {step + 1}"
                break
            for name, value in {"step": step + 1, "loss": now, **seen}.items():
                columns[name].append(value)
    else:
        if spectrum:
            found = watch.spectrum(optimizer)
            columns |= {"nodes": found.nodes.tolist(), "weights": found.weights.tolist()}
    return columns
