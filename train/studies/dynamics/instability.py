"""Loss curvature and training instability: what lets a high learning rate train (Gilmer et al. 2021)."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from omni.errors import InputError
from omni.train.curvature import CurvatureError, Hessian
from omni.train.studies.dynamics.descent import largest
from omni.train.studies.dynamics.plots import phases
from omni.train.studies.dynamics.problems import Problem
from omni.train.studies.dynamics.remedies import (
    REMEDIES,
    SHARED_SEEDS,
    WARMUP,
    at_highest,
    combinations,
    draw_paths,
    draw_together,
    highest,
    together,
)
from omni.train.studies.dynamics.residual import INITS, NORMS, residual
from omni.train.studies.harness.claims import Claim, Estimate, mean
from omni.train.studies.harness.study import Cell, Result, Results, Study, Table

PROTOCOL = """
Problem. A residual network of ReLU (4 branches of two layers, width 32) that tells the first 512 digits of scikit-learn
apart by cross-entropy, in fp32. Its weights begin with He's deviation, in the branches too, so that sums grow with
depth: badly (sharpness some 500 to 800). SGD without momentum, batches of 128, a constant rate. 400 steps (quick 200),
seeds 0-4 (quick 0-2), rates 0.01 to 2.56 in factors of two (quick: to 0.64 in factors of four).

Remedies, one at a time: none; warmup (linear over the first 100 steps); clipping of the gradient's norm at 0.3; layer
normalisation before a branch (pre-norm) or after the sum (post-norm); batch normalisation before a branch; and, from
the same bad weights, Fixup, MetaInit and GradInit (MetaInit 200 steps, GradInit 100, not counted).

All together. Every choice of a normalisation or none and an initialiser or none (4 by 4), with and without warmup, with
and without clipping: 64 combinations, at every other rate (quick: pre-norm and Fixup alone, 16), seeds 0-2. Curvature
is looked at in the runs with one remedy or none.

The scale of the problem was chosen by the sharpness at the start, and one run each of five settings, with seed 100.
Rates went to 0.64 at first; so many combinations trained there that they could not be told apart.

A run trains when the loss of all examples is below 0.1 at its end; below 0.5 in quick runs, which are shorter.
Sharpness: the largest eigenvalue of the Hessian of the loss of all examples (batch normalisation in training mode), by
Lanczos to 5 %, at the start, at step 10, 25, 50, at the end of the warmup (100) and at the end. A look that 200
products do not bring there keeps the value that they found, which is a lower bound, and a bound on its error; such
looks count like the others, and are counted. A run diverges when its loss passes 10^4 or is no number, or
when its initialiser does.

Highest rate: the largest of the grid at which a run of that seed trains; half the smallest where none does. Claims, as
means over seeds: log2 of the highest rate of each remedy over that of none is above 0; log2 of that of warmup over that
of every normalisation and initialiser is above -1, which is one step of the grid; at the highest rate at which warmup
trains, the log2 of the sharpness at the start over that at the end of the warmup is above log2 of 5 (as a log, since
the ratios of a first quick run lay two decades apart), and rate x sharpness at its end is below 2.4 (2, and a fifth for
batches). High rates without a remedy: taking for each remedy the highest rate at which it trains in a seed, the share
of these rates at which the run of that seed without warmup or any other remedy diverges is above 0.5; a remedy that
trains at no rate in a seed does not count there. Of all combinations, by the rates and seeds that they share: for each
remedy, the mean of log2 of the highest rate with it over that without it, all else equal, is above 0; that gain of
warmup where nothing else helps, less its mean where something does, is above 0, since remedies that work by the same
means need not add up.

The claim on high rates without a remedy was added after a first full run, which had shown the losses at these rates.
"""

SINGLE = ("none", *REMEDIES)
CLIP, BATCH = 0.3, 128
MARKS = (0, 10, 25, 50, WARMUP)
GONE = 1e4


def cells(quick: bool) -> list[Cell]:
    steps, seeds = (200, 3) if quick else (400, 5)
    rates = [0.01 * 2**power for power in (range(0, 7, 2) if quick else range(9))]
    common = {"steps": steps, "trained": 0.5 if quick else 0.1}
    alone = [
        Cell({"remedies": [] if remedy == "none" else [remedy], "lr": rate, **common}, seed)
        for remedy in reversed(SINGLE)
        for rate in rates
        for seed in range(seeds)
    ]
    together = [
        Cell({"remedies": list(chosen), "lr": rate, **common}, seed)
        for chosen in combinations(quick)
        if len(chosen) > 1
        for rate in (rates if quick else rates[::2])
        for seed in range(SHARED_SEEDS)
    ]
    return alone + together


def run(params: Mapping[str, Any], seed: int, shared: Path) -> Mapping[str, Any]:
    """loss: of all examples at the end, or None where it is gone; sharpness: by step, None where there is none, of runs
    with one remedy or none; unconverged: of the steps whose sharpness is a lower bound, the bound on its error"""
    remedies, steps = params["remedies"], params["steps"]
    seen: dict[str, dict[str, float | None]] = {"sharpness": {}, "unconverged": {}}
    marks = (*MARKS, steps) if len(remedies) < 2 else ()
    try:
        problem = residual(remedies, seed, params["lr"])
    except InputError:                                                  # the initialiser came to numbers that are none
        seen["sharpness"] |= {str(step): None for step in marks[:1]}
        return {"loss": None, **seen}
    optimizer = torch.optim.SGD(problem.parameters, lr=params["lr"])
    draw = torch.Generator().manual_seed(seed + 1)
    for step in range(steps):
        if step in marks:
            _look(problem, str(step), **seen)
        for group in optimizer.param_groups:
            group["lr"] = params["lr"] * (min(1.0, (step + 1) / WARMUP) if "warmup" in remedies else 1.0)
        optimizer.zero_grad()
        loss = problem.loss(torch.randperm(problem.count, generator=draw)[:BATCH])
        loss.backward()
        if not float(loss.detach()) < GONE:
            return {"loss": None, **seen}
        if "clipping" in remedies:
            torch.nn.utils.clip_grad_norm_(problem.parameters, CLIP)
        optimizer.step()
    if steps in marks:
        _look(problem, str(steps), **seen)
    end = float(problem.whole().detach())
    return {"loss": end if math.isfinite(end) else None, **seen}


def _look(
    problem: Problem, step: str, sharpness: dict[str, float | None], unconverged: dict[str, float | None]
) -> None:
    """Note the sharpness at a step, and how far it may be from the true one where the products did not suffice."""
    try:
        found, sure = largest(Hessian([problem.whole], problem.parameters), 0.05)
    except CurvatureError:                                              # not finite, or a network that is flat
        sharpness[step] = None
        return
    sharpness[step] = found.value
    if not sure:
        unconverged[step] = found.error


def judge(results: Results) -> list[Claim]:
    of = _alone(results)
    top = {remedy: highest(runs) for remedy, runs in of.items()}

    def gain(over: str, under: str) -> Estimate:
        return mean([math.log2(top[over][seed] / top[under][seed]) for seed in top[over]])

    claims = [
        Claim.above(f"{remedy} lets a higher rate train", "log2 of highest rates", gain(remedy, "none"), 0.0)
        for remedy in REMEDIES
    ]
    claims += [
        Claim.above(f"warmup allows as much as {remedy}", "log2 of highest rates", gain("warmup", remedy), -1.0)
        for remedy in (*NORMS, *INITS)
    ]
    lost = mean([statistics.fmean(hits) for hits in _lost_without(of).values()])
    words = "without a remedy, runs diverge at the highest rates at which one trains"
    claims.append(Claim.above(words, "share that diverges", lost, 0.5))
    warm = at_highest(of["warmup"])
    ends = [(one.values["sharpness"]["0"], one.values["sharpness"][str(WARMUP)], one.params["lr"]) for one in warm]
    known = [(first, last, rate) for first, last, rate in ends if first and last]
    falls = mean([math.log2(first / last) for first, last, _ in known])
    words = "the sharpness falls at least fivefold during warmup"
    claims.append(Claim.above(words, "log2 of start over end", falls, math.log2(5)))
    left = mean([rate * last for _, last, rate in known])
    claims.append(Claim.below("rate x sharpness is 2 or less when the warmup ends", "rate x sharpness", left, 2.4))
    return claims + together(results)


def _lost_without(of: Mapping[str, Sequence[Result]]) -> dict[int, list[bool]]:
    """By seed: at the highest rate at which each remedy trains, whether the run without any diverges."""
    bare = {(one.seed, one.params["lr"]): one.values["loss"] is None for one in of["none"]}
    found: dict[int, list[bool]] = {}
    for remedy in REMEDIES:
        for one in at_highest(of[remedy]):
            found.setdefault(one.seed, []).append(bare[one.seed, one.params["lr"]])
    return found


def _alone(results: Results) -> dict[str, list[Result]]:
    """The runs with one remedy or none, by its name."""
    return {
        remedy: [one for one in results if one.params["remedies"] == ([] if remedy == "none" else [remedy])]
        for remedy in SINGLE
    }


def plot(results: Results, folder: Path) -> Mapping[str, Path]:
    """Phase diagrams of stability: the median loss at the end by remedy and rate, and the highest rates of all
    combinations; and the way of the sharpness."""
    rates = sorted({one.params["lr"] for one in results})
    losses = [
        [
            statistics.median(
                GONE if one.values["loss"] is None else one.values["loss"] for one in runs if one.params["lr"] == rate
            )
            for rate in rates
        ]
        for runs in _alone(results).values()
    ]
    phases(SINGLE, [f"{rate:g}" for rate in rates], losses, "learning rate", folder / "phases.png")
    draw_together(results, folder / "together.png")
    draw_paths(_alone(results), folder / "paths.png")
    return {
        "Loss at the end by remedy and rate, median of the seeds; white: diverged": folder / "phases.png",
        "The highest rate that trains, geometric mean of the seeds, of every combination": folder / "together.png",
        "Sharpness early in training; dotted: 2/lr; crosses: the run diverges": folder / "paths.png",
    }


def tables(results: Results) -> dict[str, Table]:
    """How the sharpness goes early in training, at the highest rate that trains: medians of the seeds that do."""
    marks, of = [str(step) for step in (*MARKS, results[0].params["steps"])], _alone(results)
    without = "runs without it that diverge there"
    head = ["remedy", "seeds", "rate", without, *(f"step {step}" for step in marks), "looks unconverged"]
    rows: list[list[str]] = [head]
    lost = {(one.seed, one.params["lr"]) for one in of["none"] if one.values["loss"] is None}
    for remedy, runs in of.items():
        best = at_highest(runs)
        rates = [one.params["lr"] for one in best]
        there = sum((one.seed, one.params["lr"]) in lost for one in best)
        paths = [[one.values["sharpness"].get(mark) for one in best] for mark in marks]
        medians = [_median(values) for values in (rates, *paths)]
        rows.append([remedy, str(len(best)), medians[0], f"{there} of {len(best)}", *medians[1:], _unconverged(runs)])
    return {"Sharpness on the way, at the highest rate that trains": rows}


def _unconverged(runs: Sequence[Result]) -> str:
    """Of all looks of some runs; and the largest bound on what they miss, as a share."""
    missed = [
        bound / abs(one.values["sharpness"][step])
        for one in runs
        for step, bound in one.values.get("unconverged", {}).items()
    ]
    return f"{len(missed)}" + (f" (within {max(missed):.2g})" if missed else "")


def counts(results: Results) -> dict[str, tuple[int, int]]:
    looks = [value for one in results for value in one.values["sharpness"].values()]
    missed = sum(len(one.values.get("unconverged", {})) for one in results)
    nothing = looks.count(None)
    return {"unconverged looks": (missed, len(looks)), "looks that saw no curvature": (nothing, len(looks))}


def _median(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.3g}" if known else "–"


STUDY = Study(
    "Loss curvature and training instability",
    "Gilmer, Ghorbani, Garg, Kudugunta, Neyshabur, Cardoze, Dahl, Nado and Firat 2021",
    PROTOCOL,
    cells,
    run,
    judge,
    plot,
    tables=tables,
    counts=counts,
)
