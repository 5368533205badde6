"""What every parser speaks: jobs in, parsed items out, and one spelling of language codes."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class UnusableError(ValueError):
    """A picture or recording that is left out; the message is the reason under which it is counted."""


@dataclass
class Clip:
    """A finished recording: int16 samples at 16 kHz, [samples]."""

    samples: NDArray[np.int16]
    language: str | None
    kind: str
    speaker: str | None
    licence: str


@dataclass
class Parsed:
    """An item before it has a split and a place in the big arrays; fields as in `Item`.

    `joins` names what else must lie in the same split: two items with a common entry are never parted.
    """

    id: str
    licence: str
    attribution: str
    texts: dict[str, str] = field(default_factory=dict)
    keywords: dict[str, list[str]] = field(default_factory=dict)
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)  # each [size, size, 3]
    clips: list[Clip] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)

    def all_joins(self) -> list[str]:
        """`joins` and the hashes of pictures and waveforms, so that equal ones are never parted."""
        pictures = [f"picture:{_digest(picture)}" for picture in self.pictures]
        return sorted({*self.joins, *pictures, *(f"audio:{_digest(clip.samples)}" for clip in self.clips)})


@dataclass
class Outcome:
    """What one job gave, and how many things it left out for which reason."""

    items: list[Parsed] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Package:
    """One fetched package of a source, as sources.toml describes it; `root` is where it is extracted."""

    name: str
    root: Path
    licence: str
    attribution: str


@dataclass(frozen=True)
class Source:
    """How one source is parsed.

    plan:     packages -> small picklable jobs, in a fixed order
    parse:    (job, picture size in pixels) -> Outcome, in any process
    combine:  the outcomes of all jobs in plan order -> outcomes with items that jobs share made one
    """

    name: str
    plan: Callable[[list[Package]], list[Any]]
    parse: Callable[[Any, int], Outcome]
    combine: Callable[[Iterable[Outcome]], Iterable[Outcome]] = iter


_SAME_LANGUAGE = {
    "no": "nb",
    "zh": "zh-cn",
    "zh-hans": "zh-cn",
    "zh-hant": "zh-tw",
    "zh-hant-hk": "zh-hk",
    "sr-cyrl": "sr",
    "iw": "he",
}
_SCRIPTS = {"latin": "latn", "cyrillic": "cyrl", "devanagari": "deva", "beng": "beng", "arabic": "arab"}


def language_code(name: str) -> str:
    """Locale names of all sources in one spelling: `pt_BR` -> "pt-br", `sr@latin` -> "sr-latn", `no` -> "nb"."""
    base, _, modifier = name.partition("@")
    code = base.replace("_", "-").lower()
    if modifier:
        code += f"-{_SCRIPTS.get(modifier.lower(), modifier.lower())}"
    return _SAME_LANGUAGE.get(code, code)


def is_english(language: str) -> bool:
    return language == "en" or language.startswith("en-")


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:32]
