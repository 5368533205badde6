"""Which mixture, and how large a model, reaches the losses that are wanted of several tasks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from omni.errors import InputError
from omni.train.scaling.fit import Fit

LARGEST = 1e15                                                          # parameters; beyond, no model is proposed


@dataclass(frozen=True)
class Plan:
    """size: parameters; weights: of the tasks, which add up to 1; losses: predicted of each."""

    size: float
    weights: dict[str, float]
    losses: dict[str, float]


def plan(fits: Mapping[str, Fit], targets: Mapping[str, float], size: float | None = None) -> Plan:
    """The mixture with which a model of `size` reaches all targets; without a size, with the smallest model that can.

    A task's effective fraction grows with its weight, so each needs a least weight at a size, and a size is enough
    when these add up to 1 or less; what is left over is dealt out in proportion. Each task's law is taken to depend on
    its own weight alone, which the paper shows for two tasks. Raises InputError when a target lies below a task's
    irreducible loss or cannot be reached at this size.
    """
    if set(fits) != set(targets) or not fits:
        raise InputError(f"targets: name a loss for each of {', '.join(fits) or 'one task or more'}, and for no other")
    for task, target in targets.items():
        floor = fits[task].parameters.get("L_inf")
        if fits[task].law != "multilingual" or floor is None:
            raise InputError(f"{task}: fitted by the law {fits[task].law}; a plan needs the law multilingual")
        if not target > floor:
            raise InputError(f"{task}: a loss of {target:g} is not above its irreducible one of {floor:.4g}")
    chosen = _smallest(fits, targets) if size is None else size
    least = {task: _least_weight(fits[task], target, chosen) for task, target in targets.items()}
    total = sum(least.values())
    if total > 1 + 1e-9:
        needed = _smallest(fits, targets)
        raise InputError(f"size {chosen:g}: too small for these losses at once; {needed:.3g} parameters reach them")
    weights = {task: weight / total for task, weight in least.items()}
    losses = {
        task: float(fits[task].predict({"size": [chosen], "weight": [weight]})[0]) for task, weight in weights.items()
    }
    return Plan(chosen, weights, losses)


def _least_weight(fitted: Fit, target: float, size: float) -> float:
    """The least weight with which the task's loss is at most `target` at this size; 2, which cannot be, if none is."""

    def short(weight: float) -> bool:
        return float(fitted.predict({"size": [size], "weight": [weight]})[0]) > target

    if short(1.0):
        return 2.0
    low, high = 1e-6, 1.0
    for _ in range(30):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if short(middle) else (low, middle)
    return high


def _smallest(fits: Mapping[str, Fit], targets: Mapping[str, float]) -> float:
    """The least size at which the least weights add up to 1 or less."""

    def short(size: float) -> bool:
        return sum(_least_weight(fits[task], target, size) for task, target in targets.items()) > 1

    low, high = 1.0, LARGEST
    if short(high):
        raise InputError(f"no model of up to {LARGEST:.0e} parameters is predicted to reach these losses")
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if short(middle) else (low, middle)
    return high
