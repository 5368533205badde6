"""What a model was trained on, by source: items, hours of sound, pictures and licences."""

import re
from collections import Counter
from pathlib import Path

from omni.safety.card.collect import Card, beside_model
from omni.safety.card.telling.pieces import Cell, Link, Section, Table
from omni.train.data.items import Manifest

MOST = 4                                                                # licences of a source that are named
ROW = re.compile(r"^\| (?P<source>[\w-]+) \| (?P<licence>[^|]+) \| [^|]+ \| (?P<items>\d+) \|$", re.M)
COPIED = {"ATTRIBUTION.md": "licences and authors, item by item", "recipe.yaml": "how it was trained"}
HEAD = ("source, of the data folder", "items", "hours of sound", "pictures", "licences, and items of each")
LISTED = ("source, by ATTRIBUTION.md", "items", "licences, and items of each")


def trained_on(card: Card, model: Path) -> Section:
    """The section on data and training."""
    section = Section("Data and training")
    attribution = beside_model(model, "ATTRIBUTION.md")
    if card.folder is not None:
        section.text.append("By source: training items of the data folder that the suites asked.")
        section.tables.append(Table(HEAD, list(of_folder(card.folder))))
    if attribution.is_file() and (rows := of_attribution(attribution.read_text(encoding="utf-8"))):
        section.text.append("By source: what the model's ATTRIBUTION.md lists, which has no hours of sound.")
        section.tables.append(Table(LISTED, list(rows)))
    if not section.tables:
        section.text.append("By source: not known, since there is neither a data folder nor an ATTRIBUTION.md.")
    files: list[tuple[Cell, ...]] = []
    for name, what in COPIED.items():
        path = beside_model(model, name)
        files.append((what, Link(name, name) if path.is_file() else f"{name} is missing", f"{path.stat().st_size} bytes"
                      if path.is_file() else ""))  # fmt: skip
    section.tables.append(Table(("what", "file of the model's folder", "size"), files))
    return section


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
