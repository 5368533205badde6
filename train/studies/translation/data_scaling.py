"""How does a translation model's loss fall with the number of its training pairs, and what changes the exponent?"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from omni.train.fleet.model import Shape
from omni.train.fleet.pairs import Corpus, Pairs, build_corpus, direction
from omni.train.fleet.trainer import Member, Phase, train_fleet
from omni.train.scaling.fit import Fit, Interval, fit
from omni.train.studies.harness.claims import Claim, Estimate, mean
from omni.train.studies.harness.plots import MARKS, below, decades, panels
from omni.train.studies.harness.study import Cell, Result, Results, Study, Table
from omni.train.studies.translation.pools import (
    BATCH,
    REVERSE,
    TASK,
    back_translated,
    filtered,
    misaligned,
    noisy,
)

PROTOCOL = """
Data. English into French: lines of application catalogues and stamps of up to 12 tokens (byte-level BPE of 512 pieces),
some 11,800 to train on; held-out lines by the project's own splits, of which those of even number choose the checkpoint
and the others are reported. A run is given the first D pairs of a fixed random order: D = 500, 1000, 2000, 4000, 8000.

Runs. Of two layers, d_model 32, Adam, peak learning rate 3e-3, 60 steps of warmup, then 1/sqrt(step), 1200 steps of 32
pairs, checkpoint chosen among those after 200, 400, 600, 800, 1000 and 1200 steps; 3 seeds. Quick: 600 steps (chosen
among 6 likewise), D up to 4000, 2 seeds, and only the first four kinds:
decoder      a language model with a visible prefix
encdec       an encoder-decoder of as many layers in all
hybrid       the same encoder with an LSTM decoder: a layer with attention to the source behind it and no feed-forward
noise        the decoder, one in ten tokens of the training sources replaced by a random piece
noise 30 %   the same with three in ten tokens, those of the one in ten among them
back         the decoder, the sources made by a French-English model of the same shape (1000 steps on all pairs, so that
             its sources are of one quality at every D) that draws its translations greedily
2+1          an encoder-decoder of two encoder layers and one decoder layer
1+2, 2+2     likewise
misaligned   the encdec, one in four training pairs with the French of another; the last 500 pairs, trusted, left out
filtered     the same after a filter that keeps three quarters of the pairs, the same at every D: a model of that shape
             is trained on all of them (1000 steps), then tuned on the trusted ones (100 steps at 1e-3), and a pair's
             score is how much likelier, a token, its French becomes by that (the contrast of Wang et al. 2018)

Fits, Huber's loss of log-losses. L(D) = a (1/D + C)^p of each kind and seed, with a 95 % interval of p by bootstrap
(200 resamples of the residuals, with what the fit took from them and did not tell of their size). The joint form
L(D, N_e, N_d) = a (1/D + b N_e^-p_e N_d^-p_d)^p, N_e and N_d the parameters of the encoder's and the decoder's layers,
of each seed, over encdec (which is 1+1), 2+1 and 1+2.

Claims, with Student's 95 % interval over seeds; from 4 on, without 6, of the full run only. That two exponents agree is
asked twice: whether their difference lies within -0.05 and 0.05, and whether their intervals overlap (the gap between
a seed's two bootstrap intervals, which is below 0 where they overlap, lies below 0).
1. The exponents of encoder-decoder and decoder agree.
2. So do those of the hybrid and the encoder-decoder.
3. So do those with noise in a tenth of the source and without.
4. So do those with noise in three tenths of it and without.
5. That of back-translated sources is lower than that of real ones.
6. The loss at the largest D is predicted from the others within 2 % (mean absolute relative error of a seed's kinds).
7. The exponents of 2+1 and 1+2 agree.
8. So do those of filtered and misaligned.
9. The joint form predicts 2+2, which it has not seen, within 2 % (all D; mean absolute relative error).
"""
DATA = (500, 1000, 2000, 4000, 8000)
QUICK = ("encdec", "hybrid", "decoder", "noise")
LAYERS = {"encdec": (1, 1), "2+1": (2, 1), "1+2": (1, 2), "2+2": (2, 2)}  # of encoder and decoder
NOISE = {"noise": 0.1, "noise 30 %": 0.3}                               # share of the sources' tokens
LONG_FIRST = ("back", "2+2", "noise 30 %", "2+1", "1+2", "filtered", *QUICK, "misaligned")
GROUPS = {                                                              # panels of the figure
    "Architectures": ("decoder", "encdec", "hybrid"),
    "What is done to the sources": ("decoder", *NOISE, "back"),
    "Wrong pairs, and a filter": ("encdec", "misaligned", "filtered"),
    "Layers of encoder + decoder": ("encdec", "2+1", "1+2", "2+2"),
}
PARTS = 6
RESAMPLES = 200


def cells(quick: bool) -> list[Cell]:
    """A fleet of all D a cell."""
    params = {"steps": 600 if quick else 1200, "data": DATA[:4] if quick else DATA}
    kinds, seeds = (QUICK, 2) if quick else (LONG_FIRST, 3)
    return [Cell({"kind": kind, **params}, seed) for kind in kinds for seed in range(seeds)]


def prepare(data: Path, shared: Path, quick: bool) -> None:
    directions = [direction(TASK)] if quick else [direction(TASK), direction(REVERSE)]
    build_corpus(data, directions).save(shared / "corpus")


def run(params: Mapping[str, Any], seed: int, shared: Path) -> dict[str, Any]:
    """The chosen held-out loss at every D; the parameters of an encoder's and a decoder's layers, where there are."""
    corpus, kind, steps = Corpus.load(shared / "corpus"), params["kind"], params["steps"]
    pairs, about = _pairs(kind, corpus, seed, max(params["data"]))
    held = corpus.test[TASK]
    halves = {"choose": held.every(2), "report": held.every(2, 1)}
    shape = _shape(kind, corpus)
    members = [Member(seed, (Phase(steps, (1.0,), warmup=60),), limit) for limit in params["data"]]
    checkpoints = [round(steps * part / PARTS) for part in range(1, PARTS + 1)]
    done = train_fleet(shape, members, replace(corpus, train={TASK: pairs}, test=halves), BATCH, checkpoints)
    best = [min(checkpoints, key=lambda at: done.test["choose"][at][number]) for number in range(len(members))]
    losses = [done.test["report"][at][number] for number, at in enumerate(best)]
    sides = {stack: shape.parameters_of(stack) for stack in shape.stacks if shape.has_encoder}
    return {"losses": losses, "steps": best, **sides, **about}


def _shape(kind: str, corpus: Corpus) -> Shape:
    if kind in ("decoder", *NOISE, "back"):
        return Shape(corpus.vocab, corpus.length, 32, 2, 128, "prefix")
    if kind == "hybrid":
        return Shape(corpus.vocab, corpus.length, 32, 2, 128, "hybrid")
    encoder, decoder = LAYERS.get(kind, LAYERS["encdec"])
    return Shape(corpus.vocab, corpus.length, 32, encoder + decoder, 128, "encdec", n_encoder=encoder)


def _pairs(kind: str, corpus: Corpus, seed: int, most: int) -> tuple[Pairs, dict[str, float]]:
    """What a kind is trained on, and the share of wrong pairs in it where some are."""
    pairs = corpus.train[TASK]
    if kind in NOISE:
        return noisy(pairs, corpus.vocab, seed, NOISE[kind]), {}
    if kind == "back":
        return back_translated(corpus, seed, most), {}
    if kind == "misaligned":
        pool, wrong = misaligned(pairs, seed)
        return pool, {"wrong": float(wrong.mean())}
    if kind == "filtered":
        pool, left = filtered(corpus, seed)
        return pool, {"wrong": left}
    return pairs, {}


def judge(results: Results) -> list[Claim]:
    fits = {kind: [_fit(one.params["data"], one.values["losses"], RESAMPLES) for one in _of(results, kind)]
            for kind in dict.fromkeys(one.params["kind"] for one in results)}  # fmt: skip

    def pairs(kind: str, base: str) -> list[tuple[Fit, Fit]]:
        return list(zip(fits.get(kind, []), fits.get(base, []), strict=False))

    def change(kind: str, base: str = "decoder") -> Estimate:
        return mean([one.parameters["p"] - other.parameters["p"] for one, other in pairs(kind, base)])

    def agree(claim: str, kind: str, base: str = "decoder") -> list[Claim]:
        apart = mean([_gap(one, other) for one, other in pairs(kind, base)])
        return [Claim.within(claim, "difference of p", change(kind, base), -0.05, 0.05),
                Claim.below(f"{claim}: intervals overlap", "gap between intervals of p", apart, 0.0)]  # fmt: skip

    unseen = [_error(joint, one) for joint, one in zip(_joint(results), _of(results, "2+2"), strict=True)]
    found = [
        *agree("Encoder-decoder and decoder share the exponent", "encdec"),
        *agree("An LSTM decoder leaves the exponent", "hybrid", "encdec"),
        *agree("Noise in the source leaves the exponent", "noise"),
        *agree("Noise in 30 % of it leaves the exponent", "noise 30 %"),
        Claim.below("Back-translation lowers the exponent", "difference of p", change("back"), 0.0),
        Claim.below("The largest D is predicted within 2 %", "mean relative error", mean(_ahead(results)), 0.02),
        *agree("It matters not which side is deeper", "2+1", "1+2"),
        *agree("Filtering leaves the exponent", "filtered", "misaligned"),
        Claim.below("The joint form predicts 2+2 within 2 %", "mean relative error", mean(unseen), 0.02),
    ]
    return [claim for claim in found if claim.seeds]                    # the quick run has not all kinds


def _gap(one: Fit, other: Fit) -> float:
    """By how much two intervals of p lie apart; below 0, by how much they overlap."""
    (low, high), (least, most) = one.intervals["p"], other.intervals["p"]
    return max(low, least) - min(high, most)


def _of(results: Results, kind: str) -> Results:
    return [one for one in results if one.params["kind"] == kind]


def _fit(data: Sequence[int], losses: Sequence[float], resamples: int = 0) -> Fit:
    return _fit_once(tuple(data), tuple(losses), resamples)


@cache
def _fit_once(data: tuple[int, ...], losses: tuple[float, ...], resamples: int) -> Fit:
    """Claims, table and plot ask for the same fits."""
    return fit({"data": data, "loss": losses}, "data", resamples)


def _ahead(results: Results) -> list[float]:
    """Relative error of the loss at the largest D as the others predict it, of each seed: the mean over its kinds."""
    errors = defaultdict(list)
    for one in results:
        data, losses = one.params["data"], one.values["losses"]
        predicted = _fit(data[:-1], losses[:-1]).predict({"data": data[-1:]})
        errors[one.seed].append(abs(float(predicted[0]) / losses[-1] - 1))
    return [float(np.mean(of_seed)) for of_seed in errors.values()]


def _joint(results: Results) -> list[Fit]:
    """The joint form of every seed, over all depths but the last; none where not all were run."""
    *depths, last = (_of(results, kind) for kind in LAYERS)
    if not last:
        return []
    return [fit(_columns(runs), "encoder-decoder") for runs in zip(*depths, strict=True)]


def _columns(runs: Results) -> dict[str, list[float]]:
    """A point a D of each run."""
    columns: dict[str, list[float]] = {"data": [], "encoder": [], "decoder": [], "loss": []}
    for one in runs:
        columns["data"] += one.params["data"]
        columns["loss"] += one.values["losses"]
        for side in ("encoder", "decoder"):
            columns[side] += [one.values[side]] * len(one.params["data"])
    return columns


def _error(joint: Fit, one: Result) -> float:
    """Mean absolute relative error of a run's losses as the joint form predicts them."""
    columns = _columns([one])
    return float(np.mean(np.abs(joint.predict(columns) / np.array(columns["loss"]) - 1)))


def tables(results: Results) -> dict[str, Table]:
    """The fits of every kind, and of the joint form."""
    rows = []
    for kind in _kinds(results):
        runs = _of(results, kind)
        fits = [_fit(one.params["data"], one.values["losses"], RESAMPLES) for one in runs]
        last = mean([one.values["losses"][-1] for one in runs]).value
        wrong = [f"{one.values['wrong']:.3f}" for one in runs if "wrong" in one.values]
        exponents = ", ".join(_shown(found.parameters["p"], found.intervals["p"]) for found in fits)
        rows.append((kind, exponents, f"{last:.3f}", " ".join(wrong)))
    head = ("kind", "p of each seed, 95 %", "loss at the largest D", "wrong pairs")
    found: dict[str, Table] = {"Kinds": [head, *rows]}
    if joints := _joint(results):
        named = [[f"{value:.3g}" for value in joint.parameters.values()] for joint in joints]
        found["The joint form, a row a seed"] = [tuple(joints[0].parameters), *named]
    return found


def _kinds(results: Results) -> list[str]:
    """Those that were run, in the order of the figure."""
    run = {one.params["kind"] for one in results}
    return [kind for kind in dict.fromkeys(kind for group in GROUPS.values() for kind in group) if kind in run]


def _shown(value: float, interval: Interval) -> str:
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def plot(results: Results, folder: Path) -> dict[str, Path]:
    """Loss against D of every kind, with the fits; and their exponents, with intervals."""
    kinds = _kinds(results)
    draws = {title: _curves(results, shown) for title, group in GROUPS.items()
             if (shown := [kind for kind in group if kind in kinds])}  # fmt: skip
    draws["Exponent p of each seed, 95 %"] = _exponents(results, kinds)
    return {"Dots are runs of all seeds, lines the means of their fits": panels(draws, folder / "losses.png", across=2)}


def _curves(results: Results, kinds: Sequence[str]) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        every = [one for kind in kinds for one in _of(results, kind)]
        for number, kind in enumerate(kinds):
            runs, look = _of(results, kind), {"color": f"C{_kinds(results).index(kind)}"}
            for one in runs:
                label = kind if one is runs[0] else None
                dots = one.params["data"], one.values["losses"]
                axes.plot(*dots, MARKS[number], ms=3, mfc="none", label=label, **look)
            fits = [_fit(one.params["data"], one.values["losses"], RESAMPLES) for one in runs]
            line = np.geomspace(min(runs[0].params["data"]), max(runs[0].params["data"]), 40)
            axes.plot(line, np.mean([one.predict({"data": line}) for one in fits], axis=0), lw=1, **look)
        decades(axes, every[0].params["data"], [loss for one in every for loss in one.values["losses"]])
        axes.set_xlabel("training pairs D", fontsize=8)
        axes.set_ylabel("held-out loss, nats a target token", fontsize=8)
        below(axes, 3)

    return draw


def _exponents(results: Results, kinds: Sequence[str]) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        for row, kind in enumerate(kinds):
            for number, one in enumerate(_of(results, kind)):
                fitted = _fit(one.params["data"], one.values["losses"], RESAMPLES)
                value, (low, high), place = fitted.parameters["p"], fitted.intervals["p"], row + 0.24 * (number - 1)
                axes.plot([low, high], [place, place], color=f"C{number}", lw=1)
                axes.plot(value, place, MARKS[number], ms=3, color=f"C{number}",
                          label=f"seed {one.seed}" if row == 0 else None)  # fmt: skip
        axes.set_yticks(range(len(kinds)), kinds)
        axes.invert_yaxis()
        axes.set_xlabel("p", fontsize=8)
        below(axes, 3)

    return draw


STUDY = Study(
    "Data scaling laws in translation",
    "Bansal, Ghorbani, Garg, Zhang, Krikun, Cherry, Neyshabur and Firat 2022",
    PROTOCOL, cells, run, judge, plot, prepare, tables=tables,
)  # fmt: skip
