"""How does a translation model's loss fall with the number of its training pairs, and what changes the exponent?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from omni.train.fleet.model import Kind, Shape
from omni.train.fleet.pairs import CONTROLS, EOS, PAD, Corpus, Ids, Pairs, build_corpus, direction
from omni.train.fleet.trainer import Member, Phase, train_fleet
from omni.train.scaling.fit import Fit, fit
from omni.train.studies.harness.claims import Claim, Estimate, mean
from omni.train.studies.harness.plots import panels
from omni.train.studies.harness.study import Cell, Results, Study

PROTOCOL = """
Data. English into French: lines of application catalogues and stamps of up to 12 tokens (byte-level BPE of 512 pieces),
some 11,800 to train on; held-out lines by the project's own splits, of which those of even number choose the checkpoint
and the others are reported. A run is given the first D pairs of a fixed random order: D = 500, 1000, 2000, 4000, 8000.

Runs. Of two layers, d_model 32, Adam, peak learning rate 3e-3, 60 steps of warmup, then 1/sqrt(step), 1500 steps of 32
pairs, checkpoint chosen among those after 250, 500, 750, 1000, 1250 and 1500 steps; 3 seeds. Quick: 600 steps (chosen
among 6 likewise), D up to 4000, 2 seeds, no back-translation. Kinds:
decoder      a language model with a visible prefix
encdec       an encoder-decoder of as many layers in all
hybrid       the same encoder with an LSTM decoder: a layer with attention to the source behind it and no feed-forward
noise        the decoder, one in ten tokens of the training sources replaced by a random piece
back         the decoder, the sources made by a French-English model of the same shape (1000 steps on all pairs, so that
             its sources are of one quality at every D) that draws its translations greedily

Not done here: asymmetric depths, filtering.

Fits. L(D) = a (1/D + C)^p of each kind and seed, Huber's loss of log-losses.

Claims, with Student's 95 % interval over seeds.
1. The exponents of encoder-decoder and decoder agree: the difference lies within -0.05 and 0.05.
2. So do those of the hybrid and the encoder-decoder.
3. So do those with noise in the source and without.
4. That of back-translated sources is lower than that of real ones (full run only).
5. The loss at the largest D is predicted from the others within 2 % (all kinds; mean absolute relative error).
"""
DATA = (500, 1000, 2000, 4000, 8000)
KINDS: dict[str, Kind] = {"encdec": "encdec", "hybrid": "hybrid"}       # the others are prefix language models
TASK, REVERSE = "en-fr", "fr-en"
NOISE, BATCH, PARTS, REVERSE_STEPS = 0.1, 32, 6, 1000


def cells(quick: bool) -> list[Cell]:
    """A fleet of all D a cell."""
    kinds = ("encdec", "hybrid", "decoder", "noise") if quick else ("back", "encdec", "hybrid", "decoder", "noise")
    params = {"steps": 600 if quick else 1500, "data": DATA[:4] if quick else DATA}
    return [Cell({"kind": kind, **params}, seed) for kind in kinds for seed in range(2 if quick else 3)]


def prepare(data: Path, shared: Path, quick: bool) -> None:
    directions = [direction(TASK)] if quick else [direction(TASK), direction(REVERSE)]
    build_corpus(data, directions).save(shared / "corpus")


def run(params: Mapping[str, Any], seed: int, shared: Path) -> dict[str, Any]:
    """The chosen held-out loss at every D."""
    corpus, kind, steps = Corpus.load(shared / "corpus"), params["kind"], params["steps"]
    pairs = corpus.train[TASK]
    if kind == "noise":
        pairs = Pairs(_noisy(pairs.source, corpus.vocab, seed), pairs.target)
    if kind == "back":
        pairs = Pairs(_back_translated(corpus, seed), pairs.target)
    held = corpus.test[TASK]
    halves = {"choose": held.every(2), "report": held.every(2, 1)}
    shape = Shape(corpus.vocab, corpus.length, 32, 2, 128, KINDS.get(kind, "prefix"))
    members = [Member(seed, (Phase(steps, (1.0,), warmup=60),), limit) for limit in params["data"]]
    checkpoints = [round(steps * part / PARTS) for part in range(1, PARTS + 1)]
    done = train_fleet(shape, members, replace(corpus, train={TASK: pairs}, test=halves), BATCH, checkpoints)
    best = [min(checkpoints, key=lambda at: done.test["choose"][at][number]) for number in range(len(members))]
    return {"losses": [done.test["report"][at][number] for number, at in enumerate(best)], "steps": best}


def _noisy(source: Ids, vocab: int, seed: int) -> Ids:
    """Sources in which one in ten tokens, the tag excepted, is a random piece."""
    random = np.random.default_rng(seed)
    hit = (random.random(source.shape) < NOISE) & (source != PAD)
    hit[:, 0] = False
    return np.where(hit, random.integers(CONTROLS + 2, vocab, source.shape), source)


def _back_translated(corpus: Corpus, seed: int) -> Ids:
    """The sources that a French-English model gives for the French side of the training pairs."""
    shape = Shape(corpus.vocab, corpus.length, 32, 2, 128)
    reverse = replace(corpus, train={REVERSE: corpus.train[REVERSE]}, test={REVERSE: corpus.test[REVERSE]})
    done = train_fleet(shape, [Member(1000 + seed, (Phase(REVERSE_STEPS, (1.0,), warmup=60),))], reverse, BATCH)
    tags = corpus.train[TASK].source[0, 0], corpus.train[REVERSE].source[0, 0]
    french = corpus.train[TASK].target[: max(DATA)]
    asked = np.full((len(french), corpus.length + 1), PAD, np.int64)
    asked[:, 0], asked[:, 1:] = tags[1], np.where(french[:, 1:-1] == EOS, PAD, french[:, 1:-1])
    made = np.concatenate([done.translate(part)[0] for part in np.array_split(asked, 40)])
    source = np.full_like(asked, PAD)
    source[:, 0], source[:, 1:] = tags[0], np.where(made[:, 1:] == EOS, PAD, made[:, 1:])
    return source


def judge(results: Results) -> list[Claim]:
    fits = {kind: _fits(results, kind) for kind in dict.fromkeys(one.params["kind"] for one in results)}

    def gap(kind: str, base: str = "decoder") -> Estimate:
        pairs = zip(fits.get(kind, []), fits[base], strict=False)
        return mean([one.parameters["p"] - other.parameters["p"] for one, other in pairs])

    errors = [_extrapolated(one.params["data"], one.values["losses"]) for one in results]
    return [
        Claim.within("Encoder-decoder and decoder share the exponent", "difference of p", gap("encdec"), -0.05, 0.05),
        Claim.within("An LSTM decoder leaves the exponent", "difference of p", gap("hybrid", "encdec"), -0.05, 0.05),
        Claim.within("Noise in the source leaves the exponent", "difference of p", gap("noise"), -0.05, 0.05),
        Claim.below("Back-translation lowers the exponent", "difference of p", gap("back"), 0.0),
        Claim.below("The largest D is predicted within 2 %", "mean relative error",
                    mean(errors, len({one.seed for one in results})), 0.02),
    ]  # fmt: skip


def _fits(results: Results, kind: str) -> list[Fit]:
    found = [one for one in results if one.params["kind"] == kind]
    return [fit({"data": one.params["data"], "loss": one.values["losses"]}, "data") for one in found]


def _extrapolated(data: Sequence[int], losses: Sequence[float]) -> float:
    """Relative error of the loss at the largest D as the others predict it."""
    fitted = fit({"data": data[:-1], "loss": losses[:-1]}, "data")
    return abs(float(fitted.predict({"data": data[-1:]})[0]) / losses[-1] - 1)


def plot(results: Results, folder: Path) -> dict[str, Path]:
    """Loss against D of every kind, with the fits, of the first seed."""
    draws = {"held-out loss against training pairs": _curves([one for one in results if one.seed == 0])}
    return {"Dots are runs of seed 0, lines the fits": panels(draws, folder / "losses.png")}


def _curves(results: Results) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        for number, one in enumerate(results):
            data, losses = one.params["data"], one.values["losses"]
            fitted = fit({"data": data, "loss": losses}, "data")
            label = f"{one.params['kind']}: p = {fitted.parameters['p']:.2f}"
            axes.plot(data, losses, "o", ms=4, color=f"C{number}", label=label)
            line = np.geomspace(min(data), max(data), 40)
            axes.plot(line, fitted.predict({"data": line}), color=f"C{number}", lw=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_xticks(results[0].params["data"], results[0].params["data"])
        losses = [loss for one in results for loss in one.values["losses"]]
        ticks = np.geomspace(min(losses), max(losses), 5).round(1)
        axes.set_yticks(ticks, ticks)
        axes.set_xlabel("training pairs", fontsize=8)
        axes.set_ylabel("nats a token", fontsize=8)

    return draw


STUDY = Study(
    "Data scaling laws in translation",
    "Bansal, Ghorbani, Garg, Zhang, Krikun, Cherry, Neyshabur and Firat 2022",
    PROTOCOL, cells, run, judge, plot, prepare,
)  # fmt: skip
