"""Scripts: which one a language is written in, and which letters are of it.

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


@lru_cache
def written(letters: str, language: str | None) -> NDArray[np.bool_]:
    """Whether a language is written in each of some letters: [letters].

    Digits and spaces are of every script; of a language whose script is not known, or none, so are all letters.
    """
    script = SCRIPTS.get(language or "")
    return np.array([script is None or _script(letter) in (script, None) for letter in letters], bool)


def _script(letter: str) -> str | None:
    """The script of a letter, None of a digit or a space."""
    return unicodedata.name(letter, "").split(" ")[0] if letter.isalpha() else None
