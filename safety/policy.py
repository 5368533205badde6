"""The policy, policy.toml, as everything that follows it reads it."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ACTIONS = ("refuse", "hedge")
FILE = Path(__file__).with_name("policy.toml")


@dataclass(frozen=True)
class Category:
    """What is not to be done, and what looks alike and is.

    action:  `refuse` or `hedge`; instead: what a good answer does
    guard:   the guard at run time that stands behind it, if one does; words: stems that no answer may hold
    pairs:   (to be refused or hedged, to be complied with)
    """

    key: str
    name: str
    means: str
    action: str
    instead: str
    pairs: tuple[tuple[str, str], ...]
    guard: str | None = None
    words: tuple[str, ...] = ()


@cache
def policy() -> tuple[Category, ...]:
    """All categories, in the order of the file."""
    rows = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return tuple(
        Category(
            key, row["name"], row["means"], row["action"], row["instead"],
            tuple((bad, good) for bad, good in row["pairs"]), row.get("guard"), tuple(row.get("words", ())),
        )
        for key, row in rows.items()
    )  # fmt: skip
