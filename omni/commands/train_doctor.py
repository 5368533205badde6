"""`omni train doctor RECIPE`: the highest stable rate, the warmup it needs and the parts that bend most."""

import argparse
from pathlib import Path

EPILOG = """example:
  omni train doctor tiny
  omni train doctor recipe.yaml --steps 32 --json
Four to twelve trials of --steps steps each, from the recipe's first weights on its own data, on one process. A trial
repeats four batches; its rate is stable where it learns them, and never gets far worse on the way. With stages the
first is tried. Interrupted, the same command goes on. What takes hundreds of steps to go wrong is not seen:
`monitor: {curvature: 200}` in the recipe watches the long run."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The recipe, and how long a trial is."""
    parser.description = "Try a recipe for minutes before it trains for days."
    parser.epilog = EPILOG
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file, or a name that `omni train` knows")
    parser.add_argument("--steps", type=int, default=16, help="of a trial (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results lie (default: runs/doctor/RECIPE)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the recipe")


def run(args: argparse.Namespace) -> None:
    """Print what was found."""
    from omni.errors import InputError
    from omni.train.recipe import Recipe

    if args.steps < 10:
        raise InputError(f"--steps {args.steps}: a trial needs at least 10 steps to tell anything")
    pairs = [word.split("=", 1) for word in args.set]
    if any(len(pair) < 2 for pair in pairs):
        raise InputError("--set: write KEY=VALUE, as in --set optimizer.lr=0.001")
    recipe = Recipe.load(args.recipe, dict(pairs))
    if recipe.dpo.beta or recipe.parallel.size > 1:
        raise InputError("train doctor: tries a loss over tokens on one process; use parallel.* 1 and no dpo")
    from omni.train.curvature.doctor import examine, report, told

    out = args.out or Path("runs/doctor") / Path(args.recipe).stem
    findings = examine(recipe, args.steps, out)
    print(told(recipe, findings))
    print(f"{out}/losses.png shows the trials, findings.json has the figures")
    if args.json:
        print(report(recipe, findings).json())
