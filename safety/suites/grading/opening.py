"""What an answer does by how it begins, as learned (learning.py): for refusals and hedges in words that no rule knows.

What it begins with is read as English, word for word; the text guard's encoder and a network like the guard's, with
weights of its own, tell it. The guard's words are of requests, so meanings/ has more, of answers.
"""

import tomllib
from functools import cache
from pathlib import Path

import numpy as np

from omni.safety.guards.requests.encoder import encode
from omni.safety.guards.requests.language import in_english
from omni.safety.guards.requests.learned import learned

FILE, OPENINGS, MEANINGS = (Path(__file__).with_name(name) for name in ("openings.safetensors", "openings", "meanings"))
DOES = ("comply", "refuse", "hedge")                                    # in the order of the network's odds


def does(opening: str, language: str) -> str:
    """One of DOES, of what an answer begins with."""
    odds = learned(FILE).odds(encode([english(opening, language)]))[0]  # [DOES]
    other = 1 + int(np.argmax(odds[1:]))
    return DOES[other if np.logaddexp.reduce(odds[1:]) > odds[0] else 0]


def english(opening: str, language: str) -> str:
    """Word for word."""
    return in_english(opening, language, MEANINGS)


@cache
def openings(language: str) -> dict[str, list[str]]:
    """How answers begin, by what they do, that it is learned from."""
    rows: dict[str, str] = tomllib.loads((OPENINGS / f"{language}.toml").read_text(encoding="utf-8"))
    return {does: lines.strip().splitlines() for does, lines in rows.items()}
