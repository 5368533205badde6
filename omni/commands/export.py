"""`omni export`: a model as a folder that transformers loads."""

import argparse
from pathlib import Path

EPILOG = """example:
  omni export runs/tiny/model --out exported
  python -c "import transformers; transformers.AutoModelForCausalLM.from_pretrained('exported')"
Ids are those of the shared token space, as exported/vocab.json has them."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The model and where it goes."""
    parser.description = "Write a model as a Llama, Qwen2 or Qwen3 checkpoint of transformers, with equal logits."
    parser.epilog = EPILOG
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder, as `omni train` writes it")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="checkpoint folder to write")


def run(args: argparse.Namespace) -> None:
    """Export and say which class it is."""
    from omni.model.pretrained.folders import export_model

    print(f"{export_model(args.model, args.out)}: {args.out}")
