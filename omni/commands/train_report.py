"""`omni train report RUN [RUN ...]`: plots that compare runs, on one page."""

import argparse
from pathlib import Path

EPILOG = """example:
  omni train report runs/tiny runs/tiny-muon --out compared.html
A run may still be going on: the page shows what it has logged so far."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The runs, and where the page goes."""
    parser.description = "Losses by step, tokens and hours, by task and modality, speed, memory and data of runs."
    parser.epilog = EPILOG
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder that `omni train --out` wrote")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="(default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    from omni.train.monitor.report import write_report

    write_report(args.runs, args.out)
    print(f"report: {args.out}")
