"""What is said in dialogues, in several languages: one item a line, read aloud by `omni data voice`.

The lines that people say have their variants in lines.toml, of which the last of each language is kept for testing.
"""

import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omni.train.data.items import LINES, Item
from omni.train.data.parse.prompt_texts import TEXTS

LICENCE, ATTRIBUTION = "Apache-2.0", "omni"
GERMAN = {
    "digits": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
    "siebzehn achtzehn neunzehn zwanzig",
    "tens": "dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
    "days": "Sonntag Montag Dienstag Mittwoch Donnerstag Freitag Samstag",
    "months": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
Texts = dict[str, str]


@cache
def table() -> dict[str, Any]:
    """lines.toml as it stands."""
    with Path(__file__).with_name("lines.toml").open("rb") as file:
        return tomllib.load(file)


@cache
def numbers() -> dict[int, Texts]:
    """Names of the numbers 0 to 20 and of the tens to 90."""
    german = dict(enumerate(GERMAN["digits"].split()))
    german |= dict(zip(range(30, 100, 10), GERMAN["tens"].split(), strict=True))
    return {number: {**TEXTS[f"digits/{number}"], "de": name} for number, name in german.items()}


@cache
def days() -> tuple[Texts, ...]:
    """Sunday to Saturday."""
    return tuple({**TEXTS[f"digits/day-{day}"], "de": name} for day, name in enumerate(GERMAN["days"].split()))


@cache
def months() -> tuple[Texts, ...]:
    """January to December."""
    return tuple({**TEXTS[f"digits/mon-{month}"], "de": name} for month, name in enumerate(GERMAN["months"].split()))


@cache
def letters() -> dict[str, Texts]:
    return {letter: {**TEXTS[f"letters/{letter}"], "de": letter.upper()} for letter in LETTERS}


def count_to(number: int, language: str) -> str:
    """One, two, .. number."""
    return ", ".join(numbers()[one][language] for one in range(1, number + 1)) + "."


def line_items(languages: Sequence[str]) -> list[Item]:
    """All lines in those of the languages that have them; the variants kept for testing are in the test split."""
    lines = {f"number/{number}": (texts, "train") for number, texts in numbers().items()}
    lines |= {f"letter/{letter}": (texts, "train") for letter, texts in letters().items()}
    lines |= {f"day/{day}": (texts, "train") for day, texts in enumerate(days())}
    lines |= {f"month/{month}": (texts, "train") for month, texts in enumerate(months())}
    lines |= {f"word/{word}": (texts, "train") for word, texts in table()["words"].items()}
    lines |= {f"name/{language}": (texts, "train") for language, texts in table()["names"].items()}
    for group in ("ask", "talk", "refuse", "comply"):
        for topic, rows in table()[group].items():
            lines |= _variants(f"{group}/{topic}", {key: row for key, row in rows.items() if key != "given"})
    lines |= _sums() | _counting()
    made = []
    for name, (texts, split) in lines.items():
        spoken = {language: text for language, text in texts.items() if language in languages}
        if spoken:
            made.append(Item(f"{LINES}/{name}", LINES, split, spoken, {}, (), (), LICENCE, ATTRIBUTION))
    return made


def _variants(name: str, rows: dict[str, Any]) -> dict[str, tuple[Texts, str]]:
    """Questions by language and variant, and the answer where there is one; {language} is filled in."""
    found: dict[str, tuple[Texts, str]] = {}
    for language, row in rows.items():
        variants, answer = (row[0], row[1]) if isinstance(row[0], list) else (row, "")
        for number, text in enumerate(variants):
            split = "test" if number == len(variants) - 1 else "train"
            for suffix, filled in _filled(text, language):
                found[f"{name}/{language}{number}{suffix}"] = ({language: filled}, split)
        if answer and "{" not in answer:
            found[f"{name}/answer"] = ({**found.get(f"{name}/answer", ({}, ""))[0], language: answer}, "train")
    return found


def _filled(text: str, language: str) -> list[tuple[str, str]]:
    if "{language}" not in text:
        return [("", text)]
    names = table()["names"]
    return [(f"-{other}", text.format(language=names[other][language])) for other in names if other != language]


def sums() -> list[tuple[str, int, int, int, str]]:
    """(kind, a, b, result, split) for plus and minus up to 10; one in ten is kept for testing."""
    pairs = [("plus", a, b, a + b) for a in range(11) for b in range(11)]
    pairs += [("minus", a, b, a - b) for a in range(11) for b in range(a + 1)]
    return [(*pair, "test" if (7 * pair[1] + 3 * pair[2] + len(pair[0])) % 10 == 0 else "train") for pair in pairs]


def _sums() -> dict[str, tuple[Texts, str]]:
    lines = {}
    for kind, a, b, _, split in sums():
        texts = {
            language: form.format(a=numbers()[a][language], b=numbers()[b][language])
            for language, form in table()["count"][kind].items()
            if language in numbers()[a] and language in numbers()[b]
        }
        lines[f"sum/{kind}-{a}-{b}"] = (texts, split)
    return lines


def _counting() -> dict[str, tuple[Texts, str]]:
    """Counting up, and what comes after or before a number, a day or a month."""
    forms, lines = table()["count"], {}
    for number in range(3, 11):
        texts = {language: form.format(a=numbers()[number][language]) for language, form in forms["to"].items()}
        lines[f"count/to-{number}"] = (texts, "train")
        lines[f"count/said-{number}"] = ({language: count_to(number, language) for language in texts}, "train")
    for kind in ("after", "before"):
        for name, texts in neighbours():
            known = {language: form for language, form in forms[kind].items() if language in texts}
            lines[f"{kind}/{name}"] = ({key: form.format(a=texts[key]) for key, form in known.items()}, "train")
    return lines


def neighbours() -> list[tuple[str, Texts]]:
    """What has something before and after it, by name: numbers 1 to 19, days and months."""
    found = [(f"number-{number}", numbers()[number]) for number in range(1, 20)]
    found += [(f"day-{day}", texts) for day, texts in enumerate(days())]
    return found + [(f"month-{month}", texts) for month, texts in enumerate(months())]
