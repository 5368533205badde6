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
    Hessian,
    Operator,
    Preconditioner,
    Scaled,
    density,
    top_eigenvalue,
)
from omni.train.studies.dynamics.problems import Problem

TOLERANCE, MOST = 0.01, 200
GONE = 1e4                                                              # a loss that has diverged

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
        """sharpness, preconditioned, ratio to the threshold. Raises CurvatureError where there is none."""
        with twice_differentiable():
            hessian = Hessian([self.problem.whole], self.problem.parameters)
            scale = Preconditioner.of_optimizer(optimizer)
            ratio = self._top("ratio", Scaled(hessian, scale))
            return {
                "sharpness": self._top("sharpness", hessian),
                "preconditioned": ratio * scale.threshold,
                "ratio": ratio,
            }

    def spectrum(self, optimizer: torch.optim.Optimizer) -> Density:
        """All eigenvalues of the Hessian as the optimizer feels it, as multiples of the threshold."""
        with twice_differentiable():
            hessian = Hessian([self.problem.whole], self.problem.parameters)
            return density(Scaled(hessian, Preconditioner.of_optimizer(optimizer)), samples=2, steps=40)

    def _top(self, name: str, operator: Operator) -> float:
        found = top_eigenvalue(operator, TOLERANCE, MOST, self.last.get(name))
        self.last[name] = found.vector
        return found.value


def descend(whole: Problem, settings: Mapping[str, Any], seed: int, spectrum: bool = False) -> dict[str, list[float]]:
    """Columns step, loss, sharpness, preconditioned, ratio, at every look; it ends where the loss is gone. Else, with
    `spectrum`, nodes and weights: of all eigenvalues at the end, as multiples of the threshold.

    settings: optimizer, lr, b1, b2, steps, batch (0: all examples), schedule, looks (how many)
    """
    optimizer = KINDS[settings["optimizer"]](whole.parameters, settings["lr"], settings["b1"], settings["b2"])
    steps, rate = settings["steps"], schedule(settings["schedule"], settings["steps"])
    draw, watch = torch.Generator().manual_seed(seed + 1), Watch(whole)
    every, order = max(1, steps // settings["looks"]), torch.empty(0, dtype=torch.long)
    columns: dict[str, list[float]] = {
        name: [] for name in ("step", "loss", "sharpness", "preconditioned", "ratio")
    }
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
            break
        optimizer.step()
        if (step + 1) % every == 0:
            try:
                seen = watch.look(optimizer)
            except CurvatureError:
                break
            for name, value in {"step": step + 1, "loss": now, **seen}.items():
                columns[name].append(value)
    else:
        if spectrum:
            found = watch.spectrum(optimizer)
            columns |= {"nodes": found.nodes.tolist(), "weights": found.weights.tolist()}
    return columns
