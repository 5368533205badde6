"""`omni bench memory`: what the plan says of a run's memory beside the memory that real runs take."""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni.train.plan.measure import Parts
    from omni.train.recipe import Recipe

EPILOG = """example:
  omni bench memory --json
Trains recipes for three steps on this machine's processor, in one process and in two, under every stage of ZeRO, and
counts what torch's allocator gives out. Some minutes."""
CASES = (                                                               # preset, ZeRO, precision, ranks, checkpointing
    *(("mini", stage, "fp32", world, False) for world in (1, 2) for stage in range(4)),
    *(("mini", stage, "bf16", 2, False) for stage in range(4)),
    ("mini", 1, "fp32", 1, True),
    ("tiny", 1, "fp32", 1, False),
    ("tiny", 1, "fp32", 1, True),
    ("tiny", 3, "bf16", 2, True),
)
LEAST = 2**20                                                           # bytes of a part that is worth comparing
MIB = 2**20


def configure(parser: argparse.ArgumentParser) -> None:
    """Nothing but the output's form."""
    parser.description = "Memory as planned beside memory as measured, part by part, for small real runs."
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure every case and print a table in MiB: planned / measured."""
    from omni.figures import Report
    from omni.progress import progress
    from omni.train.bench.training import made_up
    from omni.train.plan.measure import measured

    report, rows = Report("bench memory"), []
    errors: list[float] = []
    peaks: list[float] = []
    with tempfile.TemporaryDirectory(prefix="omni-bench-") as folder:
        shards = made_up(Path(folder) / "shards")
        for preset, stage, precision, world, checkpointing in progress(CASES, "memory"):
            found, planned = measured(small_recipe(shards, preset, stage, precision, checkpointing), world)
            name = f"{preset}_zero{stage}_{precision}_{world}" + "_checkpointing" * checkpointing
            for part, value in asdict(found).items():
                report.add(f"measured_{name}_{part}", value / MIB, "MiB")
                report.add(f"planned_{name}_{part}", getattr(planned, part) / MIB, "MiB")
            each = difference(found, planned)
            peaks.append(each.pop("peak"))
            errors += each.values()
            rows.append((name, found, planned))
    print(table(rows))
    report.add("largest_part_difference", max(errors), "of the measured", n=len(errors))
    report.add("largest_peak_difference", max(peaks), "of the measured", n=len(peaks))
    print(f"largest difference: {max(errors):.1%} of a part, {max(peaks):.1%} of the peak")
    if args.json:
        print(report.json())


def difference(found: "Parts", planned: "Parts") -> dict[str, float]:
    """How far the plan is from the measured, as a share of it, for every part that is there."""
    pairs = {part: (value, asdict(planned)[part]) for part, value in asdict(found).items()}
    worth = {part: pair for part, pair in pairs.items() if max(pair) >= LEAST}
    return {part: abs(plan - value) / max(value, LEAST) for part, (value, plan) in worth.items()}


def table(rows: "list[tuple[str, Parts, Parts]]") -> str:
    """Lines of `planned / measured` in MiB."""
    titles = list(asdict(rows[0][1]))
    lines = [f"{'MiB, planned / measured':<32}" + "".join(f"{title:>17}" for title in titles)]
    for name, found, planned in rows:
        cells = [f"{asdict(planned)[part] / MIB:.1f} / {value / MIB:.1f}" for part, value in asdict(found).items()]
        lines.append(f"{name:<32}" + "".join(f"{cell:>17}" for cell in cells))
    return "\n".join(lines)


def small_recipe(shards: Path, preset: str, stage: int, precision: str, checkpointing: bool) -> "Recipe":
    """Eight rows of 256 steps, two at a time."""
    from omni.train.recipe import Recipe

    values = {
        "data": [str(shards)],
        "sequence_length": 256,
        "too_long": "drop",
        "train_on": "everything",
        "model": {"preset": preset},
        "batch": {"rows": 8, "micro": 2},
        "zero": stage,
        "precision": precision,
        "activation_checkpointing": checkpointing,
    }
    return Recipe.parse(values, "bench")
