"""`omni train doctor RECIPE`: the highest stable rate, the warmup it needs and the parts that bend most."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omni.commands.recipe_flags import add_recipe_flags, given_keys

if TYPE_CHECKING:
    from omni.train.recipe import Recipe

EPILOG = """example:
  omni train doctor tiny
  omni train doctor recipe.yaml --steps 32 --optimizer.lr 0.001 --json
Four to twelve trials of 16 steps (--steps; up to thirteen above that, fourteen above 64), from the recipe's first
weights on its own data, on one process. A trial repeats four batches; its rate is stable where it learns them, and
never gets far worse on the way. With stages the first is tried. Interrupted, the same command goes on. What takes
hundreds of steps to go wrong is not seen: `monitor: {curvature: 200}` in the recipe watches the long run."""
MOST_ROWS = 4                                                           # of a batch, where there is no GPU


def configure(parser: argparse.ArgumentParser) -> None:
    """The recipe, and how long a trial is; every key of a recipe is a flag."""
    parser.description = "Try a recipe for minutes before it trains for days."
    parser.epilog = EPILOG
    parser.add_argument("recipe", metavar="RECIPE", help="YAML file, or a name that `omni train` knows")
    parser.add_argument("--steps", type=int, default=16, help="of a trial (default: %(default)s)")
    most = f"{MOST_ROWS} of them at most without a GPU"
    parser.add_argument("--rows", type=int, help=f"of a trial's batches (default: the recipe's, {most})")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results lie (default: runs/doctor/RECIPE)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="change a key of the recipe, as --KEY VALUE does")  # fmt: skip
    add_recipe_flags(parser, "keys of the recipe: those of `omni train`", shown=False)


def run(args: argparse.Namespace) -> None:
    """Print what was found."""
    from omni.errors import InputError
    from omni.train.recipe import Recipe

    if args.steps < 10:
        raise InputError(f"--steps {args.steps}: a trial needs at least 10 steps to tell anything")
    if args.rows is not None and args.rows < 1:
        raise InputError(f"--rows {args.rows}: a batch has at least 1")
    pairs = [word.split("=", 1) for word in args.set]
    if any(len(pair) < 2 for pair in pairs):
        raise InputError("--set: write KEY=VALUE, as in --set optimizer.lr=0.001")
    recipe = Recipe.load(args.recipe, {**given_keys(args), **dict(pairs)})
    if not recipe.optimizer.lr > 0:
        raise InputError(f"optimizer.lr: {recipe.optimizer.lr:g} moves nothing, so that there is nothing to try")
    if recipe.dpo.beta or recipe.parallel.size > 1:
        raise InputError("train doctor: tries a loss over tokens on one process; use parallel.* 1 and no dpo")
    from omni.train.curvature.doctor import examine, report, told

    recipe, notes = _lighter(recipe, args.rows)
    out = args.out or Path("runs/doctor") / Path(args.recipe).stem
    findings = examine(recipe, args.steps, out, notes)
    print(told(recipe, findings))
    print(f"{out}/losses.png shows the trials, findings.json has the figures")
    if args.json:
        print(report(recipe, findings).json())


def _lighter(recipe: "Recipe", rows: int | None) -> "tuple[Recipe, list[str]]":
    """The recipe as this machine can try it in minutes, and what to say of what is other than in the long run."""
    import torch

    from omni.precision import processor_has_bf16

    gpu, notes = torch.cuda.is_available(), []
    rows = rows or min(recipe.batch.rows, recipe.batch.rows if gpu else MOST_ROWS)
    if rows != recipe.batch.rows:
        notes.append(f"trials have batches of {rows} rows, not {recipe.batch.rows}, whose gradients are noisier: the"
                     " rates that are found are rather too low (--rows changes that)")  # fmt: skip
    if recipe.precision == "bf16" and not gpu and not processor_has_bf16():
        notes.append("this processor imitates bf16, many times as slow as fp32; trials are in fp32")
        recipe = replace(recipe, precision="fp32")
    batch = replace(recipe.batch, rows=rows, micro=min(recipe.batch.micro, rows))
    return replace(recipe, batch=batch), notes
