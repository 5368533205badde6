"""`omni bench checkpoint`: how long training waits for a checkpoint, and how long the disk needs for it."""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni.figures import Report

EPILOG = """example:
  omni bench checkpoint --json
The shape is that of `omni bench train`, 8.5 million parameters with AdamW. A checkpoint is begun after every other
step; the steps between are the comparison, so what the writing thread takes from training counts as well."""


def configure(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.description = "How long training waits for a checkpoint."
    parser.epilog = EPILOG
    parser.add_argument("--rounds", type=int, default=8, help="checkpoints (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure and print the table."""
    from omni.errors import InputError
    from omni.figures import Report

    if args.rounds < 1:
        raise InputError(f"--rounds: must be at least 1, got {args.rounds}")
    report = Report("bench checkpoint")
    with tempfile.TemporaryDirectory(prefix="omni-bench-") as folder:
        measure(report, Path(folder), args.rounds)
    print(report.table())
    if args.json:
        print(report.json())


def measure(report: "Report", folder: Path, rounds: int) -> None:
    """pause_share: what a checkpoint adds to the step it follows; write_seconds: until it is the newest on disk."""
    from omni.train.bench.training import STEPS, Ours, bench_recipe, made_up
    from omni.train.data.loader import Dataset

    data = Dataset.load([made_up(folder / "shards")], STEPS, "drop")
    ours = Ours("ours", bench_recipe(data), folder / "run")
    trainer, pauses, writes, plain, busy = ours.trainer, [], [], [], []
    ours.turn(2)
    for _ in range(rounds):
        plain.append(ours.turn(1)[0][0])
        began = time.perf_counter()
        trainer.saver.begin(trainer._state(), data)
        pauses.append(time.perf_counter() - began)
        busy.append(ours.turn(1)[0][0])                                 # the thread writes during this step
        trainer.saver.wait()
        writes.append(time.perf_counter() - began)
        trainer.saver.settle(*trainer.saver.report())
    newest = max((folder / "run" / "checkpoints").glob("step-*"))
    step = statistics.median(plain)
    report.add("step_seconds", step, "s", low=min(plain), high=max(plain), n=rounds)
    report.add("pause_seconds", statistics.median(pauses), "s", low=min(pauses), high=max(pauses), n=rounds)
    report.add("pause_share", statistics.median(pauses) / step, "of a step", n=rounds)
    slowed = [after / before - 1 for before, after in zip(plain, busy, strict=True)]
    report.add("step_while_writing", statistics.median(slowed), "longer", low=min(slowed), high=max(slowed), n=rounds)
    report.add("write_seconds", statistics.median(writes), "s", low=min(writes), high=max(writes), n=rounds)
    report.add("checkpoint_bytes", sum(file.stat().st_size for file in newest.iterdir()) / 2**20, "MiB")
    ours.close()
