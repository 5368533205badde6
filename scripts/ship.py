"""Make checkpoints/omni-tiny of a run: weights in bf16, tokenizers, recipe, attribution and model card.

    python scripts/ship.py runs/tiny --data runs/tiny/data --abilities runs/tiny/abilities --out checkpoints/omni-tiny

Run it after `omni eval abilities --model runs/tiny/model --out runs/tiny/abilities`; the card holds that table.
"""

import argparse
import shutil
from collections import Counter
from pathlib import Path

import torch

from omni.errors import InputError
from omni.files import atomic_path, read_json, sha256
from omni.model.folder import LANGUAGES, load_model, save_model
from omni.train.data.items import Manifest
from omni.train.recipe import Recipe
from omni.train.rehearsal import fingerprint

MOST_MEGABYTES = 60
TABLE = "abilities.md"


def main() -> None:
    """Write the folder and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--abilities", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    ship(args.run, Manifest.load(args.data), args.abilities, args.out)
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file()) / 1e6
    print(f"{args.out}: {size:.1f} MB")
    if size > MOST_MEGABYTES:
        raise SystemExit(f"ship: {size:.1f} MB are more than {MOST_MEGABYTES}")


def ship(run: Path, data: Manifest, abilities: Path, out: Path) -> None:
    """The folder, which appears only when it is whole."""
    model, vocab = load_model(run / "model")
    if not (abilities / TABLE).is_file():
        raise InputError(f"{abilities / TABLE}: not there; run `omni eval abilities` first")
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    with atomic_path(out) as folder:
        save_model(folder, weights, model.config, vocab)
        shutil.copy(run / "model" / LANGUAGES, folder / LANGUAGES)
        unneeded = shutil.ignore_patterns("*.png", "eval.json")         # of `omni tokenizer eval`
        shutil.copytree(run / "model" / "tokenizers", folder / "tokenizers", ignore=unneeded)
        shutil.copy(run / "recipe.yaml", folder / "recipe.yaml")
        (folder / "ATTRIBUTION.md").write_text(attribution(data), encoding="utf-8")
        (folder / "README.md").write_text(card(run, folder, abilities), encoding="utf-8")


def attribution(data: Manifest) -> str:
    """What the weights were trained on: sources, licences and authors, with the number of items of each."""
    counts = Counter((item.source, item.licence, item.attribution) for item in data.of(split="train"))
    lines = ["# What omni-tiny was trained on", "", "| source | licence | by | items |", "|---|---|---|---|"]
    for (source, licence, by), count in sorted(counts.items(), key=lambda pair: (pair[0][0], -pair[1])):
        lines.append(f"| {source} | {licence} | {by.replace('|', '/')} | {count} |")
    voices = Counter(one.licence for item in data.of(split="train") for one in item.recordings)
    lines += ["", "| licence of recordings | recordings |", "|---|---|"]
    lines += [f"| {licence} | {count} |" for licence, count in voices.most_common()]
    return "\n".join(lines) + "\n"


def card(run: Path, folder: Path, abilities: Path) -> str:
    """The model card; figures are those of the abilities' table."""
    head = (Path(__file__).parents[1] / "docs" / "omni-tiny-card.md").read_text(encoding="utf-8")
    config, vocab = read_json(folder / "config.json"), read_json(folder / "vocab.json")
    facts = [
        f"- recipe: `recipe.yaml`, sha256 {fingerprint(Recipe.load(folder / 'recipe.yaml'))} of `omni train --dry-run`",
        f"- weights before rounding to bf16: sha256 {sha256(run / 'model' / 'model.safetensors')}",
        f"- {config['n_layers']} layers of {config['d_model']}, a token space of {config['vocab_size']} ids, "
        f"audio in {vocab['codebooks']} codebooks of {vocab['codebook_size']} ({vocab['layout']} layout)",
        f"- voices: {', '.join(vocab['voices'])}",
    ]
    page = (abilities / TABLE).read_text(encoding="utf-8").partition("\n## ")[0]  # examples follow
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    return head.replace("{facts}", "\n".join(facts)).replace("{abilities}", table)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"ship: {error}") from None
