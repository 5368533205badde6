"""Which mixture, and how large a model, reaches the losses that are wanted of several tasks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np

from omni.errors import InputError
from omni.train.scaling.fit import Fit, Interval, middle
from omni.train.scaling.fraction import Vector, betas_of, curved_betas

LARGEST = 1e15                                                          # parameters; beyond, no model is proposed
SLACK = 1e-9                                                            # of sums of weights
GRID = np.union1d(np.geomspace(1e-6, 1, 2000), np.linspace(1e-3, 1, 2000))  # weights; between them, interpolated
Ranges = list[Interval]                                                 # of weights, or of sums of weights, ascending


@dataclass(frozen=True)
class Plan:
    """size: parameters; weights: of the tasks, which add up to 1; losses: predicted of each."""

    size: float
    weights: dict[str, float]
    losses: dict[str, float]


@dataclass(frozen=True)
class Doubt:
    """What the draws of the bootstrap say of a plan, each with 95 %.

    reached: the share of the draws in which the losses can be reached, at the size that was asked for where one was
    size:    that is needed, LARGEST where no size does; None where one was asked for
    weights: of the plans of those draws that have one; losses: of the plan that was made
    """

    reached: float
    size: Interval | None
    weights: dict[str, Interval]
    losses: dict[str, Interval]


@dataclass(frozen=True)
class _Task:
    """A task's law and the loss that is wanted of it, ready to be asked often.

    measured: {weight: beta} as fitted; curved: log beta on the grid by the curve, None where too few were measured.
    """

    fitted: Fit
    target: float
    measured: dict[float, float]
    curved: Vector | None

    @classmethod
    def of(cls, fitted: Fit, target: float) -> "_Task":
        measured, shape = betas_of(fitted.parameters), fitted.fraction
        return cls(fitted, target, measured, shape and np.log(curved_betas(fitted.parameters, shape, GRID)))

    def enough(self, size: float) -> Ranges:
        """The weights with which the loss is at most the target at this size: between measured ones by the curve."""
        spare = self.target - self.fitted.parameters["L_inf"]
        most = math.log(spare) + self.fitted.parameters["alpha"] * math.log(size)  # of log beta
        alone = [(weight, weight) for weight, beta in self.measured.items() if math.log(beta) <= most]
        return _merged([*alone, *([] if self.curved is None else _below(self.curved, most))])


def plan(fits: Mapping[str, Fit], targets: Mapping[str, float], size: float | None = None) -> Plan:
    """The mixture with which a model of `size` reaches all targets; without a size, with the smallest model that can.

    Each task needs a weight at which its effective fraction is large enough at a size. Those need not go up to 1, as a
    fraction may be largest below it; a size is enough when weights that suffice add up to 1. Of several mixtures, that
    of least weights is taken, and what is left over is dealt out in proportion, as far as it does no harm. Each task's
    law is taken to depend on its own weight alone, which the paper shows for two tasks. Raises InputError when a target
    lies below a task's irreducible loss or cannot be reached at this size.
    """
    if not fits:
        raise InputError("fits: none; give that of one task or more, and a target for each")
    if set(fits) != set(targets):
        raise InputError(f"targets: name a loss for each of {', '.join(fits)}, and for no other")
    if size is not None and not (isinstance(size, Real) and 0 < size < math.inf):
        raise InputError(f"size {size!r}: must be a number of parameters above 0")
    for task, target in targets.items():
        floor = fits[task].parameters.get("L_inf")
        if fits[task].law != "multilingual" or floor is None:
            raise InputError(f"{task}: fitted by the law {fits[task].law}; a plan needs the law multilingual")
        if not (isinstance(target, Real) and math.isfinite(target)):
            raise InputError(f"{task}: a target of {target!r}; must be a loss in nats")
        if not target > floor:
            raise InputError(f"{task}: a loss of {target:g} is not above its irreducible one of {floor:.4g}")
    tasks = {task: _Task.of(fits[task], target) for task, target in targets.items()}
    chosen = _smallest(tasks) if size is None else size
    weights = _mixture([task.enough(chosen) for task in tasks.values()])
    if weights is None:
        needed = _smallest(tasks)
        raise InputError(f"size {chosen:g}: too small for these losses at once; {needed:.3g} parameters reach them")
    shares = dict(zip(tasks, weights, strict=True))
    losses = {task: _loss(fits[task], chosen, share) for task, share in shares.items()}
    return Plan(chosen, shares, losses)


def plan_intervals(
    fits: Mapping[str, Fit], targets: Mapping[str, float], made: Plan, size: float | None = None
) -> Doubt | None:
    """How sure a plan is, by the bootstrap draws of its fits; None where one has none. size: as `plan` was given it."""
    draws = min(len(fitted.draws) for fitted in fits.values())
    if not draws:
        return None
    plans, sizes = list[Plan](), list[float]()
    for number in range(draws):
        try:
            plans.append(plan({task: fitted.drawn[number] for task, fitted in fits.items()}, targets, size))
            sizes.append(plans[-1].size)
        except InputError:                                              # nothing reaches them if this draw is right
            sizes.append(LARGEST)
    weights = {task: middle([one.weights[task] for one in plans], made.weights[task]) for task in fits} if plans else {}
    losses = {
        task: middle([_loss(one, made.size, made.weights[task]) for one in fitted.drawn], made.losses[task])
        for task, fitted in fits.items()
    }
    return Doubt(len(plans) / draws, middle(sizes, made.size) if size is None else None, weights, losses)


def _loss(fitted: Fit, size: float, weight: float) -> float:
    return float(fitted.predict({"size": [size], "weight": [weight]})[0])


def _smallest(tasks: Mapping[str, _Task]) -> float:
    """The least size at which weights that suffice add up to 1. What suffices at a size does so at a larger one."""

    def short(size: float) -> bool:
        return _mixture([task.enough(size) for task in tasks.values()]) is None

    low, high = 1.0, LARGEST
    if short(high):
        alone = [name for name, task in tasks.items() if task.curved is None]
        why = f"; of {', '.join(alone)}, only the measured weights were tried, too few for a curve" if alone else ""
        raise InputError(f"no model of up to {LARGEST:.0e} parameters is predicted to reach these losses{why}")
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if short(middle) else (low, middle)
    return high


def _mixture(enough: list[Ranges]) -> list[float] | None:
    """A weight of each task's ranges, which add up to 1; None where there are none."""
    sums: list[Ranges] = [[(0.0, 0.0)]]                                 # that the first 0, 1, ... tasks can have
    for ranges in enough:
        both = [(low + a, high + b) for low, high in sums[-1] for a, b in ranges if low + a <= 1 + SLACK]
        sums.append(_merged(both))
    if not any(low - SLACK <= 1 <= high + SLACK for low, high in sums[-1]):
        return None
    left, weights = 1.0, list[float]()
    for ranges, before in zip(reversed(enough), reversed(sums[:-1]), strict=True):
        fitting = [
            (a + low, a, max(a, left - high), min(b, left - low)) for a, b in ranges for low, high in before
            if max(a, left - high) <= min(b, left - low) + 2 * SLACK
        ]  # fmt: skip
        least, own, lowest, highest = min(fitting)
        weight = min(max(own * left / least if least > 0 else left, lowest), highest)
        weights.append(weight)
        left -= weight
    return weights[::-1]


def _below(values: Vector, most: float) -> Ranges:
    """The weights at which values on the grid are at most `most`, interpolated in the weight's logarithm."""
    under = np.concatenate(([False], values <= most, [False]))
    starts, stops = np.flatnonzero(under[1:] & ~under[:-1]), np.flatnonzero(under[:-1] & ~under[1:]) - 1

    def end(inside: int, outside: int) -> float:
        if not 0 <= outside < len(GRID):
            return float(GRID[inside])
        part = (most - values[inside]) / (values[outside] - values[inside])
        return float(GRID[inside] * (GRID[outside] / GRID[inside]) ** part)

    both = zip(starts.tolist(), stops.tolist(), strict=True)
    return [(end(start, start - 1), end(stop, stop + 1)) for start, stop in both]


def _merged(ranges: Ranges) -> Ranges:
    """The union of ranges, ascending and apart."""
    found: Ranges = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return found
