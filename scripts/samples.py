"""Drawings and speech of a model, for a page to show: python scripts/samples.py MODEL --data VOICED --out docs/samples.

drawings.png: captions that it learnt above, held-out ones below, one drawing of each, as it comes; WAV files of texts
that it reads in its voices. Nothing is chosen among draws but what the model itself chooses (docs/generate.md).
"""

import argparse
import random
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

import omni
from omni.tokenizers.audio.wavefile import write_wave
from omni.train.data.items import Item, Manifest

COLUMNS = 6
SAID = (                                                                # file, voice, language, text
    ("clara-learnt", "clara", "en", None),
    ("clara-unseen", "clara", "en", "A small red bird."),
    ("lena-unseen", "lena", "fr", "Un petit oiseau rouge."),
    ("oskar-unseen", "oskar", "es", "Un pájaro rojo y pequeño."),
)


def main() -> None:
    """Write the drawings and the sounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model, data = omni.load(args.model), Manifest.load(args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    learnt, unseen = (some(data, split) for split in ("train", "test"))
    draw(model, [*learnt, *unseen], args.out / "drawings.png")
    for name, voice, language, text in SAID:
        given = [omni.Text(text or learnt[0].texts["en"])]
        sampler = omni.Sampler(0.5, top_p=0.9)
        answer = model(given, ["audio"], language=language, voice=voice, sampler=sampler, max_seconds=4.0)
        assert answer.audio is not None
        write_wave(args.out / f"{name}.wav", answer.audio, answer.sample_rate)
    print(f"{args.out}: drawings.png and {len(SAID)} sounds")


def some(data: Manifest, split: str) -> list[Item]:
    """Stamps of a split with short English captions, drawn once for all."""
    shown = [item for item in data.of(split=split, source="stamps") if item.pictures]
    found = {item.texts["en"]: item for item in shown if 3 < len(item.texts.get("en", "")) < 24}
    return random.Random(0).sample(list(found.values()), COLUMNS)


def draw(model: omni.Pipeline, items: list[Item], path: Path) -> None:
    """A sheet of one drawing of each item's English caption."""
    figure, places = plt.subplots(2, COLUMNS, figsize=(2 * COLUMNS, 4.8), dpi=100)
    for place, item in zip(places.flat, items, strict=True):
        answer = model([omni.Text(item.texts["en"])], ["image"], sampler=omni.Sampler(0.9, top_p=0.9))
        place.imshow(answer.image)
        place.set_title(item.texts["en"], fontsize=9)
        place.set_axis_off()
    for row, name in zip(places, ("learnt", "held out"), strict=True):
        row[0].text(-0.1, 0.5, name, rotation=90, va="center", ha="right", transform=row[0].transAxes)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
