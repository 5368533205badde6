"""`omni import`: a checkpoint of transformers becomes a model that can learn to hear, see and speak."""

import argparse
from pathlib import Path

EPILOG = """example, with the codecs of a quickstart and tags for the languages of its data:
  omni import checkpoints/Qwen3-0.6B --audio runs/quickstart/tokenizers/audio \\
      --image runs/quickstart/tokenizers/image --data runs/quickstart/data --out runs/qwen
Llama, Mistral (byte-level BPE), Qwen2 and Qwen3; docs/finetuning.md tells how to go on."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, the tokenizers that it lacks, and the languages."""
    parser.description = "A Llama, Mistral, Qwen2 or Qwen3 checkpoint becomes a model with room for sound and sight."
    parser.epilog = EPILOG
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="config.json, *.safetensors and tokenizer.json")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="model folder to write")
    parser.add_argument("--audio", type=Path, metavar="DIR", help="audio tokenizer (default: none)")
    parser.add_argument("--image", type=Path, metavar="DIR", help="image tokenizer (default: none)")
    languages = parser.add_mutually_exclusive_group()
    languages.add_argument("--languages", nargs="+", default=[], metavar="CODE", help="languages that get a tag")
    languages.add_argument("--data", type=Path, metavar="DIR", help="or the prepared data that have them")
    parser.add_argument("--max-steps", type=int, metavar="N", help="longest stream (default: the checkpoint's)")


def run(args: argparse.Namespace) -> None:
    """Import and say what became of it."""
    from omni.model.pretrained.folders import Source, import_model
    from omni.train.data.items import Manifest
    from omni.train.tasks.build import languages_of

    languages = languages_of(Manifest.load(args.data)) if args.data else args.languages
    config, vocab = import_model(Source(args.folder, args.audio, args.image, languages, args.max_steps), args.out)
    spans = ", ".join(f"{span.size:,} {name}" for name, span in vocab.spans.items())
    print(f"{sum(config.parameters().values()):,} parameters, {len(vocab):,} ids ({spans})\nmodel: {args.out}")
