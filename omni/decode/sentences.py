"""Sentences, by which a text is spoken: speech need not wait for the whole of it, nor lose its place in it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni.tokenizers.text import TextTokenizer

SHORT, LONG = 8, 24                                                     # text tokens, of what is written
LEAST = 3                                                               # and of what is read: fewer are no sentence
CLOSING = "\"'”’»)]」』"
END = re.compile(rf"[.?!…:;。？！][{re.escape(CLOSING)}]*$")
BETWEEN = re.compile(rf"(?<=[.?!…:;{re.escape(CLOSING)}])(?=\s)|(?<=[。？！])(?![{re.escape(CLOSING)}])")
OF_THEMSELVES = re.compile(rf"[。？！][{re.escape(CLOSING)}]*$")             # with no space behind them
SHORTENED = re.compile(r"(?:^|\W)[^\W\d_a-z]\w{0,2}\.$")                # Dr., No., J., but Ann. too, which then waits


@dataclass(frozen=True, eq=False)
class Sentences:
    """Of texts in a tokenizer's codes. unless: from where on none of it can be, if that is in the text"""

    tokenizer: "TextTokenizer"
    unless: str | None = None

    def pause(self, codes: Sequence[int]) -> bool:
        """Whether what stands before the last code can be spoken: up to a sentence's end behind SHORT codes or more, or
        else up to a word's end behind LONG.
        """
        count = len(codes) - 1
        if count < SHORT:
            return False
        text, longer = self.tokenizer.decode(codes[:-1]), self.tokenizer.decode(codes)
        after = longer[len(text) :][:1]
        if not _has_letters(text) or not after or (self.unless is not None and self.unless in longer):
            return False
        said = text.rstrip()
        if OF_THEMSELVES.search(said):
            return after not in CLOSING
        between = text != said or after.isspace()                       # words
        return between and (count >= LONG or _ends(said))

    def sayable(self, codes: Sequence[int]) -> bool:
        """Whether there is anything to say in it."""
        return _has_letters(self.tokenizer.decode(codes))

    def split(self, codes: Sequence[int]) -> list[Sequence[int]]:
        """A whole text in sentences, each in the codes that it has by itself."""
        found = [""]
        for piece in BETWEEN.split(self.tokenizer.decode(codes)):
            whole = _ends(found[-1].rstrip()) and len(self.tokenizer.encode(found[-1])) >= LEAST
            if whole and _has_letters(found[-1]) and _has_letters(piece):
                found.append(piece)
            else:
                found[-1] += piece
        return [codes] if len(found) == 1 else [self.tokenizer.encode(sentence.strip()) for sentence in found]


def _ends(text: str) -> bool:
    return END.search(text) is not None and SHORTENED.search(text) is None


def _has_letters(text: str) -> bool:
    return any(map(str.isalnum, text))
