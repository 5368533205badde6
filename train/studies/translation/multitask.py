"""Do multi-task optimizers beat weighted sums of losses in translation? (Xin et al. 2022, their second problem)"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omni.train.fleet.model import Shape, initial, training_loss
from omni.train.fleet.pairs import Corpus, Pairs, build_corpus, direction
from omni.train.fleet.trainer import BETAS, CLIP, EPS, evaluate
from omni.train.multitask import method
from omni.train.schedule import Schedule
from omni.train.studies.dynamics import multitask as vision
from omni.train.studies.harness.study import Cell, Results, Study

PROTOCOL = """
Problem. English into French with all training lines of up to 12 tokens, and English into Icelandic with 2,000 of them
(byte-level BPE of 512 pieces), as two tasks of one model; held-out lines by the project's own splits, of which those of
even number choose the checkpoint and the others are reported. A prefix language model of two layers, d_model 32, all of
whose parameters both tasks share; Adam, 60 steps of warmup, then 1/sqrt(step), the gradient clipped at 1; each step
takes 16 pairs of either task. 400 steps, validation ten times; what is reported is the test loss at the step with the
best validation sum (early stopping).

Front. Weighted sums with weights (w, 1 - w), w in 0.1, 0.25, 0.5, 0.75, 0.9. Methods: MGDA, PCGrad, GradNorm, IMTL-G,
random weights (Dirichlet), GradDrop, GradVac, uncertainty, CAGrad, Nash-MTL. All at peak rates 0.001, 0.003 and 0.01,
the one with the best mean validation sum over seeds being taken for each method and weight. Seeds 0-2 draw weights and
batches. Quick: 200 steps, the middle three weights, the first five methods, the last two rates.

Left out, so that the whole stays below twenty minutes of processor time: IMTL-L and normal random weights, which
`multitask` has, and steps beyond 400.

Claims. Gain and seed deviations are those of the study `multitask`: for each method the gain over the convex front is
below 2 seed deviations; at w = 0.5 the spread over the rates is above 2 of them; and at w = 0.5 and the largest rate
the log of the test loss at the end over that at the best validation is above 0.
"""
TASKS, NAMES, LOW_PAIRS = ("en-fr", "en-is"), ("English into French", "English into Icelandic"), 2000
FEW = ("mgda", "pcgrad", "gradnorm", "imtl-g", "rlw-dirichlet")
MORE = (*FEW, "graddrop", "gradvac", "uncertainty", *vision.SOLVED)
Batch = tuple[torch.Tensor, torch.Tensor]
ROWS, WARMUP, LOOKS, SEEDS = 16, 60, 10, 3


def cells(quick: bool) -> list[Cell]:
    steps, rates, names = (200, (0.003, 0.01), FEW) if quick else (400, (0.001, 0.003, 0.01), MORE)
    ways: list[dict[str, Any]] = [{"method": name, "weight": None} for name in names]
    weights = vision.WEIGHTS[1:-1] if quick else vision.WEIGHTS
    ways += [{"method": "scalarization", "weight": weight} for weight in weights]
    return [Cell({**way, "lr": lr, "steps": steps}, seed) for way in ways for lr in rates for seed in range(SEEDS)]


def prepare(data: Path, shared: Path, quick: bool) -> None:
    build_corpus(data, [direction(TASKS[0]), direction(TASKS[1], LOW_PAIRS)]).save(shared / "corpus")


def run(params: Mapping[str, Any], seed: int, shared: Path) -> Mapping[str, Any]:
    """As `stopped_early` has it."""
    torch.manual_seed(seed)
    corpus, steps, random = Corpus.load(shared / "corpus"), params["steps"], np.random.default_rng(seed)
    shape = Shape(corpus.vocab, corpus.length, 32, 2, 128)
    weights = {name: value.requires_grad_() for name, value in initial(shape, [seed]).items()}
    shares = None if params["weight"] is None else [params["weight"], 1 - params["weight"]]
    combine = method(params["method"], 2, shares, seed=seed)
    trained = list(weights.values())
    optimizer = torch.optim.Adam([*trained, *getattr(combine, "parameters", [])], betas=BETAS, eps=EPS)
    schedule = Schedule("rsqrt", steps, WARMUP)

    def step(at: int, batches: list[Batch]) -> None:
        for group in optimizer.param_groups:
            group["lr"] = params["lr"] * schedule.factor(at)
        optimizer.zero_grad()
        combine.backward([training_loss(shape, weights, *batch)[0] for batch in batches], trained)
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()

    def draw() -> list[Batch]:
        return [_drawn(corpus.train[task], random) for task in TASKS]

    def losses(split: str) -> list[float]:
        """Of both tasks, on every second held-out pair, those of even number or the others."""
        halves = [corpus.test[task].every(2, ("valid", "test").index(split)) for task in TASKS]
        return [evaluate(shape, weights, half)[0] for half in halves]

    return vision.stopped_early(steps, steps // LOOKS, draw, step, losses)


def _drawn(pairs: Pairs, random: np.random.Generator) -> Batch:
    """Sources [1, rows, length + 1] and targets [1, rows, length + 2]."""
    rows = random.integers(len(pairs), size=ROWS)
    return torch.from_numpy(pairs.source[rows])[None], torch.from_numpy(pairs.target[rows])[None]


def plot(results: Results, folder: Path) -> Mapping[str, Path]:
    return vision.plot(results, folder, NAMES)


STUDY = Study(
    "Do multi-task optimizers help in translation?",
    "Xin, Ghorbani, Gilmer, Garg and Firat 2022",
    PROTOCOL, cells, run, vision.judge, plot, prepare, tables=vision.tables,
)  # fmt: skip
