"""`omni card diff`: what changed between two cards."""

import argparse
from pathlib import Path

EPILOG = """example:
  omni card diff card-before card-after"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The two cards."""
    parser.description = "Figures of two cards; those whose 95 % intervals do not touch are marked."
    parser.epilog = EPILOG
    parser.add_argument("first", type=Path, metavar="A", help="folder of `omni card`")
    parser.add_argument("second", type=Path, metavar="B", help="another")


def run(args: argparse.Namespace) -> None:
    """Print a line a figure."""
    from omni.safety.card.diff import diff

    found = diff(args.first, args.second)
    width = max((len(one.name) for one in found), default=0)
    for one in found:
        before, after = ("-" if value is None else f"{value:.4g}" for value in (one.before, one.after))
        if before != after:
            print(f"{one.name:<{width}}  {before} -> {after}{'  *' if one.apart else ''}")
    differing = sum(one.before != one.after for one in found)
    print(f"{differing} of {len(found)} figures differ; *: both have intervals, which do not touch")
