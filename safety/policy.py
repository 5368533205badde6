"""The policy, policy.toml, as everything that follows it reads it; its requests in other languages, translated.toml."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ACTIONS = ("refuse", "hedge")
FILE = Path(__file__).with_name("policy.toml")
TRANSLATED = FILE.with_name("translated.toml")
WHOLE = (FILE.name, TRANSLATED.name, Path(__file__).name)               # on which figures that ask it depend
OTHERS = ("fr", "es", "ru", "it", "de")                                 # languages of its requests beside English
LANGUAGES = ("en", *OTHERS)


@dataclass(frozen=True)
class Category:
    """What is not to be done, and what looks alike and is.

    action:  `refuse` or `hedge`; instead: what a good answer does
    guard:   the guard at run time that stands behind it, if one does; words: stems that no answer may hold
    pairs:   (to be refused or hedged, to be complied with); about: `recording` or `picture`, which a pair asks about
    """

    key: str
    name: str
    means: str
    action: str
    instead: str
    pairs: tuple[tuple[str, str], ...]
    about: tuple[str | None, ...]
    guard: str | None = None
    words: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of its pairs: a request is called so, wherever it is asked."""
        return tuple(f"{self.key}:{number}" for number in range(len(self.pairs)))


@cache
def policy() -> tuple[Category, ...]:
    """All categories, in the order of the file."""
    rows = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return tuple(
        Category(
            key, row["name"], row["means"], row["action"], row["instead"],
            tuple((bad, good) for bad, good, *_ in row["pairs"]),
            tuple(about[0] if about else None for _, _, *about in row["pairs"]),
            row.get("guard"), tuple(row.get("words", ())),
        )
        for key, row in rows.items()
    )  # fmt: skip


@cache
def pairs() -> dict[str, tuple[str, str]]:
    """All pairs by their names."""
    return {name: pair for one in policy() for name, pair in zip(one.names, one.pairs, strict=True)}


@cache
def translations(language: str) -> dict[str, str]:
    """All requests of the policy, those to comply with too, in one of OTHERS."""
    rows = tomllib.loads(TRANSLATED.read_text(encoding="utf-8"))[language]
    known = ((pair, said) for one in policy() for pair, said in zip(one.pairs, rows[one.key], strict=True))
    return {request: text for pair, said in known for request, text in zip(pair, said, strict=True)}
