"""What a model was trained on, by source: items, hours of sound, pictures and licences."""

import re
from collections import Counter
from pathlib import Path

import yaml

from omni.files import read_json
from omni.model.config import ModelConfig
from omni.safety.card.collect import Card, beside_model
from omni.safety.card.telling.pieces import Cell, Link, Section, Table
from omni.train.data.items import Manifest

MOST = 4                                                                # licences of a source that are named
ROW = re.compile(r"^\| (?P<source>[\w-]+) \| (?P<licence>[^|]+) \| [^|]+ \| (?P<items>\d+) \|$", re.M)
COPIED = {"ATTRIBUTION.md": "licences and authors, item by item", "recipe.yaml": "how it was trained"}
HEAD = ("source, of the data folder", "items", "hours of sound", "pictures", "licences, and items of each")
LEFT_OUT = ("source", "left out, and why", "items")
FILES = ("what", "file of the model's folder", "size")
LISTED = ("source, by ATTRIBUTION.md", "items", "licences, and items of each")


def trained_on(card: Card, model: Path) -> Section:
    """The section on data and training."""
    section = Section("Data and training")
    attribution = beside_model(model, "ATTRIBUTION.md")
    own = list(of_folder(card.folder)) if card.folder is not None else []
    listed = list(of_attribution(attribution.read_text(encoding="utf-8"))) if attribution.is_file() else []
    if own:
        same = [(name, items, licences) for name, items, _, _, licences in own] == listed
        also = ", which are those that the model's ATTRIBUTION.md lists" if same else ""
        section.text.append(f"By source: training items of the data folder that the suites asked{also}.")
        section.tables.append(Table(HEAD, list(own)))
        listed = [] if same else listed
    if listed:
        section.text.append("By source: what the model's ATTRIBUTION.md lists, which has no hours of sound.")
        section.tables.append(Table(LISTED, list(listed)))
    if not section.tables:
        section.text.append("By source: not known, since there is neither a data folder nor an ATTRIBUTION.md.")
    if card.folder is not None and (left := _left_out(card.folder)):
        section.text.append("What was left out when the data were prepared has a table of its own, with the reasons.")
        section.tables.append(Table(LEFT_OUT, left))
    section.tables += [Table(("training", ""), _training(model)), Table(FILES, _files(model))]
    return section


def _left_out(folder: Path) -> list[tuple[Cell, ...]]:
    dropped = Manifest.load(folder).dropped
    return [(name, why, f"{count:,}") for name, reasons in dropped.items() for why, count in reasons.items()]


def _training(model: Path) -> list[tuple[Cell, ...]]:
    """What the model is and how long it was trained, as far as its folder says so."""
    config = ModelConfig.parse(read_json(model / "config.json"), "config.json")
    rows: list[tuple[Cell, ...]] = [
        ("parameters", f"{sum(config.parameters().values()) / 1e6:.1f} million, without the tokenizers"),
        ("Transformer", f"{config.n_layers} layers of {config.d_model}, {config.max_steps:,} steps at most"),
        ("token space", f"{config.vocab_size:,} ids, {config.channels} channels ({config.layout} layout)"),
    ]
    path = beside_model(model, "recipe.yaml")
    recipe = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    if isinstance(recipe, dict) and {"schedule", "batch", "sequence_length"} <= set(recipe):
        steps = recipe["schedule"]["steps"]
        tokens = recipe["batch"]["rows"] * recipe["sequence_length"]
        rows.append(("steps", f"{steps:,} of {tokens:,} tokens, {steps * tokens / 1e6:,.0f} million in all"))
        rows.append(("optimizer", f"{recipe['optimizer']['kind']}, rate {recipe['optimizer']['lr']}"))
    return rows


def _files(model: Path) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for name, what in COPIED.items():
        path = beside_model(model, name)
        there = path.is_file()
        rows.append((what, Link(name, name) if there else f"{name} is missing",
                     f"{path.stat().st_size} bytes" if there else ""))  # fmt: skip
    return rows


def of_folder(folder: Path) -> list[tuple[str, ...]]:
    """A row a source of the training items of a prepared data folder, the sum last."""
    manifest = Manifest.load(folder)
    rows, total = [], [0, 0.0, 0]
    for source in sorted({item.source for item in manifest.items}):
        items = manifest.of(split="train", source=source)
        hours = sum(one.length for item in items for one in item.recordings) / manifest.sample_rate / 3600
        counts = (len(items), hours, sum(len(item.pictures) for item in items))
        total = [before + more for before, more in zip(total, counts, strict=True)]
        rows.append((source, *_shown(*counts), _licences(Counter(item.licence for item in items))))
    return [*rows, ("all", *_shown(int(total[0]), total[1], int(total[2])), "")]


def of_attribution(text: str) -> list[tuple[str, ...]]:
    """Items and licences of an ATTRIBUTION.md, a row a source, the sum last; none where it has no such table."""
    found: dict[str, Counter[str]] = {}
    for row in ROW.finditer(text):
        found.setdefault(row["source"], Counter())[row["licence"].strip()] += int(row["items"])
    rows = [(source, f"{some.total():,}", _licences(some)) for source, some in sorted(found.items())]
    total = sum(some.total() for some in found.values())
    return [*rows, ("all", f"{total:,}", "")] if rows else []


def _shown(items: int, hours: float, pictures: int) -> tuple[str, str, str]:
    return f"{items:,}", f"{hours:.2f}", f"{pictures:,}"


def _licences(counts: Counter[str]) -> str:
    named = [f"{licence} ({count:,})" for licence, count in counts.most_common(MOST)]
    return ", ".join([*named, *([f"and {len(counts) - MOST} more"] if len(counts) > MOST else [])])
