"""`omni eval compare`: two runs of a suite, sample by sample, with paired tests."""

import argparse
from pathlib import Path

EPILOG = """example:
  omni eval compare runs/before runs/after"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.description = (
        "Differences between two folders of `omni eval suite` over the samples that both scored: shares by McNemar's"
        " exact test, other figures by randomization; p-values are adjusted for their number (Holm)."
    )
    parser.epilog = EPILOG
    parser.add_argument("first", type=Path, metavar="A", help="folder of `omni eval suite`")
    parser.add_argument("second", type=Path, metavar="B", help="another, of the same suite")
    parser.add_argument("--json", action="store_true", help="print the differences as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Print a line a figure."""
    from omni.eval.suite.compare import compare
    from omni.figures import Report

    found = compare(args.first, args.second)
    report = Report("eval compare")
    width = max(len(one.name) for one in found)
    for one in found:
        report.add(f"{one.name}_change", one.change, "", low=one.low, high=one.high, n=one.n)
        report.add(f"{one.name}_p", one.p, "", n=one.n)
        values = f"{one.first:.4g} -> {one.second:.4g}"
        print(f"{one.name:<{width}}  {values:<20}  {one.change:+.4g} [{one.low:+.4g}, {one.high:+.4g}]  "
              f"p={one.p:.3g}  n={one.n}")  # fmt: skip
    if args.json:
        print(report.json())
