"""Is pretraining on the high-resource task, before a joint mixture, better than any fixed mixture?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from omni.train.data.order import BLOCK, quotas
from omni.train.fleet.model import Shape
from omni.train.fleet.pairs import Corpus, Pairs, build_corpus, direction
from omni.train.fleet.trainer import Member, Phase, Trained, train_fleet
from omni.train.studies.harness.claims import Claim, Estimate, mean
from omni.train.studies.harness.plots import MARKS, panels
from omni.train.studies.harness.study import Cell, Results, Study, Table

PROTOCOL = """
Data. English into French with all training lines of up to 12 tokens (high), English into Icelandic with 400 of them
(low); byte-level BPE of 512 pieces. Of the held-out lines, those of even number choose the checkpoint, the others are
reported.

Models. Prefix language models of two layers, d_model 32, target loss only; Adam, 60 steps of warmup, then 1/sqrt(step),
peak learning rate 3e-3; 1500 steps of 16 pairs and 5 seeds. Quick: 600 steps, 3 seeds, half of the pretraining grid.

Runs. All have the same total steps.
Static: the low task's share q in 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, and those of temperature sampling with T = 5 and of
UniMax with at most 8 epochs, to a hundredth, as they follow from the corpus and the budget of steps times 16 pairs
(0.34 and, with 1500 steps, 0.13; quick 0.33).
Pretrained: a share r of 0.5 or 0.8 of the steps on the high task alone, then a mixture with q in 0.05, 0.1, 0.2, 0.4;
learning rate and optimizer begin anew at the switch (Choi et al. 2023).
Restart: the same restarts, with the mixture q from the beginning.
Static again: one more static run for each of the pretrained ones, with its q.
The first weights and the batches of a pretrained, a restart and a static-again run of the same r and q follow from one
seed; each r has another one than the other r and than the static runs.
Each run's checkpoint is that of the least sum of validation losses among those after 0.6, 0.7, 0.8, 0.9 and all steps.

Statistics. In each seed, the area that a front of (high loss, low loss) dominates, up to the worst losses of all runs
of the seed, in nats squared. More runs of any kind add area, so runs are compared with as many: the gain of a kind is
the area of static and its runs together, less that of static and static-again runs together. It is as often below 0 as
above where the kind is drawn as static runs are.

Claims, with Student's 95 % interval over seeds.
1. The gain of the pretrained runs is above 0 (and the number of seeds in which it is).
2. Restarts explain less than half of it: the gain of the restart runs, or 0 where they lose, less half of that of the
pretrained lies below 0. Where the pretrained runs gain nothing, it does not.
3. Pretraining regularises: at the same q and seed, the low task's training loss at the end is higher than that of the
static-again run (mean over q and r).
4. And its held-out loss is lower (the same mean lies below 0).
"""
TASKS = ("en-fr", "en-is")
STATIC = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
TEMPERATURE, EPOCHS, BATCH = 5, 8, 16
JOINT = (0.05, 0.1, 0.2, 0.4)
LOW_PAIRS = 400
KINDS = ("static", "static again", "pretrained", "restart")
Front = Sequence[tuple[float, float]]


def cells(quick: bool) -> list[Cell]:
    """A fleet of all runs a cell."""
    fractions = [0.8] if quick else [0.5, 0.8]
    params = {"steps": 600 if quick else 1500, "fractions": fractions}
    return [Cell(params, seed) for seed in range(3 if quick else 5)]


def prepare(data: Path, shared: Path, quick: bool) -> None:
    build_corpus(data, [direction("en-fr"), direction("en-is", LOW_PAIRS)]).save(shared / "corpus")


def run(params: Mapping[str, Any], seed: int, shared: Path) -> dict[str, Any]:
    """One row a run: how it was trained, and its losses at the chosen checkpoint."""
    corpus, steps = _halved(Corpus.load(shared / "corpus")), params["steps"]
    static = static_shares({task: len(corpus.train[task]) for task in TASKS}, steps * BATCH)
    ways, members = zip(*planned(static, steps, params["fractions"], seed), strict=True)
    shape = Shape(corpus.vocab, corpus.length, 32, 2, 128)
    done = train_fleet(shape, members, corpus, BATCH, [round(share * steps) for share in (0.6, 0.7, 0.8, 0.9)])
    return {"runs": [{**way, **_chosen(done, number, steps)} for number, way in enumerate(ways)]}


def static_shares(pairs: Mapping[str, int], budget: int) -> list[float]:
    """The low task's shares of the static runs: the grid, and those that the engine's own mixtures give it.

    pairs: of each task; budget: of all tasks together, drawn in the whole run
    """
    tempered, even = quotas(pairs, TEMPERATURE), quotas(pairs, max_epochs=EPOCHS, budget=budget)
    low = list(pairs).index(TASKS[1])
    return sorted([*STATIC, *(round(int(units[low]) / BLOCK, 2) for units in (tempered, even))])


def planned(
    static: Sequence[float], steps: int, fractions: Sequence[float], seed: int
) -> list[tuple[dict[str, Any], Member]]:
    """The runs of a cell: {kind, q, r} and how it is trained. r: with which pretraining it is to be compared."""
    ways: list[dict[str, Any]] = [{"kind": "static", "q": q, "r": 0.0} for q in static]
    ways += [{"kind": kind, "q": q, "r": r} for kind in KINDS[1:] for r in fractions for q in JOINT]
    rates = [0.0, *fractions]                                           # each has its own seed
    return [(way, Member(len(rates) * seed + rates.index(way["r"]), _phases(way, steps))) for way in ways]


def _phases(way: Mapping[str, Any], steps: int) -> tuple[Phase, ...]:
    mixture = (1 - way["q"], way["q"])
    if way["kind"] in KINDS[:2]:
        return (Phase(steps, mixture, warmup=60),)
    first = round(way["r"] * steps)
    early = (1.0, 0.0) if way["kind"] == "pretrained" else mixture
    return Phase(first, early, warmup=60), Phase(steps - first, mixture, warmup=60)


def _halved(corpus: Corpus) -> Corpus:
    """The held-out pairs of each task, as those that choose and those that are reported."""
    halves: dict[str, Pairs] = {}
    for task, pairs in corpus.test.items():
        for name, first in (("choose", 0), ("report", 1)):
            halves[f"{task} {name}"] = pairs.every(2, first)
    return replace(corpus, test=halves)


def _chosen(done: Trained, number: int, steps: int) -> dict[str, float]:
    """Losses of a run at the checkpoint that its validation losses choose; the low task's training loss at the end."""
    sums = {step: sum(done.test[f"{task} choose"][step][number] for task in TASKS)
            for step in done.test[f"{TASKS[0]} choose"]}  # fmt: skip
    at = min(sums, key=lambda step: sums[step])
    high, low = (done.test[f"{task} report"][at][number] for task in TASKS)
    return {"high": high, "low": low, "step": at, "low_train": done.train[TASKS[1]][steps][number]}


def dominated(front: Front, worst: tuple[float, float]) -> float:
    """Area of the points that are no better than one of `front` in both losses, up to `worst` (Zitzler 1998)."""
    area, level = 0.0, worst[1]
    for high, low in sorted(front):
        if low < level and high < worst[0]:
            area += (worst[0] - high) * (level - low)
            level = low
    return area


def judge(results: Results) -> list[Claim]:
    found = [_gains(one.values["runs"]) for one in results]
    gains = [one["pretrained"] for one in found]
    rest = [max(one["restart"], 0.0) - one["pretrained"] / 2 for one in found]
    trained, held_out = (_against_static(results, "pretrained", loss) for loss in ("low_train", "low"))
    hits = f"gain in dominated area ({sum(gain > 0 for gain in gains)} of {len(gains)} seeds above 0)"
    less = "restart's gain, at least 0, - half of the gain"
    return [
        Claim.above("Pretraining, then joint training, beats every static mixture", hits, mean(gains), 0.0),
        Claim.below("Restarts explain less than half of it", less, mean(rest), 0.0),
        Claim.above("Pretraining regularises the low task", "training loss, pretrained - static", trained, 0.0),
        Claim.below("The low task's held-out loss is lower", "low loss, pretrained - static", held_out, 0.0),
    ]


def _against_static(results: Results, kind: str, loss: str, r: float | None = None) -> Estimate:
    """How far a loss of a kind's runs, with this pretraining or any, lies above that of static-again runs of the same r
    and q: over seeds, of whose runs the mean counts."""
    gaps = []
    for one in results:
        static, other = ({(run["r"], run["q"]): run[loss] for run in one.values["runs"] if run["kind"] == name}
                         for name in ("static again", kind))  # fmt: skip
        gaps.append(fmean(value - static[way] for way, value in other.items() if r in (None, way[0])))
    return mean(gaps)


def tables(results: Results) -> dict[str, Table]:
    """What each way costs and gains in each loss, by how long the first of its phases is."""
    rows: list[Sequence[str]] = [("runs", "r", "high loss", "low loss", "low training loss")]
    for kind in KINDS[2:]:
        for r in results[0].params["fractions"]:
            found = (_against_static(results, kind, loss, r) for loss in ("high", "low", "low_train"))
            rows.append((kind, f"{r:g}", *(f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]" for one in found)))
    return {"Less static runs of the same r, q and seed, nats: means over q, 95 % intervals over seeds": rows}


def _gains(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Area that runs of a kind add to the static front, above what as many more static runs add to it."""
    worst = max(run["high"] for run in runs), max(run["low"] for run in runs)
    static, *others = (_front(runs, kind) for kind in KINDS)
    again, *areas = (dominated(static + front, worst) for front in others)
    return {kind: area - again for kind, area in zip(KINDS[2:], areas, strict=True)}


def _front(runs: Sequence[Mapping[str, Any]], kind: str) -> list[tuple[float, float]]:
    return [(run["high"], run["low"]) for run in runs if run["kind"] == kind]


def plot(results: Results, folder: Path) -> dict[str, Path]:
    """The runs of four seeds, high against low loss."""
    draws = {f"Seed {one.seed}": _fronts(one.values["runs"]) for one in results[:4]}
    return {"Runs by their two losses; down and left is better": panels(draws, folder / "fronts.png", across=2)}


def _fronts(runs: Sequence[Mapping[str, Any]]) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        for number, kind in enumerate(KINDS):
            points = sorted(_front(runs, kind))
            axes.plot(*zip(*points, strict=True), MARKS[number], ms=4, color=f"C{number}", label=kind)
            best = [point for at, point in enumerate(points) if point[1] <= min(low for _, low in points[: at + 1])]
            axes.plot(*zip(*best, strict=True), color=f"C{number}", lw=1)
        axes.set_xlabel("high-resource loss, nats a token", fontsize=8)
        axes.set_ylabel("low-resource loss, nats a token", fontsize=8)

    return draw


STUDY = Study(
    "Order matters: pretraining before joint training",
    "Choi, Xin, Dadkhahi, Gilmer, Garg, Firat, Yeh, Dai and Ghorbani 2023",
    PROTOCOL, cells, run, judge, plot, prepare, tables=tables,
)  # fmt: skip
