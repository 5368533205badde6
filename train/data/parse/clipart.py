"""Open Clip Art: drawings with a title, keywords and an author inside the SVG file (Dublin Core in RDF)."""

import html
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from omni.train.data.parse import picture
from omni.train.data.parse.base import Outcome, Package, Parsed, Source, UnusableError
from omni.train.data.splits import normalise

DRAWINGS = Path("usr/share/openclipart/svg")
_DC = "{http://purl.org/dc/elements/1.1/}"
_LIST_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
_WORK = ("{http://web.resource.org/cc/}Work", "{http://creativecommons.org/ns#}Work")
_EMPTY_TITLES = re.compile(r"part of the .* collection|hash\(0x|untitled|unnamed|open clip art|<|^\W*$", re.IGNORECASE)
_ADDRESS = re.compile(r"0x[0-9a-f]+$")                                   # where a Perl hash lay in memory
_TRAILING_NUMBER = re.compile(r"(?:\s+(?:n\.?o?\.?\s*)?\d+)+$|\.svg$", re.IGNORECASE)
_BYLINE = re.compile(r"^clip ?art by [^-]+ - ", re.IGNORECASE)
LONGEST_TITLE = 100
MOST_OF_ONE_TITLE = 60


@dataclass(frozen=True)
class Job:
    package: Package
    path: Path


@dataclass
class About:
    """What a drawing says of itself."""

    title: str = ""
    keywords: list[str] = field(default_factory=list)
    author: str = ""


def plan(packages: list[Package]) -> list[Job]:
    """One job a drawing, the folder of known duplicates left out."""
    return [
        Job(package, path)
        for package in packages
        for path in sorted((package.root / DRAWINGS).rglob("*.svg"))
        if "duplicates" not in path.parts
    ]


def parse(job: Job, size: int) -> Outcome:
    """The drawing as one item, unless it cannot be rendered or has no title that says anything."""
    outcome = Outcome()
    try:
        about = read_about(job.path)
        if not about.title:
            raise UnusableError("drawing without a telling title")
        pixels = picture.load_picture(job.path, size)
    except UnusableError as reason:
        outcome.dropped[str(reason)] += 1
        return outcome
    name = job.path.relative_to(job.package.root / DRAWINGS).with_suffix("")
    attribution = "; ".join(filter(None, (about.author, job.package.attribution)))
    keywords = {"en": about.keywords} if about.keywords else {}
    item = Parsed(f"clipart/{name}", job.package.licence, attribution, {"en": about.title}, keywords, [pixels])
    outcome.items.append(item)
    return outcome


def read_about(path: Path) -> About:
    """Title, keywords and author from the metadata. Raises UnusableError when the file is not XML."""
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, UnicodeDecodeError, ValueError):
        raise UnusableError("drawing is not well-formed XML") from None
    work = next((element for tag in _WORK for element in root.iter(tag)), None)
    if work is None:
        return About()
    author = _words(work.find(f"{_DC}creator//{_DC}title"))
    words = [_words(element) for element in work.findall(f"{_DC}subject//{_LIST_ITEM}")]
    title = clean_title(_words(work.find(f"{_DC}title")))
    unwanted = {"", "hash", title.casefold(), author.casefold()}
    telling = [word for word in words if word.casefold() not in unwanted and not _ADDRESS.match(word)]
    keywords = list(dict.fromkeys(telling))
    return About(title, keywords, "" if _EMPTY_TITLES.search(author) else author)


def clean_title(title: str) -> str:
    """A title as words: no underscores, no serial number; empty when it names a collection or nothing at all."""
    words = " ".join(title.replace("_", " ").split())
    words = _BYLINE.sub("", words)
    words = _TRAILING_NUMBER.sub("", _TRAILING_NUMBER.sub("", words))
    telling = re.search(r"[^\W\d_]{2}", words) and len(words) <= LONGEST_TITLE and not _EMPTY_TITLES.search(words)
    return words if telling else ""


def _words(element: ET.Element | None) -> str:
    """The text inside, entities written out: "Ren&Atilde;&copy;" is René, whose UTF-8 was once taken for Latin-1."""
    text = "" if element is None else html.unescape(element.text or "")
    with suppress(UnicodeError):
        text = text.encode("latin-1").decode()
    return " ".join(text.split())


def combine(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Leave out drawings whose title very many others have: it names a collection, not what is to be seen."""
    found = list(outcomes)
    titles = Counter(normalise(item.texts["en"]) for outcome in found for item in outcome.items)
    for outcome in found:
        telling = [item for item in outcome.items if titles[normalise(item.texts["en"])] <= MOST_OF_ONE_TITLE]
        outcome.dropped["drawing titled like over 60 others"] += len(outcome.items) - len(telling)
        yield Outcome(telling, +outcome.dropped)


SOURCE = Source("clipart", plan, parse, combine)
