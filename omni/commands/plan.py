"""`omni plan`: what a model costs before it is trained."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.figures import Report
    from omni.model.config import ModelConfig
    from omni.train.recipe import Recipe
    from omni.vocab import Vocabulary

PRESETS = "mini, tiny, small, 1b, 7b, 70b"
EPILOG = """examples:
  omni plan 1b --context 4096
  omni plan 7b --gpus 64 --gpu h100
  omni plan train/recipes/tiny.yaml --gpus 2 --gpu cpu          days of its own steps, on this machine
  omni plan 70b --gpus 512 --gpu h100 --tokens 15e12 --price 2
The first figures are of one copy in fp32: weights, gradients and both moments of AdamW take 4 bytes a parameter each,
keys and values 4 bytes a number. With --gpus the recipe is planned as it would run there: memory part by part under its
ZeRO stage, communication, speed, days and cost: of --tokens, or of the steps of a recipe file.
docs/planning.md has the formulas and how they were checked."""
GPUS = "h100, h200, a100-80, a100-40, l40s, rtx4090, mi300x, or cpu: this machine, measured"


def configure(parser: argparse.ArgumentParser) -> None:
    """The model, the context, the size of its vocabulary, and what it is to be trained on."""
    parser.description = "Parameters, FLOPs, memory, communication, speed and cost of a model before it is trained."
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="PRESET|RECIPE", help=f"one of {PRESETS}, or the path of a recipe (YAML)")
    parser.add_argument("--context", type=int, metavar="STEPS", help="steps seen at once (default: the model's)")
    parser.add_argument("--vocabulary", metavar="FILE", help="vocab.json (default: 8192 text, 4096 audio, 1024 image)")
    parser.add_argument("--gpus", type=int, metavar="N", help="plan the recipe (that of a preset's name) on N GPUs")
    parser.add_argument("--gpu", metavar="NAME", help=f"{GPUS} (default: h100)")
    parser.add_argument("--tokens", type=float, metavar="T", help="to train on, as 1e12 (default: what a file has)")
    parser.add_argument("--price", type=float, metavar="DOLLARS", help="of one GPU hour: the cost")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    from omni.vocab import Vocabulary

    _check(args)
    recipe, context = _recipe(args.model)
    vocab = Vocabulary.load(args.vocabulary) if args.vocabulary else _usual_vocabulary()
    config = recipe.model.config(vocab)
    if recipe.beginning is not None:
        from omni.model.shape import load_shape
        from omni.train.start.initial import shape_of

        vocab = load_shape(recipe.beginning)[1]
        config = shape_of(recipe, vocab)
    context = args.context or context
    report = plan(config, context)
    if recipe.monitor.curvature:
        from omni.train.curvature.running import HELD

        looking = 4 * HELD * sum(config.parameters().values()) / 2**30
        report.add("memory_curvature", looking, "GiB more in a look, on each accelerator")
    lines = [f"{args.model}: {len(vocab):,} ids, {context:,} steps of context", *_rows(report)]
    if args.gpus:
        lines += _planned(args, config, recipe, report)
    print("\n".join(lines))                                            # once nothing can be refused any more
    if args.json:
        print(report.json())


def _rows(report: "Report") -> Iterator[str]:
    for key, figure in report.figures.items():
        value = figure.value or 0
        yield f"  {key:<26} " + (f"{value:>16,.0f}" if not figure.unit else f"{value:>16.4g} {figure.unit}")


def _planned(args: argparse.Namespace, config: "ModelConfig", recipe: "Recipe", report: "Report") -> list[str]:
    """The run on --gpus: in lines, and as figures of the report."""
    from omni.train.plan import figures
    from omni.train.plan.hardware import hardware
    from omni.train.plan.throughput import plan_run

    planned = plan_run(config, recipe, hardware(args.gpu or "h100"), args.gpus)
    tokens, whence = args.tokens, ""
    if tokens is None and _preset(args.model) is None:
        tokens, whence = figures.tokens_of(recipe)
    figures.fill(report, planned, tokens, args.price)
    return figures.describe(planned, tokens, args.price, whence)


def _check(args: argparse.Namespace) -> None:
    """Raise InputError for figures that cannot be, and for flags that go only with others."""
    if args.context is not None and args.context <= 0:
        raise InputError(f"--context {args.context}: must be a positive number of steps")
    for flag in ("gpus", "tokens", "price"):
        if (value := getattr(args, flag)) is not None and not value > 0:
            raise InputError(f"--{flag} {value:g}: must be positive")
    paid = "gpus" if _preset(args.model) is None else "tokens"          # a file says how long it trains
    for flag, other in (("gpu", "gpus"), ("tokens", "gpus"), ("price", paid)):
        if getattr(args, flag) is not None and getattr(args, other) is None:
            raise InputError(f"--{flag}: say --{other} as well")


def plan(config: "ModelConfig", context: int) -> "Report":
    """Parameters by part, FLOPs a token and bytes of memory of one replica in fp32."""
    from omni.figures import Report

    report = Report("plan")
    parts = config.parameters()
    for part, count in parts.items():
        report.add(f"parameters_{part}", count, "")
    total = sum(parts.values())
    report.add("parameters", total, "")
    training = config.flops_per_step(context)
    report.add("flops_per_token_training", training, "FLOP")
    report.add("flops_per_token_inference", training / 3, "FLOP")
    report.add("memory_weights", 4 * total / 2**30, "GiB")
    report.add("memory_gradients", 4 * total / 2**30, "GiB")
    report.add("memory_adamw", 8 * total / 2**30, "GiB")
    report.add("memory_training", 16 * total / 2**30, "GiB")
    cache = 2 * 4 * config.n_layers * config.n_kv_heads * config.head_dim * context
    report.add("memory_cache", cache / 2**30, "GiB")
    return report


def _usual_vocabulary() -> "Vocabulary":
    from omni.vocab import Vocabulary

    return Vocabulary(text=8192, codebooks=1, codebook_size=4096, image=1024, picture_tokens=64)


def _preset(model: str) -> str | None:
    """The preset of this name, `omni-7b` or `7b`; None for a recipe's path."""
    from omni.model.config import PRESETS as KNOWN

    name = model.removeprefix("omni-")
    return name if name in KNOWN else None


def _recipe(model: str) -> "tuple[Recipe, int]":
    """The recipe of a file, or that of a preset's name, with the steps the model will see at once."""
    from omni.model.config import PRESETS as KNOWN
    from omni.train.recipe import Recipe

    if (name := _preset(model)) is not None:
        return replace(Recipe.load(name), init=None), KNOWN[name].max_steps  # the preset's own shape
    if not Path(model).is_file():
        raise InputError(f"{model}: neither a preset ({', '.join(KNOWN)}) nor a recipe file")
    recipe = Recipe.load(model)
    return recipe, recipe.sequence_length
