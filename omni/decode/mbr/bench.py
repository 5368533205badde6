"""`omni bench mbr`: choosing by chrF among many candidates, against mbrs."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

EPILOG = """example:
  omni bench mbr --json
The candidates are variants of a sentence: words changed, dropped and doubled. Both choose among the same, in turns,
ours among eight times as many, too (`_larger`), beside which beginning a thread takes no time. mbrs runs on as many
processes as there are cores, and where its Rust part (fastchrf) is installed, that is measured too."""
SENTENCE = "the small bird sat on the old apple tree"                  # about as long as a message of a catalogue
SMALL = 32                                                              # candidates of the many small sets
LARGER = 8                                                              # times the candidates, for ours alone
TIMES = 3                                                               # that ours chooses; the first finds memory anew


def configure(parser: argparse.ArgumentParser) -> None:
    """How many candidates, how often."""
    parser.description = "Minimum Bayes risk decoding by chrF: ours against mbrs, and whether both choose the same."
    parser.epilog = EPILOG
    parser.add_argument("--candidates", type=int, default=1024, metavar="N", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=1, help="sets of that many (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure and print the table."""
    from omni.errors import InputError

    if args.candidates < 2 or args.rounds < 1:
        raise InputError("--candidates must be 2 or more and --rounds 1 or more")
    if find_spec("mbrs") is None:
        raise InputError("mbrs is not installed, and this compares with it; `pip install mbrs`")
    report = measure(args.candidates, args.rounds)
    print(report.table())
    if args.json:
        print(report.json())


def variants(n: int, seed: int) -> list[str]:
    """Sentences that say about the same, as a sampler would draw them."""
    import numpy as np

    random, words = np.random.default_rng(seed), SENTENCE.split()
    said = []
    for _ in range(n):
        fates = random.random(len(words))
        others = random.integers(len(words), size=len(words))
        changed = [
            words[other] if fate < 0.2 else f"{word} {word}" if fate < 0.23 else "" if fate < 0.3 else word
            for word, fate, other in zip(words, fates, others, strict=True)
        ]
        said.append(" ".join(filter(None, changed)))
    return said


def measure(candidates: int, rounds: int) -> Any:
    """Time both on `rounds` sets and compare choices on them and on 20 small ones."""
    import statistics

    from omni.figures import Report
    from omni.progress import progress

    report, cores = Report("bench mbr"), os.cpu_count() or 1
    choice_of(variants(8, 0), cores)                                    # compiles the kernel, once a machine
    small = [variants(SMALL, 1000 + seed) for seed in range(20)]
    theirs = [index for index, _, _ in peer_choices(small, workers=1)]
    same = [one[choice_of(one, cores)[0]] == one[index] for one, index in zip(small, theirs, strict=True)]
    names = ("ours", "one_thread", "ours_larger", "one_thread_larger", "mbrs", "fastchrf")
    times: dict[str, list[float]] = {name: [] for name in names}
    for seed in progress(range(rounds), "choosing in turns", unit="round"):
        said = variants(candidates, seed)
        larger = variants(LARGER * candidates, seed)
        for name, jobs in (("one_thread", 1), ("ours", cores)):
            index, seconds = choice_of(said, jobs)
            times[name].append(seconds)
            times[f"{name}_larger"].append(choice_of(larger, jobs)[1])
        for name in ("mbrs", "fastchrf"):
            if name == "mbrs" or find_spec("fastchrf"):
                ((chosen, seconds, _),) = peer_choices([said], cores, fast=name == "fastchrf")
                times[name].append(seconds)
                same.append(said[chosen] == said[index])
    for name, seconds_of in times.items():
        if seconds_of:
            report.add(f"seconds_{name}", statistics.median(seconds_of), "s", n=rounds)
    for name, ours, ratio in (
        ("mbrs", "ours", "ratio_vs_mbrs"),
        ("fastchrf", "ours", "ratio_vs_fastchrf"),
        ("one_thread", "ours", "ratio_of_cores"),
        ("one_thread_larger", "ours_larger", "ratio_of_cores_larger"),
    ):
        if times[name]:
            ratios = [one / other for one, other in zip(times[name], times[ours], strict=True)]
            report.add(ratio, statistics.median(ratios), "x", low=min(ratios), high=max(ratios), n=rounds)
    report.add("agreement_with_mbrs", sum(same) / len(same), "1", n=len(same))
    return report


def choice_of(candidates: Sequence[str], jobs: int) -> tuple[int, float]:
    """What we choose by chrF in so many threads, and how long it takes: the shortest of three times."""
    from omni.decode.mbr.choose import mbr
    from omni.decode.mbr.utilities import chrf

    spent = []
    for _ in range(TIMES):
        began = time.perf_counter()
        index = mbr(candidates, lambda one, other: chrf(one, other, jobs)).index
        spent.append(time.perf_counter() - began)
    return index, min(spent)


def peer_choices(
    sets: Sequence[Sequence[str]], workers: int, fast: bool = False, metric: str = "chrf", aggregate: bool = False
) -> list[tuple[int, float, float]]:
    """What mbrs chooses of each set, how long it takes for it, and the utility that it expects of it."""
    asked = {"sets": sets, "workers": workers, "fast": fast, "metric": metric, "aggregate": aggregate}
    done = subprocess.run(
        [sys.executable, "-m", "omni.decode.mbr.peer"], input=json.dumps(asked), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return [(index, seconds, score) for index, seconds, score in json.loads(done.stdout.splitlines()[-1])]
