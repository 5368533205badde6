"""`omni card`: the System Card of a model, every figure linked to its log; and provenance of generated files."""

import argparse
from pathlib import Path

from omni.commands.eval_suite import SUITES
from omni.shipped import NAME, named_model, title

EPILOG = """examples:
  omni card omni-tiny --out card
  omni card runs/mine --runs runs/capability runs/safety --figures guards.json --out card
  omni card diff card-before card-after
  omni card sign answer.wav --out signed.wav
  omni card verify signed.wav
Run `omni eval suite capability` and `safety` first; what is missing or stale is said on the card's face."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The model, what was measured of it, and where the card goes."""
    parser.description = "Write a System Card as card.html, README.md (for Hugging Face) and card.json, with its logs."
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="MODEL", help=f"{NAME}, a model folder, or a run that has one")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the card and copies of its logs")
    parser.add_argument(
        "--runs", type=Path, nargs="+", metavar="FOLDER",
        help=f"of `omni eval suite` (default: those there are of {', '.join(f'runs/{one}' for one in SUITES)})",
    )  # fmt: skip
    parser.add_argument(
        "--figures", type=Path, nargs="*", metavar="FILE", default=[],
        help="outputs of `omni bench ... --json`, whose last line holds the figures",
    )  # fmt: skip
    parser.add_argument("--third-party", type=Path, metavar="FILE", help="JSON of others' results (docs/safety.md)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Collect, render, and say what is missing and where the card is."""
    from omni.figures import Report
    from omni.safety.card.collect import collect, has_interval
    from omni.safety.card.render import write_card

    folder = named_model(args.model)
    card = collect(folder, title(folder), args.runs or _runs(), args.figures, args.third_party, args.out)
    written = write_card(card, folder, args.out)
    for problem in card.problems:
        print(problem)
    print(f"{len(card.numbers)} figures, {len(card.problems)} problems\ncard: {', '.join(map(str, written))}")
    if args.json:
        report = Report("card")
        for name, one in card.numbers.items():
            measure = one.measure
            ends = {"low": measure.low, "high": measure.high} if has_interval(measure) else {}
            report.add(name, measure.value, measure.unit, **ends, n=measure.n)
        report.add("problems", len(card.problems), "problems")
        print(report.json())


def _runs() -> list[Path]:
    """Where suites write unless they are told otherwise."""
    folders = [Path("runs") / name for name in SUITES]
    return [folder for folder in folders if (folder / "suite.json").is_file()]
