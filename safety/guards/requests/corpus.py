"""The requests that the text guard learns from: asked/, a file a language, in lists by category."""

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from omni.safety.guards.requests.language import KNOWN, WORDS, in_english
from omni.safety.policy import OTHERS

ASKED = Path(__file__).parent / "asked"
FOLDS = 5                                                               # of the cross-validation


@dataclass(frozen=True)
class Request:
    """One that is learned from. fold: those at the same place of a list in all languages are tested together."""

    text: str
    language: str
    category: str
    refused: bool
    fold: int

    @property
    def english(self) -> str:
        return in_english(self.text, self.language)


@cache
def requests() -> tuple[Request, ...]:
    """All of asked/."""
    return tuple(
        Request(text, language, category, kind == "refuse", at * FOLDS // len(lines))
        for language in KNOWN
        for category, kinds in tomllib.loads(_file(language).read_text(encoding="utf-8")).items()
        for kind, text_lines in kinds.items()
        for lines in (text_lines.strip().splitlines(),)
        for at, text in enumerate(lines)
    )


def checksum() -> str:
    """Of all that is learned from."""
    files = [*map(_file, KNOWN), *(WORDS / f"{language}.toml" for language in OTHERS)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _file(language: str) -> Path:
    return ASKED / f"{language}.toml"
