"""What is said to help training at a high rate, one by one and all together: what each adds to the others."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from omni.train.studies.dynamics.plots import THRESHOLD, Line, lines, phases
from omni.train.studies.dynamics.residual import INITS, NORMS
from omni.train.studies.harness.claims import Claim, mean
from omni.train.studies.harness.plots import panels
from omni.train.studies.harness.study import Result, Results

REMEDIES = ("warmup", "clipping", *NORMS, *INITS)
WARMUP = 100                                                            # its steps
SHARED_SEEDS = 3                                                        # of every combination
STYLES = ("-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)))
Chosen = tuple[str, ...]


def combinations(quick: bool) -> list[Chosen]:
    """Every choice of warmup, clipping, a normalisation and an initialiser, each or none, in the order of REMEDIES."""
    norms, inits = (["pre-norm"], ["fixup"]) if quick else (list(NORMS), list(INITS))
    factors = (["", "warmup"], ["", "clipping"], ["", *norms], ["", *inits])
    return [tuple(filter(None, chosen)) for chosen in product(*factors)]


def trains(result: Result) -> bool:
    loss = result.values["loss"]
    return loss is not None and loss < result.params["trained"]


def highest(results: Iterable[Result]) -> dict[int, float]:
    """The highest rate that trains, by seed, of one choice's runs; half the smallest where none does."""
    runs = list(results)
    least = min(one.params["lr"] for one in runs) / 2
    return {
        seed: max((one.params["lr"] for one in runs if one.seed == seed and trains(one)), default=least)
        for seed in sorted({one.seed for one in runs})
    }


def at_highest(runs: Sequence[Result]) -> list[Result]:
    """Of one choice's runs, that at the highest rate that trains, of each seed in which one does."""
    top = highest(runs)
    return [one for one in runs if one.params["lr"] == top[one.seed] and trains(one)]


def together(results: Results) -> list[Claim]:
    """What each remedy adds to all choices of the others, and whether warmup adds less where something else helps."""
    tops = _tops(results)
    claims = []
    for remedy in REMEDIES:
        pairs = [(chosen, without) for chosen in tops if (without := _without(chosen, remedy)) is not None]
        if pairs:
            gain = mean([_gain(tops, pairs, seed) for seed in range(SHARED_SEEDS)])
            words = f"{remedy} lets a higher rate train, over all choices of the others"
            claims.append(Claim.above(words, "mean log2 of highest rates", gain, 0.0))
    alone = [(("warmup",), ())]
    helped = [(chosen, chosen[1:]) for chosen in tops if chosen[:1] == ("warmup",) and chosen[1:]]
    less = mean([_gain(tops, alone, seed) - _gain(tops, helped, seed) for seed in range(SHARED_SEEDS)])
    words = "warmup adds less where something else helps"
    return [*claims, Claim.above(words, "log2 of highest rates, alone less helped", less, 0.0)]


def draw_together(results: Results, path: Path) -> None:
    """The highest rate of every combination: normalisation and initialiser by warmup and clipping."""
    tops = _tops(results)
    schedules: list[Chosen] = [(), ("warmup",), ("clipping",), ("warmup", "clipping")]
    rows = [chosen for chosen in tops if not {"warmup", "clipping"} & set(chosen)]
    rates = [[statistics.geometric_mean(tops[(*schedule, *row)]) for schedule in schedules] for row in rows]
    names = [" and ".join(row) or "none" for row in rows]
    least, most = min(map(min, rates)), max(map(max, rates))
    columns, label = ["neither", "warmup", "clipping", "both"], "highest rate that trains"
    phases(names, columns, rates, "what is done to the steps", path, label=label, bounds=(least / 2, most))


def draw_paths(of: Mapping[str, Sequence[Result]], path: Path) -> None:
    """The sharpness by step of every seed: at the rate up to which runs train without a remedy, and at that up to which
    they do with a warmup; the median seed says which these are."""
    low, high = (_usual(of[remedy]) for remedy in ("none", "warmup"))
    draws = {
        f"rate {low:g}, the highest without a remedy": _panel(of, ("none", "warmup", "clipping"), low),
        f"rate {high:g}, the highest with a warmup": _panel(of, ("none", "warmup", "clipping"), high),
        f"rate {high:g}, normalisations": _panel(of, ("none", *NORMS), high),
        f"rate {high:g}, initialisers": _panel(of, ("none", *INITS), high),
    }
    panels(draws, path, across=2)


def _usual(runs: Sequence[Result]) -> float:
    """The highest rate that trains, in the median seed; the lowest where none does."""
    rates = {one.params["lr"] for one in runs}
    return max(min(rates), statistics.median_low(highest(runs).values()))


def _panel(of: Mapping[str, Sequence[Result]], remedies: Sequence[str], rate: float) -> Callable[[Any], None]:
    """Runs that diverge end in a cross, at most tenfold above where any begins: what trains is to be looked at."""
    found, gone = list[Line](), list[Line]()
    runs = {remedy: [one for one in of[remedy] if one.params["lr"] == rate] for remedy in remedies}
    top = 10 * max(one.values["sharpness"]["0"] or 0.0 for some in runs.values() for one in some)
    for at, remedy in enumerate(remedies):
        for one in sorted(runs[remedy], key=lambda one: -one.seed):
            looks = one.values["sharpness"].items()
            way = [(float(step), min(value, top)) for step, value in looks if value is not None]
            weight = {"lw": 1.5} if one.seed == 0 else {"lw": 0.6, "alpha": 0.6}
            look = {"color": f"C{at}", "ls": STYLES[at], "marker": ".", "ms": 4, **weight}
            found.append(Line(remedy, way, look, told=one.seed == 0))
            if one.values["loss"] is None:
                gone.append(Line(remedy, way[-1:], {"color": f"C{at}", "marker": "x", "ms": 8, "mew": 1.6}, told=False))
    steps = next(one.params["steps"] for one in of["none"])
    edges = [Line("2/lr", [(0.0, 2 / rate), (float(steps), 2 / rate)], THRESHOLD)]
    if "warmup" in remedies:
        rising = [(float(step), 2 * WARMUP / (rate * (step + 1))) for step in range(WARMUP)]
        edges.append(Line("2/lr during the warmup", rising, {**THRESHOLD, "ls": (0, (1, 4))}))
    draw = lines([*found, *gone, *edges], "sharpness", log=True)

    def drawn(axes: Any) -> None:
        draw(axes)
        axes.set_xscale("symlog", linthresh=10)
        axes.set_xlim(-0.5, steps * 1.1)
        axes.set_xticks([0, 10, 25, 50, 100, steps], [0, 10, 25, 50, 100, steps])
        axes.minorticks_off()

    return drawn


def _tops(results: Results) -> dict[Chosen, list[float]]:
    """The highest rates of every combination that was run, by seed, of the rates and seeds that all share."""
    rates = {one.params["lr"] for one in results if len(one.params["remedies"]) > 1}
    runs: dict[Chosen, list[Result]] = {}
    for one in results:
        if one.params["lr"] in rates and one.seed < SHARED_SEEDS:
            runs.setdefault(tuple(one.params["remedies"]), []).append(one)
    combined = [set(chosen) for chosen in runs if len(chosen) > 1]
    part = [chosen for chosen in runs if any(set(chosen) <= other for other in combined)]
    return {chosen: list(highest(runs[chosen]).values()) for chosen in sorted(part, key=_order)}


def _order(chosen: Chosen) -> list[int]:
    """By normalisation first, then by initialiser."""
    at = [REMEDIES.index(one) for one in chosen]
    return [max(mine, default=-1) for mine in ([n for n in at if 2 <= n < 5], [n for n in at if n >= 5], at)]


def _without(chosen: Chosen, remedy: str) -> Chosen | None:
    return tuple(one for one in chosen if one != remedy) if remedy in chosen else None


def _gain(tops: dict[Chosen, list[float]], pairs: Sequence[tuple[Chosen, Chosen]], seed: int) -> float:
    """The mean log2 of the highest rate with a remedy over that without it."""
    return math.fsum(math.log2(tops[over][seed] / tops[under][seed]) for over, under in pairs) / len(pairs)
