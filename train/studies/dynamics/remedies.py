"""What is said to help training at a high rate, one by one and all together: what each adds to the others."""

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from omni.train.studies.dynamics.plots import phases
from omni.train.studies.dynamics.residual import INITS, NORMS
from omni.train.studies.harness.claims import Claim, mean
from omni.train.studies.harness.study import Result, Results

REMEDIES = ("warmup", "clipping", *NORMS, *INITS)
SHARED_SEEDS = 3                                                        # of every combination
Chosen = tuple[str, ...]


def combinations(quick: bool) -> list[Chosen]:
    """Every choice of warmup, clipping, a normalisation and an initialiser, each or none, in the order of REMEDIES."""
    norms, inits = (["pre-norm"], ["fixup"]) if quick else (list(NORMS), list(INITS))
    factors = (["", "warmup"], ["", "clipping"], ["", *norms], ["", *inits])
    return [tuple(filter(None, chosen)) for chosen in product(*factors)]


def shared_rates(rates: Sequence[float]) -> Sequence[float]:
    """Those at which combinations are run: four of them, from the first to the last."""
    return rates[:: (len(rates) - 1) // 3]


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
    columns = [" and ".join(schedule) or "neither" for schedule in schedules]
    phases(names, columns, rates, "schedule", path, label="highest rate that trains", bounds=(0.005, 0.64))


def _tops(results: Results) -> dict[Chosen, list[float]]:
    """The highest rates of every combination that was run, by seed, of the rates and seeds that all share."""
    rates = shared_rates(sorted({one.params["lr"] for one in results}))
    runs: dict[Chosen, list[Result]] = {}
    for one in results:
        if one.params["lr"] in rates and one.seed < SHARED_SEEDS:
            runs.setdefault(tuple(one.params["remedies"]), []).append(one)
    whole = {chosen for chosen in runs if any(len(other) > 1 and set(chosen) <= set(other) for other in runs)}
    return {chosen: list(highest(runs[chosen]).values()) for chosen in runs if chosen in whole}


def _without(chosen: Chosen, remedy: str) -> Chosen | None:
    return tuple(one for one in chosen if one != remedy) if remedy in chosen else None


def _gain(tops: dict[Chosen, list[float]], pairs: Sequence[tuple[Chosen, Chosen]], seed: int) -> float:
    """The mean log2 of the highest rate with a remedy over that without it."""
    return math.fsum(math.log2(tops[over][seed] / tops[under][seed]) for over, under in pairs) / len(pairs)
