"""`omni plan`: what a model costs before it is trained."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.figures import Report
    from omni.model.config import ModelConfig
    from omni.vocab import Vocabulary

PRESETS = "mini, tiny, small, 1b, 7b"
EPILOG = """example:
  omni plan 1b --context 4096
  omni plan train/recipes/tiny.yaml
Memory is of one copy in fp32: weights, gradients and both moments of AdamW take 4 bytes a parameter each, keys and
values 4 bytes a number. Activations come on top; ZeRO divides the rest among processes."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The model, the context, and the size of its vocabulary."""
    parser.description = "Parameters by part, FLOPs and memory of a model before it is trained."
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="PRESET|RECIPE", help=f"one of {PRESETS}, or the path of a recipe (YAML)")
    parser.add_argument("--context", type=int, metavar="STEPS", help="steps seen at once (default: the model's)")
    parser.add_argument("--vocabulary", metavar="FILE", help="vocab.json (default: 8192 text, 4096 audio, 1024 image)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    from omni.vocab import Vocabulary

    config, context = _config(args.model)
    vocab = Vocabulary.load(args.vocabulary) if args.vocabulary else _usual_vocabulary()
    context = context if args.context is None else args.context
    if context <= 0:
        raise InputError(f"--context {context}: must be a positive number of steps")
    report = plan(config.for_vocabulary(vocab), context)
    print(f"{args.model}: {len(vocab):,} ids, {context:,} steps of context")
    for name, figure in report.figures.items():
        value = figure.value or 0
        print(f"  {name:<26} " + (f"{value:>16,.0f}" if not figure.unit else f"{value:>16.4g} {figure.unit}"))
    if args.json:
        print(report.json())


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


def _config(name: str) -> "tuple[ModelConfig, int]":
    """A preset by name, or the model of a recipe; with the steps it will see at once."""
    from dataclasses import replace

    from omni.model.config import PRESETS as KNOWN
    from omni.train.recipe import Recipe

    if name in KNOWN:
        return KNOWN[name], KNOWN[name].max_steps
    if not Path(name).is_file():
        raise InputError(f"{name}: neither a preset ({', '.join(KNOWN)}) nor a recipe file")
    recipe = Recipe.load(name)
    changes = {key: value for key, value in asdict(recipe.model).items() if key != "preset" and value is not None}
    return replace(KNOWN[recipe.model.preset], **changes), recipe.sequence_length
