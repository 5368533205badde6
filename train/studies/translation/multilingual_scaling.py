"""Does one power law, with one exponent for every mixture, tell how a translation model's loss falls with its size?"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from omni.train.fleet.model import Shape
from omni.train.fleet.pairs import Corpus, build_corpus, direction
from omni.train.fleet.trainer import Member, Phase, train_fleet
from omni.train.scaling.fit import Fit, fit
from omni.train.scaling.fraction import fraction_at, fractions
from omni.train.studies.harness.claims import Claim, Estimate, mean
from omni.train.studies.harness.plots import MARKS, decades, panels
from omni.train.studies.harness.study import Cell, Results, Study, Table

PROTOCOL = """
Data. Lines of application catalogues and stamps of up to 12 tokens (byte-level BPE of 512 pieces), held out by the
project's own splits. Two mixtures of two tasks: English into French and Icelandic (en-xx), French and Icelandic into
English (xx-en). The first task has the weight p, the second 1 - p, for p in 0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.

Models. Prefix language models of two layers, d_model 16, 32, 48 and 64 (6 thousand to 99 thousand parameters without
embeddings), target loss only, Adam, peak learning rate 3e-3, 60 steps of warmup, cosine; 600 steps of 32 pairs and 3
seeds. Quick: en-xx only, d_model 16, 32 and 64, 300 steps of 16 pairs, 2 seeds. Learning rate and steps are the same
for every size and were not tuned.

Fits. Losses of each task and seed over its own weight: the law L(N; p) = beta_p N^-alpha + L_inf with one alpha and
one L_inf for all weights (Huber's loss of log-losses). Points are (size, weight) with a weight above 0.

Claims, each over seeds, of whose tasks the mean counts, with Student's 95 % interval.
1. One exponent: with L_inf of the joint fit, alpha_p is fitted within each weight and regressed on p. The change from
p = 0.1 to p = 1 as a share of the joint alpha lies within -0.2 and 0.2.
2. A weight that was left out (0.7) is predicted through the effective fraction: mean absolute error below 2 %.
3. The largest size, left out, is predicted: mean absolute error over the weights below 2 %.
4. Into several languages f(p) is near p: the mean of f(p) - p over p = 0.3, 0.5 and 0.7 lies within -0.1 and 0.1.
5. Into English f(p) is larger than p: the same mean lies above 0.
6. On planted truth (alpha 0.3, L_inf 1.5, f = p + 0.6 p^0.8 (1-p)^1.3, 0.3 % of noise, sizes over a factor of 16) alpha
is found within 0.02 and f within 0.03 (largest error over the weights).

Until 29 November 2026 a seed's tasks counted as observations of their own, though both tasks of a mixture are losses of
one model; the same cells then gave narrower intervals.
"""
WEIGHTS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
LEFT_OUT = 0.7
MIDDLE = (0.3, 0.5, 0.7)
TASKS = {"en-xx": ("en-fr", "en-is"), "xx-en": ("fr-en", "is-en")}
ALL = [task for tasks in TASKS.values() for task in tasks]
NAMED = {"en-fr": "English to French", "en-is": "English to Icelandic",
         "fr-en": "French to English", "is-en": "Icelandic to English"}  # fmt: skip
ALPHA, FLOOR, SHAPE, NOISE = 0.3, 1.5, (0.6, 0.8, 1.3), 0.003           # of planted truth


def cells(quick: bool) -> list[Cell]:
    """A fleet a cell: all weights of one size."""
    sizes = (64, 32, 16) if quick else (64, 48, 32, 16)
    steps, batch, seeds = (300, 16, 2) if quick else (600, 32, 3)
    found = [
        Cell({"mixture": mixture, "d_model": size, "steps": steps, "batch": batch}, seed)
        for size in sizes for mixture in (("en-xx",) if quick else TASKS) for seed in range(seeds)
    ]  # fmt: skip
    return [*found, *(Cell({"planted": True}, seed) for seed in range(3 if quick else 10))]


def prepare(data: Path, shared: Path, quick: bool) -> None:
    directions = [direction(task) for task in (TASKS["en-xx"] if quick else ALL)]
    build_corpus(data, directions).save(shared / "corpus")


def run(params: Mapping[str, Any], seed: int, shared: Path) -> dict[str, Any]:
    """Losses of both tasks at every weight; or how far a fit is from planted truth."""
    if "planted" in params:
        return _planted(seed)
    corpus = Corpus.load(shared / "corpus")
    tasks, names = TASKS[params["mixture"]], list(corpus.train)
    size, steps = params["d_model"], params["steps"]
    shape = Shape(corpus.vocab, corpus.length, size, 2, 4 * size)
    members = [
        Member(seed, (Phase(steps, tuple({tasks[0]: p, tasks[1]: 1 - p}.get(name, 0.0) for name in names),
                            warmup=60, kind="cosine"),))
        for p in WEIGHTS
    ]  # fmt: skip
    done = train_fleet(shape, members, corpus, params["batch"])
    return {"parameters": shape.parameters, **{task: done.final(task) for task in tasks}}


def points_of(results: Results, mixture: str, seed: int, task: str) -> dict[str, np.ndarray]:
    """size, weight and loss of a task in one seed, where it had any weight."""
    rows = []
    first = TASKS[mixture][0] == task
    for one in results:
        if one.params.get("mixture") == mixture and one.seed == seed:
            for p, loss in zip(WEIGHTS, one.values[task], strict=True):
                rows.append((one.values["parameters"], round(p if first else 1 - p, 6), loss))
    size, weight, loss = np.array([row for row in rows if row[1] > 0]).T
    return {"size": size, "weight": weight, "loss": loss}


def judge(results: Results) -> list[Claim]:
    measured: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))  # by claim and seed
    for mixture, seed, task in _trials(results):
        points = points_of(results, mixture, seed, task)
        joint = fit(points, "multilingual")
        measured["exponent"][seed].append(_drift(points, joint))
        measured["weight"][seed].append(_error(points, points["weight"] == LEFT_OUT))
        measured["size"][seed].append(_error(points, points["size"] == points["size"].max()))
        found = fractions(joint.parameters)
        measured[mixture][seed].append(float(np.mean([found[p] - p for p in MIDDLE])))

    def over(name: str) -> Estimate:
        return mean([fmean(of_tasks) for of_tasks in measured[name].values()])

    planted = [one.values for one in results if "planted" in one.params]
    alpha, share = (mean([one[name] for one in planted]) for name in ("alpha_error", "fraction_error"))
    claims = [
        Claim.within("One exponent for every weight", "relative change of alpha over p", over("exponent"),
                     -0.2, 0.2),
        Claim.below("A weight left out is predicted within 2 %", "mean relative error", over("weight"), 0.02),
        Claim.below("The largest size is predicted within 2 %", "mean relative error", over("size"), 0.02),
        Claim.within("Into several languages, f(p) is near p", "mean f(p) - p", over("en-xx"), -0.1, 0.1),
        Claim.above("Into English, f(p) is above p", "mean f(p) - p", over("xx-en"), 0.0),
        Claim.below("On planted truth, alpha is found within 0.02", "mean absolute error", alpha, 0.02),
        Claim.below("On planted truth, f is found within 0.03", "mean of the largest error", share, 0.03),
    ]  # fmt: skip
    return [claim for claim in claims if claim.seeds]                   # the quick run has nothing into English


def tables(results: Results) -> dict[str, Table]:
    """Of each task, whether one exponent and floor for all weights or a law for each tells its losses better."""
    rows, every = [], list[Gap]()
    for mixture in dict.fromkeys(mixture for mixture, _, _ in _trials(results)):
        for task in TASKS[mixture]:
            seeds = [seed for one, seed, other in _trials(results) if (one, other) == (mixture, task)]
            points = [points_of(results, mixture, seed, task) for seed in seeds]
            joint, apart = ([fit(some, law) for some in points] for law in ("multilingual", "separate"))
            counts = (str(len(fits[0].parameters)) for fits in (joint, apart))
            gaps = [gap for one, other in zip(joint, apart, strict=True) if (gap := _gap(one, other))]
            shown = (" ".join(f"{value:+.0f}" for value in column) for column in zip(*gaps, strict=True))
            found = (" ".join(f"{one.parameters[name]:.2g}" for one in joint) for name in ("alpha", "L_inf"))
            rows.append((task, *counts, str(joint[0].n), *found, *(shown if gaps else ("–", "–"))))
            every += gaps
    head = ("task", "parameters, joint", "parameters, apart", "losses", "joint alpha, a seed each", "L_inf",
            "AIC, joint less apart", "AICc, joint less apart")  # fmt: skip
    title = "One law for all weights, or one for each: below 0 the joint one is better"
    return {title + _decided(every): [head, *rows]}


Gap = tuple[float, float]                                               # by AIC and by AICc


def _gap(joint: Fit, apart: Fit) -> Gap | None:
    """By how much the joint law is worse; None for too few losses, which the law for each weight then hits exactly."""
    if joint.aicc is None or apart.aicc is None:
        return None
    assert joint.aic is not None and apart.aic is not None              # which then are known, too
    return joint.aic - apart.aic, joint.aicc - apart.aicc


def _decided(gaps: Sequence[Gap]) -> str:
    """How often each criterion prefers which, and what the correction for few losses, which AICc adds, does to that."""
    if not gaps:
        return ""
    by_aic, by_aicc = (sum(gap < 0 for gap in column) for column in zip(*gaps, strict=True))
    correction = np.mean([aicc - aic for aic, aicc in gaps])
    decides = ", decides" if by_aic != by_aicc else ""
    return (
        f". By AIC it is in {by_aic} of {len(gaps)}, by AICc in {by_aicc}: the correction for few losses,"
        f" {correction:+.0f} of the difference{decides}"
    )


def plot(results: Results, folder: Path) -> dict[str, Path]:
    """Loss against size with the joint fit, of the first seed; its effective fraction; every seed's exponents."""
    found = {}
    for mixture in dict.fromkeys(mixture for mixture, _, _ in _trials(results)):
        points = {(task, seed): points_of(results, mixture, seed, task)
                  for one, seed, task in _trials(results) if one == mixture}  # fmt: skip
        fits = {trial: fit(some, "multilingual") for trial, some in points.items()}
        draws: dict[str, Any] = {
            f"{NAMED[task]}: loss by size": _losses(points[task, 0], fits[task, 0]) for task in TASKS[mixture]
        }
        draws["Effective fraction"] = _fractions({NAMED[task]: fits[task, 0] for task in TASKS[mixture]})
        draws["Exponent within each weight"] = _exponents(points, fits)
        title = f"{mixture}: losses and fractions of seed 0, with the joint fit; exponents of all seeds and their means"
        found[title] = panels(draws, folder / f"{mixture}.png", across=2)
    return found


def _trials(results: Results) -> list[tuple[str, int, str]]:
    pairs = dict.fromkeys((one.params["mixture"], one.seed) for one in results if "mixture" in one.params)
    return [(mixture, seed, task) for mixture, seed in pairs for task in TASKS[mixture]]


def _drift(points: Mapping[str, np.ndarray], joint: Fit) -> float:
    """Change of the exponent from p = 0.1 to 1, regressed over the weights, as a share of the joint exponent."""
    slopes = _slopes(points, joint)
    return float(np.polyfit(list(slopes), list(slopes.values()), 1)[0] * (1 - 0.1) / joint.parameters["alpha"])


def _slopes(points: Mapping[str, np.ndarray], joint: Fit) -> dict[float, float]:
    """{weight: its exponent}, above the floor of the joint fit."""
    floor, slopes = joint.parameters["L_inf"], {}
    for weight in np.unique(points["weight"]):
        rows = points["weight"] == weight
        above = np.log(np.maximum(points["loss"][rows] - floor, 1e-6))
        slopes[float(weight)] = float(-np.polyfit(np.log(points["size"][rows]), above, 1)[0])
    return slopes


def _error(points: Mapping[str, np.ndarray], out: np.ndarray) -> float:
    """Mean relative error of the points `out` [points] bool, predicted from the others."""
    fitted = fit({name: values[~out] for name, values in points.items()}, "multilingual")
    predicted = fitted.predict({name: points[name][out] for name in ("size", "weight")})
    return float(np.abs(predicted / points["loss"][out] - 1).mean())


def _planted(seed: int) -> dict[str, float]:
    size, weight = (grid.ravel() for grid in np.meshgrid((6e3, 2.5e4, 5.5e4, 1e5), WEIGHTS[1:]))
    shares = fraction_at(weight, *SHAPE)
    loss = 20 * (shares * size) ** -ALPHA + FLOOR
    noise = np.exp(NOISE * np.random.default_rng(seed).normal(size=len(loss)))
    fitted = fit({"size": size, "weight": weight, "loss": loss * noise}, "multilingual")
    found = fractions(fitted.parameters)
    errors = [abs(share - fraction_at(np.array(p), *SHAPE)) for p, share in found.items()]
    return {"alpha_error": abs(fitted.parameters["alpha"] - ALPHA), "fraction_error": float(max(errors))}


def _losses(points: Mapping[str, np.ndarray], fitted: Fit) -> Any:
    def draw(axes: Any) -> None:
        for number, weight in enumerate(np.unique(points["weight"])):
            rows = points["weight"] == weight
            sizes = np.geomspace(points["size"].min(), points["size"].max(), 30)
            line = fitted.predict({"size": sizes, "weight": np.full(30, weight)})
            axes.plot(sizes, line, color=f"C{number}", lw=1)
            dots = points["size"][rows], points["loss"][rows]
            axes.plot(*dots, "o", ms=3, color=f"C{number}", label=f"p = {weight:g}")
        decades(axes, np.unique(points["size"]).tolist(), points["loss"].tolist())
        axes.set_xlabel("parameters without embeddings", fontsize=8)
        axes.set_ylabel("held-out loss, nats a target token", fontsize=8)

    return draw


def _fractions(shapes: Mapping[str, Fit]) -> Any:
    def draw(axes: Any) -> None:
        weights = np.linspace(0.01, 1, 60)
        axes.plot([0, 1], [0, 1], color="grey", lw=0.8, ls=":")
        for number, (task, fitted) in enumerate(shapes.items()):
            found = fractions(fitted.parameters)
            mark = MARKS[number]
            axes.plot(list(found), list(found.values()), mark, ms=4, color=f"C{number}", label=task)
            if fitted.fraction:
                axes.plot(weights, fraction_at(weights, *fitted.fraction), color=f"C{number}", lw=1)
        axes.set_xlabel("weight p of the task", fontsize=8)
        axes.set_ylabel("effective share f(p) of the model", fontsize=8)

    return draw


def _exponents(points: Mapping[tuple[str, int], Mapping[str, np.ndarray]], fits: Mapping[tuple[str, int], Fit]) -> Any:
    def draw(axes: Any) -> None:
        for number, task in enumerate(dict.fromkeys(task for task, _ in points)):
            trials = [trial for trial in points if trial[0] == task]
            slopes = [_slopes(points[trial], fits[trial]) for trial in trials]
            shift, mark = 0.016 * (number - 0.5), MARKS[number]
            for one in slopes:
                axes.plot([p + shift for p in one], list(one.values()), mark, ms=3, mfc="none", color=f"C{number}")
            means = {p: float(np.mean([one[p] for one in slopes])) for p in slopes[0]}
            axes.plot(list(means), list(means.values()), "-", lw=1, color=f"C{number}", label=NAMED[task])
            joint = float(np.mean([fits[trial].parameters["alpha"] for trial in trials]))
            axes.axhline(joint, color=f"C{number}", lw=0.8, ls=":", label="the joint fit's")
        axes.set_xlabel("weight p of the task", fontsize=8)
        axes.set_ylabel("exponent alpha", fontsize=8)

    return draw


STUDY = Study(
    "Scaling laws of multilingual translation",
    "Fernandes, Ghorbani, Garcia, Freitag and Firat 2023",
    PROTOCOL, cells, run, judge, plot, prepare, tables=tables,
)  # fmt: skip
