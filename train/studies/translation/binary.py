"""Can a translator do with one bit a weight, and what does it need for that?"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omni.model.binary import binarized
from omni.train.fleet.distil import distilled
from omni.train.fleet.model import Shape, Weights, training_loss
from omni.train.fleet.pairs import Corpus, build_corpus, direction
from omni.train.fleet.trainer import Member, Objective, Phase, Trained, evaluate, train_fleet
from omni.train.studies.harness.claims import Claim, Estimate, mean
from omni.train.studies.harness.plots import MARKS, panels
from omni.train.studies.harness.study import Cell, Results, Study, Table

PROTOCOL = """
Data. Lines of application catalogues and stamps of up to 12 tokens, English into French, held out by the project's own
splits (byte-level BPE of 512 pieces).

Models. Encoder-decoders with a layer on each side, feed-forward 4 d_model, Adam, peak learning rate 3e-3, 60 steps of
warmup, then a cosine, batches of 32 pairs. Embeddings, scores and attention's own products stay floats. Ways:
float               no one-bit layer, the usual Transformer
float + norms       the same with the norms and the shortcut that one-bit layers get, which are thus told apart
weights             one-bit weights: +-B/2 by sign, B = max|w| of an output, straight-through gradient; LayerNorm
                    after queries, keys and values, inside and behind the feed-forward, and a shortcut around
                    attention's output
weights, no norms   the same with the shortcut, without those norms
weights, bare       the same without those norms and without the shortcut
weights, late       half of the steps as float + norms, then one bit with learning rate and optimizer begun anew
weights, by group   a third of the steps as float + norms, a third with one-bit feed-forward layers, a third with
                    one-bit attention, too; learning rate and optimizer begin anew with each
weights, distilled  half of the loss is the cross-entropy with the probabilities of a float model, trained before for as
                    many steps
weights + inputs    one-bit inputs of the layers, too: B = max|x| of a step
Groups are of weights: those of attention, those of the feed-forward. Groups of activations, which the paper has too,
are not tried. d_model 64, 1500 steps, 3 seeds. Quick: d_model 32, 400 steps, 2 seeds.

Products. 4096 products of x ~ N(0, 1) with rows w ~ N(0, 1/D) for D = 64, 256, 1024 and 4096: variance with w itself,
with its signs, and with +-B/2. A cell of its own for each seed.

Measure. Held-out loss in nats a target token.

Claims, with Student's 95 % interval over seeds.
1. Products with bare signs have a variance that grows as D: the slope of log variance over log D lies in 0.9..1.1.
2. Those with +-B/2 stay of the size of 1: that slope lies in -0.25..0.25.
3. One-bit weights come within 5 % of the float loss: the relative difference lies below 0.05.
4. Without the norms they are worse: no norms less weights lies above 0 (and the number of seeds in which it does).
5. Without norms and shortcut they are worse: bare less weights lies above 0 (and in how many seeds).
6. One-bit inputs cost more than one-bit weights alone: weights + inputs less weights lies above 0.
7. Binarizing late helps: late less weights lies below 0.
8. Binarizing by group helps more: by group less late lies below 0.
9. A teacher helps: distilled less weights lies below 0.
"""
WAYS: dict[str, dict[str, Any]] = {
    "float": {},
    "float + norms": {"norms": True},
    "weights": {"weight_bits": 1, "norms": True},
    "weights, no norms": {},                                            # its bits and its shortcut: `shortcut`
    "weights, bare": {"weight_bits": 1},
    "weights, late": {"weight_bits": 1, "norms": True},
    "weights, by group": {"weight_bits": 1, "norms": True},
    "weights, distilled": {"weight_bits": 1, "norms": True},
    "weights + inputs": {"weight_bits": 1, "activation_bits": 1, "norms": True},
}
LATE, GROUPS, DISTILLED, TASK = "weights, late", "weights, by group", "weights, distilled", "en-fr"
NO_NORMS, BARE = "weights, no norms", "weights, bare"
NORMS = WAYS["float + norms"]
BEFORE: dict[str, list[dict[str, Any]]] = {                             # how the parts before the last are trained
    LATE: [NORMS],
    GROUPS: [NORMS, {**WAYS["weights"], "float_attention": True}],
}
PROJECTIONS = ("out", "cross_out")
ONE_BIT = (*PROJECTIONS, "qkv", "cross_q", "cross_kv", "up", "down")    # a fleet's matrices but for its embeddings
DEPTHS, PRODUCTS = (64, 256, 1024, 4096), 4096
KINDS = ("float", "signs", "scaled")
CALLED = {"float": "float weights", "signs": "their signs", "scaled": "±B/2 by sign"}


def cells(quick: bool) -> list[Cell]:
    """A fleet of all seeds a way, and products a seed."""
    seeds = [0, 1] if quick else [0, 1, 2]
    size = {"d_model": 32 if quick else 64, "steps": 400 if quick else 1500, "seeds": seeds}
    return [*(Cell({"way": way, **size}) for way in WAYS), *(Cell({"way": "products"}, seed) for seed in seeds)]


def prepare(data: Path, shared: Path, quick: bool) -> None:
    build_corpus(data, [direction(TASK)]).save(shared / "corpus")


def run(params: Mapping[str, Any], seed: int, shared: Path) -> dict[str, Any]:
    """Held-out losses of every seed, or the variances of products."""
    if params["way"] == "products":
        return {"variances": variances(seed)}
    whole, size, steps = Corpus.load(shared / "corpus"), params["d_model"], params["steps"]
    corpus = replace(whole, train={TASK: whole.train[TASK]}, test={TASK: whole.test[TASK]})

    def train(
        way: Mapping[str, Any], steps: int, begin: Weights | None = None,
        objective: Callable[[Shape], Objective] | None = None,
    ) -> Trained:  # fmt: skip
        members = [Member(one, (Phase(steps, (1.0,), warmup=60, kind="cosine"),)) for one in params["seeds"]]
        shape = Shape(corpus.vocab, corpus.length, size, 2, 4 * size, "encdec", **way)
        return train_fleet(shape, members, corpus, 32, begin=begin, objective=objective and objective(shape))

    way, before = params["way"], BEFORE.get(params["way"], [])
    if way == NO_NORMS:
        done = train(WAYS[way], steps, objective=through_shortcut)
        return {"losses": evaluate(done.shape, shortcut(done.weights), corpus.test[TASK])}
    taught = partial(distilled, teacher=train(WAYS["float"], steps)) if way == DISTILLED else None
    begin, part = None, steps // (len(before) + 1)
    for one in before:
        begin = train(one, part, begin).weights
    return {"losses": train(WAYS[way], part, begin, taught).final(TASK)}


def through_shortcut(shape: Shape) -> Objective:
    """The usual loss of what `shortcut` makes of a fleet's weights."""
    return lambda weights, source, target: training_loss(shape, shortcut(weights), source, target)


def shortcut(weights: Weights) -> Weights:
    """One-bit matrices with a way around attention's projection W, as weights of a model of floats that has neither:
    y = x W + x is x (W + 1), where x is what attention has mixed.
    """
    found = dict(weights)
    for name, weight in weights.items():                                # [members, in, out]
        last = name.rpartition(".")[2]
        if last in ONE_BIT:
            found[name] = binarized(weight.transpose(1, 2)).transpose(1, 2)
        if last in PROJECTIONS:
            found[name] = found[name] + torch.eye(weight.shape[1])
    return found


def variances(seed: int) -> dict[str, list[float]]:
    """Of products of D terms, by kind, for each of DEPTHS."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for depth in DEPTHS:
        x = torch.randn(PRODUCTS, depth, generator=generator)
        w = torch.randn(PRODUCTS, depth, generator=generator) / math.sqrt(depth)
        for kind, weight in zip(KINDS, (w, w.sign(), binarized(w)), strict=True):
            found[kind].append(float((x * weight).sum(dim=1).var()))
    return found


def judge(results: Results) -> list[Claim]:
    losses = {one.params["way"]: np.array(one.values["losses"]) for one in results if "losses" in one.values}
    products = [one.values["variances"] for one in results if "variances" in one.values]

    def less(way: str, other: str) -> Estimate:
        return mean((losses[way] - losses[other]).tolist())

    def worse(way: str) -> tuple[str, Estimate]:
        seeds = losses[way] > losses["weights"]
        return f"loss, without - with (above 0 in {seeds.sum()} of {len(seeds)} seeds)", less(way, "weights")

    def slopes(kind: str) -> Estimate:
        return mean([float(np.polyfit(np.log(DEPTHS), np.log(one[kind]), 1)[0]) for one in products])

    relative = mean((losses["weights"] / losses["float"] - 1).tolist())
    return [
        Claim.within("Products with bare signs grow as D", "slope of log variance", slopes("signs"), 0.9, 1.1),
        Claim.within("Products with B/2 do not", "slope of log variance", slopes("scaled"), -0.25, 0.25),
        Claim.below("One-bit weights come within 5 % of the float loss", "relative difference", relative, 0.05),
        Claim.above("They need the norms", *worse(NO_NORMS), 0.0),
        Claim.above("They need the norms and the shortcut", *worse(BARE), 0.0),
        Claim.above("One-bit inputs cost more", "loss, with - without", less("weights + inputs", "weights"), 0.0),
        Claim.below("Binarizing late helps", "loss, late - from the start", less(LATE, "weights"), 0.0),
        Claim.below("Binarizing by group helps more", "loss, by group - all at once", less(GROUPS, LATE), 0.0),
        Claim.below("A float teacher helps", "loss, distilled - from the text", less(DISTILLED, "weights"), 0.0),
    ]


def tables(results: Results) -> dict[str, Table]:
    """The losses of every way."""
    rows = [(str(one.params["way"]), " ".join(f"{loss:.3f}" for loss in one.values["losses"]),
             f"{np.mean(one.values['losses']):.3f}") for one in results if "losses" in one.values]  # fmt: skip
    return {"Held-out loss, nats a target token": [("way", "each seed", "mean"), *rows]}


def plot(results: Results, folder: Path) -> dict[str, Path]:
    """Losses by way, and variances by depth."""
    draws = {"Held-out loss": _losses(results), "Products of one-bit weights": _variances(results)}
    return {"Dots are seeds, bars their means": panels(draws, folder / "binary.png")}


def _losses(results: Results) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        found = [(one.params["way"], one.values["losses"]) for one in results if "losses" in one.values]
        ways = [way for way, _ in found]
        axes.barh(ways, [np.mean(values) for _, values in found], height=0.5, alpha=0.5)
        for way, values in found:
            axes.plot(values, [way] * len(values), "k.", ms=4)
        axes.invert_yaxis()
        axes.set_xlabel("held-out loss, nats a target token", fontsize=8)

    return draw


def _variances(results: Results) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        products = [one.values["variances"] for one in results if "variances" in one.values]
        for number, kind in enumerate(KINDS):
            mean_of = np.mean([one[kind] for one in products], axis=0)
            axes.plot(DEPTHS, mean_of, f"{MARKS[number]}-", ms=4, lw=1, color=f"C{number}", label=CALLED[kind])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.set_xticks(DEPTHS, [f"{depth:,}" for depth in DEPTHS])
        axes.set_xlabel("D, terms of a product", fontsize=8)
        axes.set_ylabel("variance of a product", fontsize=8)

    return draw


STUDY = Study(
    "One-bit Transformers for translation",
    "Zhang, Garg, Cao, Lew, Ghorbani, Zhang and Firat 2023",
    PROTOCOL, cells, run, judge, plot, prepare, tables=tables,
)  # fmt: skip
