"""What would more data bring to what omni-tiny cannot do yet?"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni.files import read_json, write_json
from omni.train.studies.harness.claims import Claim, Estimate
from omni.train.studies.harness.doubt import doubted, resampled
from omni.train.studies.harness.plots import MARKS, below, panels
from omni.train.studies.harness.study import Cell, Results, Study, Table
from omni.train.studies.limits import hearing, naming, translating

PROTOCOL = """
Question. omni-tiny falls short of its goals in naming pictures, in translating captions and in hearing numbers and
letters of people whom it never heard. Would more data of the kind that there is bring it there?

Learners. Small ones from chance, each of one thing alone, so that capacity and the rest of the mixture do not count;
at every amount of data they have the same steps, which see the most data several times. Seeds 0 to 2 (quick 0 and 1)
draw the weights and which part of the data is learnt from.

pictures    omni-tiny's own tagger (residual network, 0.5 million parameters), 240 steps of 128 pictures, changed in
            look (quick 6 of 32). An eighth, a quarter, half and all of the training split's stamps, emoji and clip art
            with English names. Measure, of each held-out picture: whether its name's words, as far as four learnt
            pictures have them, fit it better than nine others (mean log probability; 0.1 where none is known). Goal
            0.60, as for omni-tiny.
captions    a decoder of translations (d_model 64, 2 layers, prefix), 1,600 steps of 64 captions (quick 30) from English
            into fr, es, ru, it, de, ro, ca, bg and el alike. The same shares of the pairs that the language with fewest
            has, of each. Measure: chrF (Popović 2015; 0 to 1) of the greedy translation of 48 held-out captions a
            language. Goal 0.45.
voices      convolutions and a GRU (0.2 million parameters) on the spectrum of the last two seconds, 700 steps of 64
            recordings (quick 12), changed in pitch, speed and sound. 1, 2, 4, 8 and 16 voices of espeak-ng, each at
            three speeds, say every number and letter in English and Spanish that the person below says. Measure:
            whether the right text is picked among all of the language's, of three other voices of espeak-ng, of flite,
            and of a person (prompts/allison). Goal 0.90, where omni-tiny's is 0.10 character errors.

Claims. For each measure, that it rises with the data: the slope of the least-squares line over the logarithm of the
amount is above 0; and that it still does: so is the gain of the last doubling. Intervals of 95 % add in quadrature the
bootstrap over held-out items, the same draws for all amounts, and the doubt about seeds (Student's, the deviation
pooled over the amounts). How much would be needed is where the line meets the goal; that is an extrapolation.
"""

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
VOICES = (1, 2, 4, 8, 16)
SEEDS, QUICK_SEEDS = 3, 2
STEPS = {"pictures": 240, "captions": 1600, "voices": 700}
QUICK_STEPS = {"pictures": 6, "captions": 30, "voices": 12}
GOALS = {"pictures": 0.60, "captions": 0.45, "voices": 0.90}
MEASURES = {"pictures": "right of ten", "captions": "chrF"}
AMOUNTS = "amounts.json"
MOST_DOUBLINGS = 20                                                     # beyond which a line says nothing


def cells(quick: bool) -> list[Cell]:
    """By seeds, so that a study that is stopped has whole ones."""
    steps, found = QUICK_STEPS if quick else STEPS, list[Cell]()
    for seed in range(QUICK_SEEDS if quick else SEEDS):
        found.append(Cell({"data": "captions", "shares": SHARES, "steps": steps["captions"]}, seed))
        found += [Cell({"data": "pictures", "shares": [share], "steps": steps["pictures"]}, seed) for share in SHARES]
        found += [Cell({"data": "voices", "voices": count, "steps": steps["voices"]}, seed) for count in VOICES]
    return found


def prepare(data: Path, shared: Path, quick: bool) -> None:
    """Write what cells share. Raises InputError where the data lack any of it."""
    from omni.train.data.items import Manifest

    manifest = Manifest.load(data)
    amounts = {"pictures": naming.prepare(manifest, shared), "captions": translating.prepare(data, shared)}
    write_json(shared / AMOUNTS, {**amounts, "voices": hearing.prepare(manifest, shared), "quick": quick})


def run(params: Mapping[str, Any], seed: int, shared: Path) -> dict[str, Any]:
    """counts: amounts of data; scores: of each measure a value a held-out item, at each of them."""
    about = read_json(shared / AMOUNTS)
    kind, steps = params["data"], params["steps"]
    if kind == "voices":
        scores = {who: [values] for who, values in hearing.right(shared, params["voices"], seed, steps).items()}
        return {"counts": [params["voices"]], "scores": scores}
    counts = [round(share * about[kind]) for share in params["shares"]]
    if kind == "captions":
        return {"counts": counts, "scores": {MEASURES[kind]: translating.near(shared, counts, seed, steps)}}
    with (shared.parent / "tags.log").open("a") as log, contextlib.redirect_stderr(log):  # two bars would overwrite
        found = [naming.right(shared, count, seed, steps, about["quick"]) for count in counts]
    return {"counts": counts, "scores": {MEASURES[kind]: found}}


@dataclass(frozen=True)
class Curve:
    """A measure against the amount of a kind of data. means: of each amount's runs, [amounts, seeds, 1 + resamples]."""

    kind: str
    measure: str
    counts: tuple[int, ...]
    means: NDArray[np.float64]

    def combined(self, factors: Sequence[float]) -> Estimate:
        """The sum of factors [amounts] times the mean at each amount."""
        weights = np.asarray(factors, np.float64)
        seeds = self.means.shape[1]
        drawn = np.einsum("a,asr->r", weights / seeds, self.means)
        return doubted(drawn, list(self.means[:, :, 0]), float(np.square(weights).sum()) / seeds, seeds)

    def at(self, place: int) -> Estimate:
        return self.combined(np.eye(len(self.counts))[place].tolist())

    @property
    def slope(self) -> Estimate:
        """Of the least-squares line, a doubling."""
        doublings = np.log2(self.counts) - np.log2(self.counts).mean()
        return self.combined((doublings / np.square(doublings).sum()).tolist())

    @property
    def last(self) -> Estimate:
        """What the last doubling brought."""
        return self.combined([0.0] * (len(self.counts) - 2) + [-1.0, 1.0])

    @property
    def needed(self) -> tuple[float, float, float]:
        """How many times the most data the line needs to meet the goal, and its interval by the slope's; infinite where
        it does not rise."""
        middle = float(np.log2(self.counts).mean())
        height, top = float(self.means[:, :, 0].mean()), math.log2(self.counts[-1])
        slope, goal = self.slope, GOALS[self.kind]
        doublings = [middle + (goal - height) / rise - top if rise > 0 else math.inf
                     for rise in (slope.value, slope.high, slope.low)]  # fmt: skip
        value, least, most = (2**more if more < MOST_DOUBLINGS else math.inf for more in doublings)
        return value, least, most


def curves(results: Results) -> list[Curve]:
    """Of every kind and measure, in the protocol's order."""
    points: dict[tuple[str, str], dict[int, list[list[float]]]] = {}
    for one in results:
        for measure, rows in one.values["scores"].items():
            of_counts = points.setdefault((one.params["data"], measure), {})
            for count, scores in zip(one.values["counts"], rows, strict=True):
                of_counts.setdefault(count, []).append(scores)
    found = []
    for (kind, measure), of_counts in sorted(points.items(), key=lambda point: [*GOALS].index(point[0][0])):
        seeds = min(map(len, of_counts.values()))
        counts = tuple(sorted(of_counts))
        each = np.array([of_counts[count][:seeds] for count in counts])  # [amounts, seeds, items]
        weights = resampled(each.shape[2]).T                            # [items, 1 + resamples]
        found.append(Curve(kind, measure, counts, each @ weights / weights.sum(axis=0)))
    return found


def judge(results: Results) -> list[Claim]:
    claims = []
    for curve in curves(results):
        what = f"{curve.measure}: more with more {curve.kind}"
        claims.append(Claim.above(what, "a doubling", curve.slope, 0.0))
        still = f"{curve.measure}: still more with {curve.counts[-1]:,} than with half of them"
        claims.append(Claim.above(still, "the last doubling", curve.last, 0.0))
    return claims


def tables(results: Results) -> dict[str, Table]:
    """The measures at every amount, and what the lines say of the goals."""
    found: dict[str, Table] = {}
    rows = [["of", "measure", "at the most data", "a doubling", "goal", "times as much data, by the line"]]
    for curve in curves(results):
        head = [curve.kind, *(f"{count:,}" for count in curve.counts)]
        values = [curve.measure, *(_shown(curve.at(place)) for place in range(len(curve.counts)))]
        title = f"With so many {curve.kind}"
        found[title] = [*found.get(title, [head]), values]
        most, goal = curve.at(len(curve.counts) - 1), GOALS[curve.kind]
        needed = "met" if most.value >= goal else _times(*curve.needed)
        rows.append([curve.kind, curve.measure, _shown(most), _shown(curve.slope, 3), f"{goal:.2f}", needed])
    return {**found, "What is missing": rows}


def _shown(one: Estimate, places: int = 2) -> str:
    return f"{one.value:.{places}f} [{one.low:.{places}f}, {one.high:.{places}f}]"


def _times(value: float, least: float, most: float) -> str:
    return f"{_times_of(value)} [{_times_of(least)}, {_times_of(most)}]"


def _times_of(value: float) -> str:
    return "no end" if math.isinf(value) else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def plot(results: Results, folder: Path) -> Mapping[str, Path]:
    """Each measure against its data, a panel a kind, with the goal."""
    every = curves(results)

    def drawn(kind: str) -> Any:
        def draw(axes: Any) -> None:
            own = [curve for curve in every if curve.kind == kind]
            for number, curve in enumerate(own):
                points = [curve.at(place) for place in range(len(curve.counts))]
                values = np.array([one.value for one in points])
                arms = np.array([[one.value - one.low, one.high - one.value] for one in points]).T
                axes.errorbar(curve.counts, values, arms, marker=MARKS[number], ms=4, capsize=2, label=curve.measure)
            axes.axhline(GOALS[kind], color="0.5", lw=1, ls="--", label="goal")
            axes.set_xscale("log", base=2)
            axes.minorticks_off()
            axes.set_xticks(own[0].counts, [f"{count:,}" for count in own[0].counts])
            axes.set_ylim(0, 1)
            axes.set_xlabel(f"{kind} that were learnt from", fontsize=8)
            below(axes, 2)

        return draw

    kinds = dict.fromkeys(curve.kind for curve in every)
    title = "Held-out items; bars are 95 % intervals over items and seeds"
    return {title: panels({kind: drawn(kind) for kind in kinds}, folder / "limits.png")}


STUDY = Study(
    "What more data would bring", "omni-tiny", PROTOCOL, cells, run, judge, plot, prepare, tables=tables,
    sources=("emoji", "clipart", "prompts"),
)  # fmt: skip
