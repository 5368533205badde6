"""Message catalogues of free applications: English messages with their translations, real parallel text.

A compiled catalogue holds one application in one language. All languages of an application are merged by the English
message; equal messages of several applications are made one item, the first application's wording standing.
"""

import gettext
import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polib

from omni.train.data.parse.base import Outcome, Package, Parsed, Source, is_english, language_code
from omni.train.data.parse.messages import LONGEST, Marks, clean, placeholders, why_unusable

LOCALES = Path("usr/share/locale")
QT_PACKAGES = ("krita-l10n", "kdenlive-data", "digikam-data")  # accelerators are written &File, in GTK _File
_ABOUT_TRANSLATORS = ("NAME OF TRANSLATORS", "EMAIL OF TRANSLATORS", "NOTE TO THE TRANSLATORS")
MANY, FEW_ENDING_IN_ONE = 5, 21  # numbers whose plural form a language writes with the number itself


@dataclass(frozen=True)
class Job:
    """One application: its catalogue in every language."""

    package: Package
    application: str
    catalogues: tuple[tuple[str, Path], ...]  # (language, file)


@dataclass(frozen=True)
class Pair:
    """An English message and its translation, cleaned; `counted` when they speak of one thing or several."""

    english: str
    translation: str
    counted: bool


def plan(packages: list[Package]) -> list[Job]:
    """One job an application."""
    jobs = []
    for package in packages:
        found: dict[str, dict[str, Path]] = {}
        for path in sorted((package.root / LOCALES).glob("*/LC_MESSAGES/*.mo")):
            found.setdefault(path.stem, {}).setdefault(language_code(path.parts[-3]), path)
        jobs += [Job(package, name, tuple(sorted(files.items()))) for name, files in sorted(found.items())]
    return jobs


def parse(job: Job, size: int) -> Outcome:
    """All messages of an application, each with its translations; `size` is of no use here."""
    outcome = Outcome()
    english = English(Marks.QT if job.package.name in QT_PACKAGES else Marks.GTK, outcome.dropped)
    texts: dict[str, dict[str, str]] = {}
    for language, path in job.catalogues:
        for pair in read_pairs(path, english, outcome.dropped):
            if pair.translation == pair.english and not is_english(language):
                outcome.dropped["translation equal to the English message"] += 1
            elif not pair.counted and placeholders(pair.translation) != placeholders(pair.english):
                outcome.dropped["translation with other placeholders than the message"] += 1
            else:
                texts.setdefault(pair.english, {"en": pair.english}).setdefault(language, pair.translation)
    for message, translations in sorted(texts.items()):
        if all(map(is_english, translations)):
            outcome.dropped["message without a translation"] += 1
            continue
        number = hashlib.sha256(message.encode()).hexdigest()[:12]
        name = f"catalogues/{job.application}/{number}"
        outcome.items.append(Parsed(name, job.package.licence, job.package.attribution, translations))
    return outcome


class English(dict[str, str | None]):
    """Cleaned English messages by raw message, None for those left out; each is cleaned and counted once."""

    def __init__(self, marks: Marks, dropped: Counter[str]) -> None:
        super().__init__()
        self.marks = marks
        self._dropped = dropped

    def __missing__(self, message: str) -> str | None:
        text: str | None = clean(message, self.marks)
        reason = why_unusable(message, text or "")
        if reason:
            self._dropped[reason] += 1
            text = None
        self[message] = text
        return text


def combine(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Messages that several applications share as one item, with the translations of all of them."""
    seen: dict[str, Parsed] = {}
    dropped: Counter[str] = Counter()
    for outcome in outcomes:
        dropped.update(outcome.dropped)
        for item in outcome.items:
            first = seen.setdefault(item.texts["en"], item)
            if first is not item:
                dropped["message merged with that of another application"] += 1
                first.texts = {**item.texts, **first.texts}
                first.licence = _both(first.licence, item.licence, " AND ")
                first.attribution = _both(first.attribution, item.attribution, "; ")
    yield Outcome(list(seen.values()), dropped)


def read_pairs(path: Path, english: English, dropped: Counter[str]) -> Iterator[Pair]:
    """The usable pairs of one catalogue, plural messages as one pair for one thing and one for several."""
    try:
        catalogue = polib.mofile(str(path))
    except (OSError, UnicodeDecodeError, struct.error):
        dropped["catalogue that cannot be read"] += 1
        return
    plural = plural_rule(catalogue.metadata.get("Plural-Forms", ""))
    for entry in catalogue:
        if not entry.msgid or entry.msgctxt in _ABOUT_TRANSLATORS:
            continue
        forms = [(entry.msgid, entry.msgstr)]
        if entry.msgid_plural:
            forms = list(plural_pairs(entry, plural)) if plural else []
            dropped["plural message in a catalogue without a plural rule"] += not plural
        for message, translation in forms:
            ours, theirs = english[message], clean(translation, english.marks)
            if ours is None:
                continue
            if theirs and len(theirs) <= LONGEST:
                yield Pair(ours, theirs, bool(entry.msgid_plural))
            else:
                dropped[f"translation empty or over {LONGEST} characters"] += 1


def plural_rule(header: str) -> Callable[[int], int] | None:
    """The function number -> form of a Plural-Forms header, or None when it has none that can be read."""
    _, _, expression = header.partition("plural=")
    try:
        rule: Callable[[int], int] = gettext.c2py(expression.strip().rstrip(";"))
        rule(1)
        return rule
    except (ValueError, ZeroDivisionError):
        return None


def plural_pairs(entry: polib.MOEntry, rule: Callable[[int], int]) -> Iterator[tuple[str, str]]:
    """(singular, its translation) and (plural, its translation).

    Which form speaks of one thing is for the language's rule to say: in Slovenian it is the second. Where that form
    spells the number out and the English message does not, the form for 21 is taken, which Slavic languages share.
    """
    forms: dict[int, str] = entry.msgstr_plural
    one = forms.get(rule(1), "")
    if placeholders(one) != placeholders(entry.msgid):
        one = forms.get(rule(FEW_ENDING_IN_ONE), one)
    yield entry.msgid, one
    yield entry.msgid_plural, forms.get(rule(MANY), "")


def _both(first: str, second: str, joint: str) -> str:
    return joint.join(dict.fromkeys((*first.split(joint), *second.split(joint))))


SOURCE = Source("catalogues", plan, parse, combine)
