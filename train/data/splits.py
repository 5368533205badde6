"""Train, valid and test by concept: what shares a name, a picture or a sound is never parted.

Items are joined (union-find) where they have the same English text, the same text of some length in any language,
the same picture or the same waveform. A group goes as a whole where a hash of its name sends it.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from omni.train.data.parse.base import is_english

SALT = "omni-data-12"  # the first with 45 stamps in valid and in test, whether all sources are there or not
VALID, TEST = 0.05, 0.05
LONG_TEXT = 12  # characters from which an equal text in any language joins; shorter ones are too often homonyms
LARGEST_HELD_OUT = 40  # larger groups are trained on: one of them would be most of the test set
_ARTICLE = re.compile(r"^(?:an?|the) (?=\S)")


class _Separators(dict[int, str]):
    """For str.translate: punctuation, symbols and spaces become a space; the marks of Indic scripts stay."""

    def __missing__(self, code: int) -> str:
        self[code] = " " if unicodedata.category(chr(code))[0] in "PSZC" else chr(code)
        return self[code]


_SEPARATORS = _Separators()


@dataclass(frozen=True)
class Facts:
    """What the split needs to know of an item."""

    id: str
    texts: dict[str, str]
    joins: Sequence[str]


def normalise(text: str) -> str:
    """Words only, case folded, without a leading English article: "An owl." -> "owl".

    A text of nothing but signs ("?", "€") keeps them, else all of them would be one.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = " ".join(folded.translate(_SEPARATORS).split())
    return _ARTICLE.sub("", words) if words else folded.strip()


def keys(item: Facts) -> set[Hashable]:
    """Everything that joins this item to others."""
    found: set[Hashable] = set(item.joins)
    for language, text in item.texts.items():
        if is_english(language):
            found.add(("en", normalise(text)))
        if len(text) > LONG_TEXT:
            found.add(("any", normalise(text)))
    return found


def groups(items: Sequence[Facts]) -> list[int]:
    """For each item the smallest index of its group: the connected components over common keys."""
    parent = list(range(len(items)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    owner: dict[Hashable, int] = {}
    for index, item in enumerate(items):
        for key in keys(item):
            first, second = root(owner.setdefault(key, index)), root(index)
            parent[max(first, second)] = min(first, second)
    return [root(index) for index in range(len(items))]


@dataclass(frozen=True)
class Split:
    """The split of each item, in the order of the items, and the sizes of the groups, the largest first."""

    of: list[str]
    group_sizes: list[int]


def assign(items: Sequence[Facts]) -> Split:
    """Split all items at once. A group's place depends on what is in it, not on the order of the items."""
    group = groups(items)
    sizes = Counter(group)
    names: dict[int, str] = {}
    for item, index in zip(items, group, strict=True):
        name = normalise(item.texts["en"]) if "en" in item.texts else item.id
        names[index] = min(names.get(index, name), name)
    chosen = {index: "train" if sizes[index] > LARGEST_HELD_OUT else draw(name) for index, name in names.items()}
    return Split([chosen[index] for index in group], sorted(sizes.values(), reverse=True))


def draw(name: str) -> str:
    """90 % train, 5 % valid, 5 % test, by a hash of the group's name."""
    share = int.from_bytes(hashlib.sha256(f"{SALT}\n{name}".encode()).digest()[:8], "big") / 2**64
    return "test" if share < TEST else "valid" if share < TEST + VALID else "train"
