"""Do multi-task optimizers help? Their losses beside the front of plain weighted sums (Xin et al. 2022)."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni.train.multitask import method
from omni.train.studies.dynamics.plots import front
from omni.train.studies.harness.claims import Claim, Estimate, mean
from omni.train.studies.harness.study import Cell, Result, Results, Study, Table

PROTOCOL = """
Problem. Two handwritten digits of scikit-learn, overlapping in a picture of 8 x 12 pixels (the larger value of either
counts), as in MultiMNIST; the tasks are to name the left and the right one. Train, validation and test digits are
different ones (1,000, 300 and 497); pictures pair them at random, 1,000, 500 and 1,000 of them. A shared network of two
hidden layers of 48 (ReLU) and a linear head a task, cross-entropy, Adam, batches of 100, 400 steps (quick 200),
validation every 20 steps; what is reported is the test loss at the step with the best validation sum (early stopping).

Front. Weighted sums with weights (w, 1 - w), w in 0.1, 0.25, 0.5, 0.75, 0.9. Methods: MGDA, PCGrad, GradNorm, IMTL-G,
IMTL-L, random weights (normal, Dirichlet), GradDrop, GradVac, uncertainty, CAGrad, Nash-MTL (quick: without the last
two, which call a solver in every step); products of gradients over the shared parameters, GradNorm's norms over the
second hidden layer. All at rates 0.0003, 0.001, 0.003, 0.01 (quick: the first three), the one with the best mean
validation sum over seeds being taken for each method and weight. Seeds 0-4 (quick 0-2) draw pictures, weights and
batches.

Gain of a method over the front: the largest, over directions u = (a, 1 - a), of the front's least u . loss less the
method's, where loss is the mean over seeds; it is above 0 where the method lies below the convex front. Measured in
seed deviations: over the median, over the front's weights, of the deviation between seeds of (loss_1 + loss_2)/2.

Claims. For each method the gain is below 2 seed deviations (interval: Student's t on the jackknife's pseudo-values of
the seeds). A sparse grid misleads: at w = 0.5, the spread of the mean test loss over the rates, largest less smallest,
over the seed deviation at the best rate, is above 2. Early stopping matters: at w = 0.5 and the largest rate, the log
of the test loss at the end over that at the best validation is above 0.
"""

WEIGHTS = (0.1, 0.25, 0.5, 0.75, 0.9)
RATES = (0.0003, 0.001, 0.003, 0.01)
QUICK = (
    "mgda", "pcgrad", "gradnorm", "imtl-g", "imtl-l", "rlw-normal", "rlw-dirichlet", "graddrop", "gradvac",
    "uncertainty",
)  # fmt: skip
SOLVED = ("cagrad", "nash-mtl")                                         # by a solver in every step, in full runs alone
SPLITS = {"train": (0, 1000, 1000), "valid": (1000, 1300, 500), "test": (1300, 1797, 1000)}  # digits from, to; pictures
WIDTH, BATCH, EVERY = 48, 100, 20
Batch = TypeVar("Batch")


def cells(quick: bool) -> list[Cell]:
    steps, seeds, rates = (200, 3, RATES[:3]) if quick else (400, 5, RATES)
    names = QUICK if quick else QUICK + SOLVED
    ways: list[dict[str, Any]] = [{"method": name, "weight": None} for name in names]
    ways += [{"method": "scalarization", "weight": weight} for weight in WEIGHTS]
    return [Cell({**way, "lr": lr, "steps": steps}, seed) for way in ways for lr in rates for seed in range(seeds)]


def pictures(split: str, seed: int) -> tuple[Tensor, Tensor]:
    """Overlapping digits: pixels [pictures, 96] and their classes [pictures, 2]."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    first, last, count = SPLITS[split]
    draw = torch.Generator().manual_seed(1000 * seed + first)
    pairs = torch.randint(first, last, (count, 2), generator=draw)
    tiles = torch.from_numpy(images).float().view(-1, 8, 8)
    left, right = F.pad(tiles[pairs[:, 0]], (0, 4)), F.pad(tiles[pairs[:, 1]], (4, 0))  # [pictures, 8, 12]
    pixels = torch.maximum(left, right).flatten(1) / 8 - 1
    return pixels, torch.from_numpy(classes).long()[pairs]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(96, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(WIDTH, 10) for _ in range(2))

    def losses(self, pixels: Tensor, classes: Tensor) -> list[Tensor]:
        features = self.trunk(pixels)
        return [F.cross_entropy(head(features), y) for head, y in zip(self.heads, classes.T, strict=True)]


def run(params: Mapping[str, Any], seed: int, shared: Path) -> Mapping[str, Any]:
    """As `stopped_early` has it."""
    torch.manual_seed(seed)
    data, network = {split: pictures(split, seed) for split in SPLITS}, Network()
    weights = None if params["weight"] is None else [params["weight"], 1 - params["weight"]]
    combine = method(params["method"], 2, weights, seed=seed)
    learnt = getattr(combine, "parameters", [])
    optimizer = torch.optim.Adam([*network.parameters(), *learnt], lr=params["lr"])
    trunk, heads = list(network.trunk.parameters()), list(network.heads.parameters())
    pixels, classes = data["train"]

    def step(_: int, batch: Tensor) -> None:
        optimizer.zero_grad()
        combine.backward(network.losses(pixels[batch], classes[batch]), trunk, heads)
        optimizer.step()

    draw = partial(torch.randint, len(pixels), (BATCH,))
    return stopped_early(params["steps"], EVERY, draw, step, lambda split: _losses(network, data[split]))


def stopped_early(
    steps: int,
    every: int,
    draw: Callable[[], Batch],
    step: Callable[[int, Batch], None],
    losses: Callable[[str], list[float]],
) -> dict[str, Any]:
    """Train, and look at both tasks' validation losses every so many steps.

    Returns valid, the least sum of these; test, both test losses there; end, both at the end; per_second, steps a
    second of processor time, batches drawn beforehand. losses: on "valid" or "test"
    """
    import time

    best, test, spent = math.inf, [math.nan, math.nan], 0.0
    for at in range(steps):
        batch = draw()
        began = time.process_time()
        step(at, batch)
        spent += time.process_time() - began
        if (at + 1) % every == 0 and (found := sum(losses("valid"))) < best:
            best, test = found, losses("test")
    valid = best if math.isfinite(best) else None
    return {"valid": valid, "test": test, "end": losses("test"), "per_second": steps / spent}


def _losses(network: Network, data: tuple[Tensor, Tensor]) -> list[float]:
    with torch.no_grad():
        return [float(loss) for loss in network.losses(*data)]


def chosen(results: Results) -> dict[tuple[str, float | None], list[Result]]:
    """Runs of every method and weight at its best rate, by seed."""
    ways: dict[tuple[str, float | None], dict[float, list[Result]]] = {}
    for one in results:
        ways.setdefault((one.params["method"], one.params["weight"]), {}).setdefault(one.params["lr"], []).append(one)

    def valid(runs: Sequence[Result]) -> float:
        return statistics.fmean(math.inf if one.values["valid"] is None else one.values["valid"] for one in runs)

    return {way: min(by_rate.values(), key=valid) for way, by_rate in ways.items()}


Losses = list[list[float]]                                              # of each seed, both tasks


def gain(front_of: Sequence[Losses], losses: Losses, seeds: Sequence[int]) -> float:
    """How far below the convex front of weighted sums a method lies, as the protocol has it, over some seeds."""
    points = [[statistics.fmean(one[seed][task] for seed in seeds) for task in (0, 1)] for one in front_of]
    mine = [statistics.fmean(losses[seed][task] for seed in seeds) for task in (0, 1)]
    shares = [at / 50 for at in range(51)]
    return max(min(a * x + (1 - a) * y for x, y in points) - a * mine[0] - (1 - a) * mine[1] for a in shares)


def estimate(statistic: Callable[[Sequence[int]], float], count: int, unit: float) -> Estimate:
    """A statistic of some seeds over all `count`, in units, with Student's interval from the jackknife's pseudo-values
    (Tukey 1958). The unit counts as known.

    Seeds drawn again from the same three or five, a bootstrap, spread too little: its interval is too narrow.
    """
    seeds = range(count)
    whole = statistic(seeds)
    without = [statistic([one for one in seeds if one != left_out]) for left_out in seeds]
    found = mean([(count * whole - (count - 1) * one) / unit for one in without])
    half = (found.high - found.low) / 2
    return Estimate(whole / unit, whole / unit - half, whole / unit + half, count)


def spread(by_rate: Sequence[Sequence[float]], seeds: Sequence[int]) -> float:
    """The largest less the smallest, over rates, of the mean loss of some seeds. by_rate: of each rate, by seed"""
    means = [statistics.fmean(losses[seed] for seed in seeds) for losses in by_rate]
    return max(means) - min(means)


def judge(results: Results) -> list[Claim]:
    best = chosen(results)
    fronts, deviation = _fronts(best)
    count, claims = len(fronts[0]), []
    for name in _methods(results):
        found = estimate(partial(gain, fronts, _tests(best[(name, None)])), count, deviation)
        claims.append(Claim.below(f"{name} does not beat weighted sums", "gain in seed deviations", found, 2.0))
    even = [one for one in results if one.params["weight"] == 0.5]
    rates = sorted({one.params["lr"] for one in even})
    by_rate = [[sum(one.values["test"]) / 2 for one in even if one.params["lr"] == rate] for rate in rates]
    there = statistics.stdev(sum(one.values["test"]) / 2 for one in best[("scalarization", 0.5)])
    apart = estimate(partial(spread, by_rate), count, there)
    words = "the learning rate matters more than the seed"
    claims.append(Claim.above(words, "spread in deviations at the best rate", apart, 2.0))
    late = [one for one in even if one.params["lr"] == rates[-1]]
    logs = [math.log(sum(one.values["end"]) / sum(one.values["test"])) for one in late]
    claims.append(Claim.above("stopping on validation matters", "log of end over best", mean(logs), 0.0))
    return claims


def _tests(runs: Sequence[Result]) -> Losses:
    return [list(one.values["test"]) for one in runs]


def _fronts(best: Mapping[tuple[str, float | None], Sequence[Result]]) -> tuple[list[Losses], float]:
    """Of every weighted sum the losses, and the seed deviation."""
    fronts = [_tests(runs) for (_, weight), runs in best.items() if weight is not None]
    return fronts, statistics.median(statistics.stdev(sum(losses) / 2 for losses in one) for one in fronts)


def _methods(results: Results) -> list[str]:
    """All but the weighted sums."""
    return list(dict.fromkeys(one.params["method"] for one in results if one.params["weight"] is None))


def plot(
    results: Results, folder: Path, sides: tuple[str, str] = ("the left digit", "the right digit")
) -> Mapping[str, Path]:
    """Test losses of both tasks: the weighted sums, their front and the methods, with 95 % intervals over seeds."""
    best = chosen(results)

    def of(way: tuple[str, float | None]) -> tuple[tuple[float, float], tuple[float, float]]:
        x, y = (mean(task) for task in zip(*(one.values["test"] for one in best[way]), strict=True))
        return (x.value, y.value), (x.high - x.value, y.high - y.value)

    sums = {f"{way[1]:g}": of(way) for way in best if way[1] is not None}
    names = f"test loss of {sides[0]}", f"test loss of {sides[1]}"
    front(sums, {name: of((name, None)) for name in _methods(results)}, names, folder / "front.png")
    return {"Both tasks' test losses, each method at its best rate; by the sums their w": folder / "front.png"}


def tables(results: Results) -> dict[str, Table]:
    """What each way costs, and what weighted sums seem to be worth where they are tried at one rate."""
    return {"Cost of a step": _costs(results), "Weighted sums at one rate, methods at their best": _sparse(results)}


def _costs(results: Results) -> Table:
    """Optimizer steps a second of processor time, on one thread, the median of a way's runs."""
    rates: dict[str, list[float]] = {}
    for one in results:
        rates.setdefault(one.params["method"], []).append(one.values["per_second"])
    medians = {name: statistics.median(found) for name, found in rates.items()}
    plain = medians["scalarization"]
    ordered = sorted(medians.items(), key=lambda pair: -pair[1])
    rows = [(name, f"{rate:.0f}", f"{plain / rate:.2f}") for name, rate in ordered]
    return [("method", "steps per second", "time against weighted sums"), *rows]


def _sparse(results: Results) -> Table:
    """How many methods would have seemed to beat the sums, had their grid had one rate."""
    best = chosen(results)
    deviation, names = _fronts(best)[1], _methods(results)
    rows: list[Sequence[str]] = [("rate of the sums", "methods above 2 seed deviations", "least gain", "largest")]
    for rate in sorted({one.params["lr"] for one in results}):
        there = chosen([one for one in results if one.params["lr"] == rate and one.params["weight"] is not None])
        fronts = _fronts(there)[0]
        found = [gain(fronts, _tests(best[name, None]), range(len(fronts[0]))) / deviation for name in names]
        above = sum(one > 2 for one in found)
        rows.append((f"{rate:g}", f"{above} of {len(found)}", f"{min(found):.2g}", f"{max(found):.2g}"))
    return rows


STUDY = Study(
    "Do multi-task optimizers help?",
    "Xin, Ghorbani, Gilmer, Garg and Firat 2022",
    PROTOCOL,
    cells,
    run,
    judge,
    plot,
    tables=tables,
)
