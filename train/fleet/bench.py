"""`omni bench sweep`: a sweep of tiny models as fleets in processes, against one model after the other."""

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni.figures import Report
    from omni.train.fleet.pairs import Corpus

EPILOG = """example:
  omni bench sweep --json
One after the other is what a sweep mostly is, here on one thread, which suits models of this size best. A fleet trains
its members in one process of one thread, and there are as many fleets as cores. Both train the same members to the same
losses, which is checked."""
SIZES = (16, 32, 64)                                                    # d_model
TOLERANCE = 1e-3                                                        # nats between both ways after STEPS


def configure(parser: argparse.ArgumentParser) -> None:
    """How many models, for how many steps."""
    parser.description = "A sweep of tiny translation models: fleets against one model after the other."
    parser.epilog = EPILOG
    parser.add_argument("--members", type=int, default=16, help="models of each size (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="steps of each (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure and print the table."""
    from omni.errors import InputError

    if args.members < 1 or args.steps < 1:
        raise InputError("--members and --steps must be 1 or more")
    report = measure(args.members, args.steps)
    print(report.table())
    if args.json:
        print(report.json())


def measure(members: int, steps: int) -> "Report":
    """Time both ways at every size. Raises RuntimeError when they end at other losses."""
    from omni.figures import Report
    from omni.progress import progress

    report, ratios = Report("bench sweep"), []
    cores = os.cpu_count() or 1
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"                                 # of the fleets' processes
    pool = ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"))
    try:
        list(pool.map(_train, [((0,), 16, 1)] * cores))              # starts them
        for size in progress(SIZES, "in turns", unit="size"):
            began = time.perf_counter()
            alone = [loss for seed in range(members) for loss in _train(((seed,), size, steps))]
            sequential = time.perf_counter() - began
            began = time.perf_counter()
            share = [(tuple(range(first, members, cores)), size, steps) for first in range(min(cores, members))]
            together = list(pool.map(_train, share))
            fleets = time.perf_counter() - began
            found = [together[seed % len(share)][seed // cores] for seed in range(members)]
            if max(abs(one - other) for one, other in zip(alone, found, strict=True)) > TOLERANCE:
                raise RuntimeError(f"d_model {size}: a fleet's losses are not those of its members alone")
            ratios.append(sequential / fleets)
            report.add(f"speedup_at_{size}", ratios[-1], "x", n=members)
    finally:
        pool.shutdown()
        os.environ.pop("OMP_NUM_THREADS") if threads is None else os.environ.update(OMP_NUM_THREADS=threads)
    report.add("speedup_vs_sequential", sorted(ratios)[len(ratios) // 2], "x", low=min(ratios), high=max(ratios))
    return report


def _train(sweep: tuple[tuple[int, ...], int, int]) -> list[float]:
    """(seeds, d_model, steps) to the members' losses on the training pairs."""
    import torch

    from omni.train.fleet.model import Shape
    from omni.train.fleet.trainer import Member, Phase, train_fleet

    seeds, size, steps = sweep
    torch.set_num_threads(1)
    corpus = random_corpus()
    shape = Shape(corpus.vocab, corpus.length, size, 2, 4 * size)
    members = [Member(seed, (Phase(steps, (1.0,)),)) for seed in seeds]
    return train_fleet(shape, members, corpus, batch=16).final("copy")


def random_corpus(vocab: int = 515, length: int = 12, pairs: int = 2000) -> "Corpus":
    """Random lines that are to be copied: as large as a real corpus, and there without any data."""
    import numpy as np

    from omni.tokenizers.text import TextTokenizer
    from omni.train.fleet.pairs import BOS, EOS, PAD, Corpus, Pairs

    random = np.random.default_rng(0)
    source, target = np.full((pairs, length + 1), PAD), np.full((pairs, length + 2), PAD)
    for row, size in enumerate(random.integers(4, length + 1, size=pairs)):
        line = random.integers(4, vocab, size=size)
        source[row, : size + 1], target[row, : size + 2] = [3, *line], [BOS, *line, EOS]
    both = Pairs(source, target)
    few = Pairs(source[:16], target[:16])
    return Corpus({"copy": both}, {"copy": few}, vocab, length, TextTokenizer.train(["a b"], 258))
