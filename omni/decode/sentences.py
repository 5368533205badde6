"""Sentences, by which a text is spoken: speech need not wait for the whole of it, nor lose its place in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni.tokenizers.text import TextTokenizer

SHORT, LONG = 8, 24                                                     # text tokens
ENDS, CLOSING = ".?!…:;", "\"'”’»)]」』"
OF_THEMSELVES = "。？！"                                                  # with no space behind them


@dataclass(frozen=True, eq=False)
class Sentences:
    """Of texts in a tokenizer's codes. unless: from where on none of it can be, if that is in the text"""

    tokenizer: "TextTokenizer"
    unless: str | None = None

    def pause(self, codes: Sequence[int]) -> bool:
        """Whether what stands before the last code can be spoken: up to a sentence's end behind SHORT codes or more, or
        else up to a word's end behind LONG.
        """
        return self._pause(codes, LONG)

    def split(self, codes: Sequence[int]) -> list[Sequence[int]]:
        """A whole text in sentences, each in the codes that it has by itself."""
        found, start = list[Sequence[int]](), 0
        for stop in range(1, len(codes) + 1):
            if self._pause(codes[start:stop], len(codes)):
                found.append(codes[start : stop - 1])
                start = stop - 1
        if not found:
            return [codes]
        return [self.tokenizer.encode(self.tokenizer.decode(each).strip()) for each in (*found, codes[start:])]

    def _pause(self, codes: Sequence[int], long: int) -> bool:
        count = len(codes) - 1
        if count < SHORT:
            return False
        text, longer = self.tokenizer.decode(codes[:-1]), self.tokenizer.decode(codes)
        if self.unless is not None and self.unless in longer:
            return False
        last, after = text.rstrip().rstrip(CLOSING)[-1:], longer[len(text) :][:1]
        if last and last in OF_THEMSELVES:
            return after not in CLOSING
        between = text[-1:].isspace() or after.isspace()                # words
        return between and (count >= long or (last != "" and last in ENDS))
