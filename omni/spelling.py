"""What is said, letter by letter: the letters that codes of speech spell, and those of a text that is said.

A model that is shown them beside speech need not find out which of many frames a letter is in, nor which letters a
piece of text is made of (omni.sequence says where they stand).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from omni.tokenizers.letters import letters_in, plain

if TYPE_CHECKING:
    from omni.tokenizers.bundle import Tokenizers

BLANK = "_"                                                             # no letter; none of an alphabet is spelt so


@dataclass(frozen=True)
class Spelling:
    """Letters as text codes: those whose piece is one small letter, a digit or the space between words.

    pieces: bytes of each text code, each a character (Latin-1), since alone they may be no text
    codes:  what each code of the codec's first codebook spells, the same number of letters or blanks each
    """

    pieces: tuple[str, ...]
    codes: tuple[str, ...]

    @classmethod
    def of(cls, tokenizers: "Tokenizers") -> "Spelling | None":
        """That of a codec with a codebook of words beside a text tokenizer, None of others."""
        words = getattr(tokenizers.audio, "words", None)
        if tokenizers.text is None or words is None:
            return None
        return cls(tuple(piece.decode("latin-1") for piece in tokenizers.text.pieces()), words.table(BLANK))

    @classmethod
    def parse(cls, fields: Any) -> "Spelling | None":
        """From what JSON keeps of it. Raises KeyError, TypeError or ValueError for anything else."""
        if not fields:
            return None
        pieces, codes = (tuple(map(str, fields[name])) for name in ("pieces", "codes"))
        if len({len(code) for code in codes}) != 1:
            raise ValueError("codes of words do not all spell the same number of letters")
        return cls(pieces, codes)

    def read(self, codes: np.ndarray) -> np.ndarray:
        """What speech [frames, codebooks] spells, each letter once however long it sounds: text codes [letters]."""
        spelt = self._table[codes[:, 0]].reshape(-1)                    # [frames * letters of a frame]
        begins = np.diff(spelt, prepend=-1) != 0
        return self._between_words(spelt[begins & (spelt >= 0)].tolist())

    def spell(self, codes: Iterable[int]) -> np.ndarray:
        """The letters of a text [tokens], in small ones: text codes [letters]."""
        raw = "".join(self.pieces[code] for code in codes).encode("latin-1")
        text = plain(raw.decode(errors="ignore"))
        return self._between_words([self.letters[letter] for letter in text if letter in self.letters])

    @cached_property
    def letters(self) -> dict[str, int]:
        """The text code of each letter that has one."""
        return letters_in(piece.encode("latin-1") for piece in self.pieces)

    @cached_property
    def longer(self) -> np.ndarray:
        """Whether the piece of each text code is more than one letter, of any kind, or a part of one: [codes] bool."""
        return np.array([_is_longer(piece.encode("latin-1")) for piece in self.pieces])

    @cached_property
    def _table(self) -> np.ndarray:
        """Text codes that each code spells, -1 for blanks and letters without one: [codes, letters of a frame]."""
        return np.array([[self.letters.get(letter, -1) for letter in code] for code in self.codes], np.int64)

    def _between_words(self, spelt: list[int]) -> np.ndarray:
        """Without spaces at the ends, or one after the other."""
        space, kept = self.letters.get(" "), list[int]()
        for letter in spelt:
            if letter != space or (kept and kept[-1] != space):
                kept.append(letter)
        return np.array(kept[:-1] if kept and kept[-1] == space else kept, np.int64)


def _is_longer(piece: bytes) -> bool:
    """Than one letter, or than a part of one; nothing at all is no letter either."""
    whole = piece.decode(errors="ignore")
    return not piece or (bool(whole) and whole[:1].encode() != piece)
