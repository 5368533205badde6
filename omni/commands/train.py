"""`omni train RECIPE`: train a model on token shards with DeepSpeed."""

import argparse
import os
from pathlib import Path

from omni.commands.recipe_flags import add_recipe_flags, given_keys

EPILOG = """examples:
  omni train tiny --out runs/tiny --nproc 2
  omni train recipe.yaml --out runs/mine --optimizer.lr 5e-4 --schedule.steps 2000
  omni train report runs/tiny runs/mine --out compared.html
  torchrun --nproc_per_node 8 -m omni.cli train small --out runs/small
Interrupted, the same command goes on where it stopped. RUN/loss.html shows the losses while it runs."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb; every key of a recipe is one."""
    parser.description = "Train a model from a recipe: a YAML file, or the name of one that comes with omni."
    parser.epilog = EPILOG
    names = "mini, tiny, small, 1b, 7b, 70b, sft, dpo"
    parser.add_argument("recipe", metavar="RECIPE", help=f"YAML file, or one of {names}")
    parser.add_argument("--out", type=Path, metavar="RUN", help="folder of the run (default: runs/RECIPE)")
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine (default: %(default)s)")
    parser.add_argument("--supervise", type=int, default=0, metavar="N", help="start a failed run again, up to N times")
    parser.add_argument("--print_config", action="store_true", help="print the whole recipe and stop")
    parser.add_argument("--dry-run", action="store_true", help="say what the recipe would do with its data and stop")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--resume", action="store_true", help="go on even though the recipe has changed")
    mode.add_argument("--fresh", action="store_true", help="begin again, deleting the run's checkpoints and model")
    add_recipe_flags(parser, "keys of the recipe, with their defaults")


def run(args: argparse.Namespace) -> None:
    """Train, or go on training, and print where the model is."""
    from omni.train.recipe import Recipe

    recipe = Recipe.load(args.recipe, given_keys(args))
    if args.print_config:
        print(recipe.yaml(), end="")
        return
    if args.dry_run:
        from omni.train.rehearsal import rehearsed

        print(rehearsed(recipe, args.nproc))
        return
    from omni.train.launch import launch, run_rank

    out = args.out or Path("runs") / Path(args.recipe).stem
    mode = "fresh" if args.fresh else "resume" if args.resume else "auto"
    if "RANK" in os.environ:                                            # somebody's launcher started this process
        run_rank(recipe, out, mode)
    else:
        launch(recipe, out, args.nproc, mode, args.supervise)
