"""`omni data show`: what a prepared folder holds, in figures and as a contact sheet."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from omni.figures import Report
from omni.files import atomic_path
from omni.tokenizers.text import TextTokenizer
from omni.train.data.items import SOURCES, SPLITS, Item, Manifest

COLUMNS, ROWS = 12, 8
CELL, CAPTION = 96, 24  # pixels: side of a shown picture, height of the text under it
SHOWN_LANGUAGES = 20


def describe(manifest: Manifest, tokenizer: TextTokenizer | None = None) -> str:
    """The whole account as text for a terminal; texts are counted in tokens, without a tokenizer in bytes."""
    unit = "tokens" if tokenizer else "UTF-8 bytes"
    sections = [
        _table(["source", *SPLITS, "pictures", "speech", "effects"], _source_rows(manifest)),
        _table(
            ["language", "texts", "characters", unit, "recordings", "hours"],
            _language_rows(manifest, tokenizer),
        ),
        _table(["licence", "items"], [[name, str(n)] for name, n in _licences(manifest).most_common()]),
    ]
    dropped = [[source, str(n), why] for source, counts in manifest.dropped.items() for why, n in counts.items()]
    if dropped:
        sections.append(_table(["left out of", "count", "reason"], dropped))
    languages = {language for item in manifest.items for language in item.texts}
    pictures = sum(len(item.pictures) for item in manifest.items)
    summary = (
        f"{len(manifest)} items, {pictures} pictures of {manifest.picture_size} px, "
        f"{_hours(manifest, 'speech'):.2f} h of speech, texts in {len(languages)} languages\n"
        f"fingerprint {manifest.fingerprint[:16]}"
    )
    return "\n\n".join([summary, *sections])


def report(manifest: Manifest, tokenizer: TextTokenizer | None = None) -> Report:
    """The same as figures."""
    figures = Report("data show")
    figures.add("items", len(manifest), "items")
    for split in SPLITS:
        figures.add(f"items_{split}", len(manifest.of(split=split)), "items")
    for source in SOURCES:
        figures.add(f"items_{source}", len(manifest.of(source=source)), "items")
    figures.add("pictures", sum(len(item.pictures) for item in manifest.items), "pictures")
    figures.add("speech_hours", _hours(manifest, "speech"), "h")
    figures.add("effect_hours", _hours(manifest, "effect"), "h")
    figures.add("languages", len({language for item in manifest.items for language in item.texts}), "languages")
    texts = [text for item in manifest.items for text in item.texts.values()]
    figures.add("text_bytes", sum(len(text.encode()) for text in texts), "B", n=len(texts))
    if tokenizer:
        figures.add("text_tokens", sum(_lengths(texts, tokenizer)), "tokens", n=len(texts))
    figures.add("dropped", sum(sum(counts.values()) for counts in manifest.dropped.values()), "things")
    return figures


def contact_sheet(manifest: Manifest, path: Path) -> Path:
    """Pictures of all sources with their English captions, evenly taken from the whole, as one PNG."""
    chosen = _sample([item for item in manifest.items if item.pictures and "en" in item.texts], COLUMNS * ROWS)
    rows = -(-len(chosen) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL + 8), max(1, rows) * (CELL + CAPTION + 8)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for index, item in enumerate(chosen):
        x, y = index % COLUMNS * (CELL + 8) + 4, index // COLUMNS * (CELL + CAPTION + 8) + 4
        picture = Image.fromarray(manifest.picture(item.pictures[0]))
        sheet.paste(picture.resize((CELL, CELL), Image.Resampling.LANCZOS), (x, y))
        draw.multiline_text((x, y + CELL), _wrap(item.texts["en"], draw, font), fill="black", font=font, spacing=0)
    with atomic_path(path) as scratch:
        sheet.save(scratch, format="PNG")
    return path


def _source_rows(manifest: Manifest) -> list[list[str]]:
    rows = []
    for source in SOURCES:
        items = manifest.of(source=source)
        splits = Counter(item.split for item in items)
        kinds = Counter(recording.kind for item in items for recording in item.recordings)
        pictures = sum(len(item.pictures) for item in items)
        counts = [*(splits[split] for split in SPLITS), pictures, kinds["speech"], kinds["effect"]]
        if items:
            rows.append([source, *map(str, counts)])
    return rows


def _language_rows(manifest: Manifest, tokenizer: TextTokenizer | None) -> list[list[str]]:
    """The languages with speech first, then those with the most text."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    takes: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    for item in manifest.items:
        for language, text in item.texts.items():
            found[language].append(text)
        for recording in item.recordings:
            if recording.language:
                takes[recording.language] += 1
                seconds[recording.language] += recording.length / manifest.sample_rate
    texts = Counter({language: len(written) for language, written in found.items()})
    characters = Counter({language: sum(map(len, written)) for language, written in found.items()})
    size = Counter({language: sum(_lengths(written, tokenizer)) for language, written in found.items()})
    order = sorted({*texts, *takes}, key=lambda name: (-seconds[name], -texts[name], name))
    spoken = sum(1 for name in order if takes[name])
    shown = order[: spoken + SHOWN_LANGUAGES]
    rows = []
    for name in shown:
        counts = (texts[name], characters[name], size[name], takes[name])
        rows.append([name, *map(str, counts), f"{seconds[name] / 3600:.2f}"])
    rest = order[len(shown) :]
    if rest:
        sums = [sum(counter[name] for name in rest) for counter in (texts, characters, size)]
        rows.append([f"{len(rest)} more", *map(str, sums), "0", "0.00"])
    return rows


def _lengths(texts: list[str], tokenizer: TextTokenizer | None) -> list[int]:
    return [len(ids) for ids in tokenizer.encode_batch(texts)] if tokenizer else [len(text.encode()) for text in texts]


def _licences(manifest: Manifest) -> Counter[str]:
    return Counter(item.licence for item in manifest.items)


def _hours(manifest: Manifest, kind: str) -> float:
    samples = sum(clip.length for item in manifest.items for clip in item.recordings if clip.kind == kind)
    return samples / manifest.sample_rate / 3600


def _sample(items: Sequence[Item], count: int) -> list[Item]:
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def _wrap(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """At most two lines as wide as the picture."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font=font) <= CELL:
            lines[-1] = longer
        elif len(lines) == 2:
            lines[-1] += "…"
            break
        else:
            lines.append(word)
    return "\n".join(lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Columns of numbers to the right, of words to the left."""
    columns = []
    for title, *cells in zip(head, *rows, strict=True):
        width = max(map(len, (title, *cells)))
        numeric = all(cell.replace(".", "").isdigit() for cell in cells)
        columns.append([cell.rjust(width) if numeric else cell.ljust(width) for cell in (title, *cells)])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))
