"""The adaptive edge of stability: where full-batch training settles, and what moves it (Cohen et al. 2022)."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omni.train.monitor.curves import Curve, grid
from omni.train.studies.dynamics.descent import descend
from omni.train.studies.dynamics.plots import spectra
from omni.train.studies.dynamics.problems import problem
from omni.train.studies.harness.claims import Claim, Estimate, mean
from omni.train.studies.harness.study import Cell, Result, Results, Study

PROTOCOL = """
Problems. mlp: 64-64-32-10, tanh, mean squared error on the first 512 digits of scikit-learn; cnn: two convolutions on
the same; omni: a two-layer omni Transformer of 5,744 parameters that learns 16 rows of 16 random tokens by heart, with
the cross-entropy of training. All in fp32, all 512 examples (16 rows) a step unless a batch is named.

Settings. Adam with b1 0.9, b2 0.99, constant rate 0.001 unless said otherwise. 2,000 steps (cnn and omni 1,500; quick
1,000 and 600); the curvature of the loss of all examples is looked at 60 times (quick 30), by Lanczos to 1 %. Seeds 0-4
(quick 0-2) draw weights and batches. Rates of gradient descent (0.5), heavy ball (0.75 at b1 0.5) and RMSProp (0.0001)
were chosen so that a pilot with seed 100 would come to its threshold in time; nothing else was tried, but for the heavy
ball at b1 0.9: at rates of 1.0, 1.2 and 1.4 it learns everything before it comes to its threshold, and at 2.0 and 3.0
it diverges at once. The run of seed 0 of each setting ends with all eigenvalues, by stochastic Lanczos quadrature (two
draws, 40 products).

Ratio: largest eigenvalue of P^-1/2 H P^-1/2 over the threshold, (2 + 2 b1)/((1 - b1) lr) for Adam, 2/lr for RMSProp and
gradient descent, 2 (1 + b1)/lr for the heavy ball. Late: median over the last third of the looks. A cross-entropy
flattens once its rows are learnt by heart; for omni, late is the median from the first look at or above 0.9 until the
loss falls below 0.1; over the last third where it never reaches 0.9.

Claims. Late ratio in 0.9 to 1.1, mean over seeds, for each setting. Batches: the mean over seeds of the log of late
ratio full over 256, and of 256 over 32, above 0. Slow b2: the log of late ratio of b2 0.99 over 0.999 above 0. Rising
curvature: the log of late raw sharpness over that of the first look with a ratio of 0.9, above 0 for Adam, and within
-0.1 to 0.1 for gradient descent. Warmup over the first fifth: late ratio in 0.9 to 1.1 all the same. Decay to a tenth
over the second half: the log of late preconditioned sharpness over that in the middle of the run above 0.
"""

BASE = {"problem": "mlp", "optimizer": "adam", "lr": 0.001, "b1": 0.9, "b2": 0.99, "batch": 0, "schedule": "constant"}
SETTINGS: dict[str, dict[str, Any]] = {
    "adam": {},
    "adam, lr 0.003": {"lr": 0.003},
    "adam, b1 0.5": {"b1": 0.5},
    "gradient descent": {"optimizer": "gd", "lr": 0.5, "b1": 0.0},
    "heavy ball": {"optimizer": "heavy-ball", "lr": 0.75, "b1": 0.5},
    "rmsprop": {"optimizer": "rmsprop", "lr": 0.0001, "b1": 0.0},
    "batch 256": {"batch": 256},
    "batch 32": {"batch": 32},
    "b2 0.999": {"b2": 0.999},
    "warmup": {"schedule": "warmup"},
    "decay": {"schedule": "decay"},
    "cnn": {"problem": "cnn"},
    "omni": {"problem": "omni"},
}
SETTLES = (
    *("adam", "adam, lr 0.003", "adam, b1 0.5", "rmsprop", "gradient descent", "heavy ball"),
    *("cnn", "omni", "warmup"),
)
REACHED, LEARNT = 0.9, 0.1


def cells(quick: bool) -> list[Cell]:
    long, short, looks, seeds = (1000, 600, 30, 3) if quick else (2000, 1500, 60, 5)
    found = []
    for name, changes in reversed(SETTINGS.items()):                    # the long ones first
        settings = {**BASE, **changes, "setting": name, "looks": looks}
        settings["steps"] = long if settings["problem"] == "mlp" else short
        found += [Cell(settings, seed) for seed in range(seeds)]
    return found


def run(params: Mapping[str, Any], seed: int, shared: Path) -> Mapping[str, Any]:
    return descend(problem(params["problem"], seed), params, seed, spectrum=seed == 0)


def late(result: Result, key: str = "ratio") -> float:
    """The median at the end of a run, as the protocol has it; no number for one that ended early."""
    columns = result.values
    if len(columns["step"]) < result.params["looks"]:
        return math.nan
    first = _first(result)
    if result.params["problem"] == "omni" and first < len(columns["step"]):
        learnt = next((at for at, loss in enumerate(columns["loss"]) if at > first and loss < LEARNT), None)
        values = columns[key][first:learnt]
    else:
        values = columns[key][-len(columns[key]) // 3 :]
    return statistics.median(values) if values else math.nan


def _first(result: Result) -> int:
    """The first look at the threshold."""
    ratios = result.values["ratio"]
    return next((at for at, ratio in enumerate(ratios) if ratio >= REACHED), len(ratios))


def judge(results: Results) -> list[Claim]:
    of = {name: [one for one in results if one.params["setting"] == name] for name in SETTINGS}
    claims = [
        Claim.within(f"{name} settles at its threshold", "late ratio", mean([late(one) for one in of[name]]), 0.9, 1.1)
        for name in SETTLES
    ]
    for above, below in (("adam", "batch 256"), ("batch 256", "batch 32"), ("adam", "b2 0.999")):
        words = f"{above if above != 'adam' else 'adam on all examples'} runs nearer to it than {below}"
        claims.append(Claim.above(words, "log ratio of late ratios", _logs(of[above], of[below]), 0.0))
    rising = {name: mean([_rise(one) for one in of[name]]) for name in ("adam", "gradient descent")}
    words = "the raw sharpness {} while {} stays at its threshold"
    claims.append(Claim.above(words.format("rises", "adam"), "log of late over first", rising["adam"], 0.0))
    still = rising["gradient descent"]
    claims.append(
        Claim.within(words.format("does not rise", "gradient descent"), "log of late over first", still, -0.1, 0.1)
    )
    follows = mean([_against_middle(one) for one in of["decay"]])
    claims.append(Claim.above("a falling rate lets the curvature rise", "log of late over middle", follows, 0.0))
    return claims


def _logs(above: Sequence[Result], below: Sequence[Result]) -> Estimate:
    pairs = zip(above, below, strict=True)
    return mean([math.log(late(one) / late(other)) for one, other in pairs])


def _rise(result: Result) -> float:
    first, sharpness = _first(result), result.values["sharpness"]
    return math.log(late(result, "sharpness") / sharpness[first]) if first < len(sharpness) else math.nan


def _against_middle(result: Result) -> float:
    values = result.values["preconditioned"]
    return math.log(late(result, "preconditioned") / values[len(values) // 2])


def plot(results: Results, folder: Path) -> Mapping[str, Path]:
    """Ratios by step with the threshold, as in the paper's figures; and sharpness, raw and preconditioned."""
    ordered = sorted(results, key=lambda one: -one.seed)                # seed 0 above the others
    seen = {one.params["setting"]: one for one in results if one.seed == 0}

    def curves(names: Sequence[str], key: str = "ratio") -> list[Curve]:
        runs = [one for one in ordered if one.params["setting"] in names]
        points = [list(zip(one.values["step"], one.values[key], strict=True)) for one in runs]
        pairs = zip(runs, points, strict=True)
        return [Curve(one.params["setting"], drawn, faint=one.seed > 0) for one, drawn in pairs]

    line = Curve("threshold", [(0, 1.0), (max(one.params["steps"] for one in results), 1.0)], faint=True)
    optimizers = ("gradient descent", "heavy ball", "rmsprop")
    panels = {
        "Adam: ratio to the threshold": [*curves(("adam", "adam, lr 0.003", "adam, b1 0.5")), line],
        "other optimizers": [*curves(optimizers), line],
        "batches, b2, schedule": [*curves(("batch 256", "batch 32", "b2 0.999", "warmup", "decay")), line],
        "other models": [*curves(("cnn", "omni")), line],
        "preconditioned sharpness": curves(("warmup", "decay"), "preconditioned"),
        "sharpness": curves(("adam", "gradient descent"), "sharpness"),
    }
    grid(panels, folder / "edge.png")
    ended = {name: one.values for name, one in seen.items() if name in SETTLES and "nodes" in one.values}
    spectra({name: (run["nodes"], run["weights"]) for name, run in ended.items()}, folder / "spectra.png")
    return {
        "The ratio of preconditioned sharpness to the threshold by step; seed 0, the others faint": folder / "edge.png",
        "Eigenvalues of the preconditioned Hessian at the end, seed 0": folder / "spectra.png",
    }


STUDY = Study(
    "The adaptive edge of stability",
    "Cohen, Ghorbani, Krishnan, Agarwal, Medapati, Badura, Suo, Cardoze, Nado, Dahl and Gilmer 2022",
    PROTOCOL,
    cells,
    run,
    judge,
    plot,
)
