"""What is left of an answer that was cut short: its sound as far as it was heard, and the words that it had come to."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from omni.sequence import Segment
from omni.tokenizers.text import TextTokenizer

Turn = list[Segment]                                                    # an answer
LETTERS_A_SECOND = 16                                                   # that omni-tiny speaks: docs/live.md


def frames_of(turn: Sequence[Segment]) -> int:
    """Of its sound."""
    return sum(len(segment.codes) for segment in turn if segment.modality == "audio")


def least_seconds(turn: Sequence[Segment], tokenizer: TextTokenizer) -> float:
    """That speech of its text takes, about."""
    return sum(len(_text(segment, tokenizer)) for segment in turn if segment.modality == "text") / LETTERS_A_SECOND


def begun(turn: Sequence[Segment], frames: int, whole: float, tokenizer: TextTokenizer) -> list[Segment]:
    """An answer's first `frames` of the `whole` that it takes, and as much of its text; nothing without sound."""
    kept = []
    for segment in turn if frames else ():
        if segment.modality == "audio":
            segment = replace(segment, codes=segment.codes[:frames])
        elif segment.modality == "text":
            text = _words(_text(segment, tokenizer), frames / whole)
            segment = Segment("text", np.array(tokenizer.encode(text), np.int64), segment.role, segment.language)
        kept.append(segment)
    return kept


class Cuts:
    """Shortens the answers of one conversation. The latest that it did it knows as it was, since how much of it was
    heard may be told more than once.
    """

    def __init__(self, tokenizer: TextTokenizer | None, rate: float) -> None:
        """rate: frames of sound a second"""
        self._given, self._rate = tokenizer, rate
        self._latest: tuple[Turn, Turn, float] = [], [], 0.0            # as it is, as it was, and the frames it takes

    def to_its_sound(self, turn: Turn, written: int | None = None) -> None:
        """Of an answer whose sound ends before its text only the text that the sound has come to is left.

        written: codes of text that were there to be said, if not all
        """
        said = [replace(one, codes=one.codes[:written]) if one.modality == "text" else one for one in turn]
        frames = frames_of(turn)
        whole = max(frames, least_seconds(said, self._tokenizer) * self._rate)
        turn[:] = begun(said, frames, whole, self._tokenizer)
        self._latest = turn, said, whole

    def to(self, turn: Turn, seconds: float) -> Turn:
        """What was heard of an answer in its first `seconds`: of its text as much in proportion, by words."""
        latest, said, whole = self._latest
        if turn is not latest:
            said, whole = turn, frames_of(turn)
        kept = begun(said, min(frames_of(turn), int(seconds * self._rate)), whole, self._tokenizer)
        self._latest = kept, said, whole
        return kept

    def text(self, turn: Turn) -> str:
        """What is left of its text."""
        return "".join(_text(segment, self._tokenizer) for segment in turn if segment.modality == "text")

    @property
    def _tokenizer(self) -> TextTokenizer:
        assert self._given is not None
        return self._given


def _words(text: str, share: float) -> str:
    """The words that lie wholly within this share of the letters."""
    if share >= 1:
        return text
    limit, kept = share * len(text), text[: int(share * len(text))]
    if limit < len(text) and not text[int(limit)].isspace() and " " in text:
        kept = kept[: kept.rfind(" ") + 1]
    return kept.rstrip()


def _text(segment: Segment, tokenizer: TextTokenizer) -> str:
    return tokenizer.decode(segment.codes.tolist())
