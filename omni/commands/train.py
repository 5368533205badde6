"""`omni train RECIPE`: train a model on token shards with DeepSpeed."""

import argparse
import os
from pathlib import Path

EPILOG = """examples:
  omni train tiny --out runs/tiny --nproc 2
  omni train recipe.yaml --out runs/mine --optimizer.lr 5e-4 --schedule.steps 2000
  omni train report runs/tiny runs/mine --out compared.html
  torchrun --nproc_per_node 8 -m omni.cli train small --out runs/small
Interrupted, the same command goes on where it stopped. RUN/loss.html shows the losses while it runs."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb; every key of a recipe is one."""
    from omni.train.recipe import recipe_keys

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
    keys = parser.add_argument_group("keys of the recipe, with their defaults")
    for key, default in recipe_keys().items():
        shown = "" if default in (None, []) else f"default: {default}".replace("%", "%%")
        shown = 'a list: "[A, B]"' if default in ([], ["."]) else shown
        keys.add_argument(f"--{key}", dest=f"recipe:{key}", default=argparse.SUPPRESS, metavar="VALUE", help=shown)


def run(args: argparse.Namespace) -> None:
    """Train, or go on training, and print where the model is."""
    from omni.train.recipe import Recipe

    overrides = {key.removeprefix("recipe:"): value for key, value in vars(args).items() if key.startswith("recipe:")}
    recipe = Recipe.load(args.recipe, overrides)
    if args.print_config:
        print(recipe.yaml(), end="")
        return
    if args.dry_run:
        from omni.train.rehearsal import rehearsed

        print(rehearsed(recipe))
        return
    from omni.train.launch import launch, run_rank

    out = args.out or Path("runs") / Path(args.recipe).stem
    mode = "fresh" if args.fresh else "resume" if args.resume else "auto"
    if "RANK" in os.environ:                                            # somebody's launcher started this process
        run_rank(recipe, out, mode)
    else:
        launch(recipe, out, args.nproc, mode, args.supervise)
