"""Requests in other languages, word for word in English: rough, and enough for an encoder that knows English alone.

Which language a text is in is told by its letters, two to four at a time (Cavnar and Trenkle 1994). Its words are
looked up in words/, whose stems take endings; those of German are also taken apart. What is not found stays.
"""

import tomllib
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WORDS = Path(__file__).parent / "words"
KNOWN = ("en", "fr", "es", "ru", "it", "de")                            # in the order of the weights
BUCKETS = 4096                                                          # that runs of letters are sorted into
GRAMS = range(2, 5)                                                     # letters of a run
ENDING = 6                                                              # letters that a stem takes at most
SHORTEST = 3                                                            # letters of a stem
PART = 4                                                                # letters of a part of a German compound
JOINTS = ("", "s", "n", "en", "es")                                     # what is between the parts of one
ME = {"es": "me", "it": "mi"}                                           # that ends a verb: "sing me"


def in_english(text: str, language: str, *more: Path) -> str:
    """A text of one of KNOWN, word for word; more: folders of words beside WORDS."""
    if language == "en":
        return text
    files = tuple(folder / f"{language}.toml" for folder in (WORDS, *more))
    said = [part for word in words(text) for part in (_meaning(word, language, files) or (word,))]
    return " ".join(said) + ("?" if "?" in text else ".")


def words(text: str) -> list[str]:
    """The words of a text, in lower case, without what is between them."""
    plain = unicodedata.normalize("NFC", text.casefold())
    return "".join(one if unicodedata.category(one)[0] in "LMN" else " " for one in plain).split()


def letters(texts: Sequence[str]) -> NDArray[np.float32]:
    """Which runs of letters are in a text: [texts, BUCKETS], each row of length 1."""
    found = np.zeros((len(texts), BUCKETS), np.float32)
    for row, text in zip(found, texts, strict=True):
        row[list(_runs(text))] = 1
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1)


def _runs(text: str) -> Iterator[int]:
    for word in words(text):
        padded = f"<{word}>"
        for size in GRAMS:
            for at in range(len(padded) - size + 1):
                yield zlib.crc32(padded[at : at + size].encode()) % BUCKETS


def _without_accents(word: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFKD", word) if not unicodedata.combining(one))


def _meaning(word: str, language: str, files: tuple[Path, ...]) -> tuple[str, ...] | None:
    """English words for a word, which may have lost its accents; None where it is not known."""
    whole, stems = _table(files)
    if found := whole.get(word) or whole.get(_without_accents(word)):
        return (found,)
    for end in range(len(word), SHORTEST - 1, -1):                      # the longest stem first
        head, rest = word[:end], word[end:]
        found = stems.get(head) or stems.get(_without_accents(head))
        if found is None and language == "de" and end >= PART:
            found = whole.get(head)
        if found is None:
            continue
        if language == "de":
            for joint in JOINTS:
                part = rest.removeprefix(joint)
                if rest.startswith(joint) and len(part) >= PART and (others := _meaning(part, language, files)):
                    return (found, *others)
        if len(rest) <= ENDING:
            return (found, "me") if rest.endswith(ME.get(language, " ")) else (found,)
    return None


@cache
def _table(files: tuple[Path, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Whole words and stems, each with what it means in English; without accents too, where that is no other word."""
    tables = [tomllib.loads(file.read_text(encoding="utf-8"))["words"] for file in files]
    rows = [row for table in tables for row in table.strip().splitlines()]
    entries = [(form, meaning) for row in rows for meaning, forms in (row.split(": "),) for form in forms.split()]
    whole: dict[str, str] = {}
    stems: dict[str, str] = {}
    for form, meaning in [*entries, *((_without_accents(form), meaning) for form, meaning in entries)]:
        (stems if form.endswith("-") else whole).setdefault(form.rstrip("-").casefold(), meaning)
    return whole, stems
