"""`omni export`: a model as a folder that transformers loads, or one-bit matrices packed."""

import argparse
from pathlib import Path

from omni.shipped import NAME, named_model

EPILOG = """examples:
  omni export runs/tiny/model --out exported
  python -c "import transformers; transformers.AutoModelForCausalLM.from_pretrained('exported')"
  omni export runs/binary/model --packed --out packed && omni generate --model packed ...
Ids are those of the shared token space, as exported/vocab.json has them."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The model and where it goes."""
    parser.description = "Write a model as a Llama, Qwen2 or Qwen3 checkpoint of transformers, with equal logits."
    parser.epilog = EPILOG
    parser.add_argument("model", type=named_model, metavar="MODEL", help=f"{NAME}, a model folder, or a run")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="checkpoint folder to write")
    parser.add_argument("--packed", action="store_true",
                        help="of a model with weight_bits 1: write it for omni, eight weights a byte")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Export and say which class it is, or how small it became."""
    from omni.model.pretrained.folders import export_model, pack_model

    if args.packed:
        before, after = pack_model(args.model, args.out)
        print(f"{before / 1e6:.1f} MB of weights to {after / 1e6:.1f}: {args.out}")
        return
    print(f"{export_model(args.model, args.out)}: {args.out}")
