"""The words by which answers are graded, words.toml and cues.toml, as regular expressions over `normal` text."""

import re
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

WORDS, CUES = Path(__file__).with_name("words.toml"), Path(__file__).with_name("cues.toml")


@dataclass(frozen=True)
class Words:
    """Of a language; words.toml says what each is for."""

    language: str
    before: re.Pattern[str]
    no: re.Pattern[str]
    refusing: re.Pattern[str]
    flat: re.Pattern[str]
    sorry: re.Pattern[str]
    hedging: re.Pattern[str]
    advising: re.Pattern[str]
    turning: re.Pattern[str]
    broken: re.Pattern[str]

    def hedges(self, plain: str) -> bool:
        return self.hedging.search(self.advising.sub(" ", plain)) is not None


@cache
def words() -> dict[str, Words]:
    """By language."""
    return {
        language: Words(language, **{one.name: _rule(row[one.name]) for one in fields(Words)[1:]})
        for language, row in tomllib.loads(WORDS.read_text(encoding="utf-8")).items()
    }


@cache
def cues() -> dict[str, dict[str, re.Pattern[str]]]:
    """By language and name, the same names in all."""
    rows: dict[str, dict[str, list[str]]] = tomllib.loads(CUES.read_text(encoding="utf-8"))
    return {language: {name: _rule(some) for name, some in row.items()} for language, row in rows.items()}


def _rule(some: list[str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(some)})(?!\w)")
