"""Emoji: the bitmaps inside the Noto font, named by CLDR in some 140 languages.

A character sequence becomes a glyph through the font's cmap and its ligatures (flags, keycaps, professions). Variants
that differ from another emoji only in skin tone are left out: the same drawing five times over under derived names.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fontTools.ttLib import TTFont

from omni.train.data.parse import picture
from omni.train.data.parse.base import Outcome, Package, Parsed, Source, UnusableError, language_code

FONT = Path("usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
ANNOTATIONS = Path("usr/share/unicode/cldr/common")
FOLDERS = ("annotations", "annotationsDerived")
INHERITED = "↑↑↑"  # CLDR: as in the parent locale
_CLDR_LANGUAGES = {"pt": "pt-br", "pt_PT": "pt"}  # CLDR's plain Portuguese is the Brazilian one

TEXT_STYLE, EMOJI_STYLE, JOINER = "\ufe0e", "\ufe0f", "\u200d"
_SKIN_TONE = re.compile(
    '<annotation cp="[^"\U0001f3fb-\U0001f3ff]*[\U0001f3fb-\U0001f3ff][^"]*"[^>]*>[^<]*</annotation>'
)
_PEOPLE = frozenset("👨👩🧑👦👧🧒👴👵🧓♀♂") | {JOINER, TEXT_STYLE, EMOJI_STYLE}


@dataclass
class Names:
    """What CLDR calls one character sequence, by language."""

    texts: dict[str, str] = field(default_factory=dict)
    keywords: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    characters: str
    names: Names
    bitmap: bytes | None  # PNG, or None when the font has no picture of it
    licence: str
    attribution: str


def plan(packages: list[Package]) -> list[Job]:
    """One job a named character sequence without a skin tone."""
    (font,) = (package for package in packages if (package.root / FONT).exists())
    (cldr,) = (package for package in packages if (package.root / ANNOTATIONS).exists())
    licence, attribution = f"{font.licence} AND {cldr.licence}", f"{font.attribution}; {cldr.attribution}"
    names = read_names(cldr.root / ANNOTATIONS)
    glyphs = Glyphs(font.root / FONT)
    return [
        Job(characters, names[characters], glyphs.bitmap(characters), licence, attribution)
        for characters in sorted(names)
    ]


def parse(job: Job, size: int) -> Outcome:
    """The emoji as one item with its picture, its names and their keywords."""
    outcome = Outcome()
    if job.bitmap is None:
        outcome.dropped["sign with a name but without a bitmap in the font"] += 1
        return outcome
    try:
        pixels = picture.square(job.bitmap, size)
    except UnusableError as reason:
        outcome.dropped[str(reason)] += 1
        return outcome
    number = "-".join(f"{ord(character):x}" for character in job.characters)
    item = Parsed(f"emoji/{number}", job.licence, job.attribution, job.names.texts, job.names.keywords, [pixels])
    item.joins = [f"emoji:{motif(job.characters)}"]
    outcome.items.append(item)
    return outcome


def motif(characters: str) -> str:
    """What a sequence shows when persons are taken out: a man and a woman walking have one motif, and one split."""
    return "".join(character for character in characters if character not in _PEOPLE) or characters


def read_names(folder: Path) -> dict[str, Names]:
    """Names and keywords of all character sequences from CLDR's annotation files."""
    found: dict[str, Names] = {}
    for path in sorted(path for sub in FOLDERS for path in (folder / sub).glob("*.xml")):
        if path.stem == "root":
            continue
        language = _CLDR_LANGUAGES.get(path.stem) or language_code(path.stem)
        for characters, spoken, text in _annotations(path):
            names = found.setdefault(characters, Names())
            if spoken:
                names.texts.setdefault(language, text)
            else:
                names.keywords.setdefault(language, text.split(" | "))
    for names in found.values():
        for language, words in names.keywords.items():
            words[:] = [word for word in words if word != names.texts.get(language)]
        names.keywords = {language: words for language, words in names.keywords.items() if words}
    return found


def _annotations(path: Path) -> Iterator[tuple[str, bool, str]]:
    """(character sequence, whether this is its name, text) of one file, without variants of skin tone."""
    plain = _SKIN_TONE.sub("", path.read_text(encoding="utf-8"))  # most of the file: before XML makes objects of it
    for element in ET.fromstring(plain.encode()).iter("annotation"):
        if element.text and element.text != INHERITED:
            characters = element.get("cp", "").replace(EMOJI_STYLE, "")
            yield characters, element.get("type") == "tts", element.text.strip()


class Glyphs:
    """The bitmaps of a CBDT font by character sequence."""

    def __init__(self, path: Path) -> None:
        font = TTFont(io.BytesIO(path.read_bytes()))
        self._cmap: dict[int, str] = font.getBestCmap()
        self._bitmaps = font["CBDT"].strikeData[0]
        self._ligatures: dict[tuple[str, ...], str] = {}
        if "GSUB" in font:
            for lookup in font["GSUB"].table.LookupList.Lookup:
                for table in lookup.SubTable:
                    for first, ligatures in getattr(table, "ligatures", {}).items():
                        for ligature in ligatures:
                            self._ligatures.setdefault((first, *ligature.Component), ligature.LigGlyph)

    def bitmap(self, characters: str) -> bytes | None:
        """PNG bytes, or None when the font cannot show the sequence as one picture."""
        glyphs = tuple(self._cmap.get(ord(character), "") for character in characters if character != EMOJI_STYLE)
        name = glyphs[0] if len(glyphs) == 1 else self._ligatures.get(glyphs)
        bitmap = self._bitmaps.get(name)
        return bytes(bitmap.imageData) if bitmap is not None else None


SOURCE = Source("emoji", plan, parse)
