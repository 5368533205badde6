"""Scripts: which one a language is written in, and which letters of another stand for the same sounds.

Who listens to many languages spells a voice that is hard to hear in letters of several scripts, often within a word. Of
which language it is is then known before what is said, and with it the script.
"""

import unicodedata
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LANGUAGES = {
    "LATIN": "en fr es it de ro ca pt nl pl cs sk sl hr da nb nn sv fi et lt lv hu tr id gl eu is ga cy sq",
    "CYRILLIC": "ru bg uk be mk",
    "GREEK": "el",
}
SCRIPTS = {language: script for script, languages in LANGUAGES.items() for language in languages.split()}
ALIKE = (
    "aаъяα", "bбвβ", "vвβ", "gгγ", "dдδ", "eеэε", "zзζ", "sсзцшщσςζ", "iиіыηιυ", "yйυ", "jжхч", "cкчцκ", "kкκ", "qкκ",
    "lлλ", "mмμ", "nнν", "oоёωο", "pпπψ", "rрρ", "tтцτθ", "uуюυ", "fфφ", "hхχ", "xξ", "wв",
)  # fmt: skip


@lru_cache
def in_script(letters: str, language: str | None) -> NDArray[np.float64] | None:
    """What each of some letters, and first no letter at all, counts for in a language: [1 + letters, 1 + letters].

    A letter of the language's script, or of none, is itself; another is in equal parts those that sound like it, and
    nothing where none does. None for a language whose script is not known, or no language. Rows sum to 1.
    """
    script = SCRIPTS.get(language or "")
    if script is None:
        return None
    own = {letter: number for number, letter in enumerate(letters, start=1) if _script(letter) in (script, None)}
    weights = np.zeros((1 + len(letters), 1 + len(letters)))
    weights[0, 0] = 1
    for number, letter in enumerate(letters, start=1):
        meant = [own[letter]] if letter in own else [own[one] for one in _alike(letter) if one in own]
        for one in meant or [0]:
            weights[number, one] += 1 / max(1, len(meant))
    return weights


def _alike(letter: str) -> list[str]:
    """Letters that may stand for the same sound; where none do, for that of the letter without its accents."""
    plain = letter if letter in "".join(ALIKE) else unicodedata.normalize("NFD", letter)[0]
    return [one for group in ALIKE if plain in group for one in group]


def _script(letter: str) -> str | None:
    """The script of a letter, None of a digit or a space."""
    return unicodedata.name(letter, "").split(" ")[0] if letter.isalpha() else None
