"""`omni quickstart`: from nothing to a trained model, a report and a spoken answer."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Fetch real pictures, captions and speech, make tokens of them by omni-tiny's tokenizers, train a small omni model
with DeepSpeed on two ranks, measure it on held-out items, write a report to look at and listen to, and answer a
question aloud.
Interrupt it at any time; the same command goes on where it stopped."""
EPILOG = """example:
  omni quickstart
  omni quickstart --minutes 60 --out runs/hour        a better model, the same steps"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder of everything it makes")
    parser.add_argument("--minutes", type=float, default=15.0, help="time for the whole (default: %(default)g)")
    parser.add_argument("--cache", type=Path, help="the packages' folder (default: $OMNI_CACHE or ~/.cache/omni)")
    parser.add_argument("--nproc", type=int, default=2, help="training processes (default: %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Run every stage that is not done yet."""
    from omni.commands.stages import Quickstart
    from omni.errors import InputError

    if not 6 <= args.minutes <= 10_000:
        raise InputError(f"--minutes: must lie in 6..10000, got {args.minutes:g}; the default is 15")
    if args.nproc < 1:
        raise InputError(f"--nproc: must be at least 1, got {args.nproc}")
    Quickstart(args.out, args.minutes, args.cache, args.nproc).run()
