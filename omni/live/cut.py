"""What is left of an answer that was cut short: its sound as far as it was heard, and the words that it had come to."""

from collections.abc import Sequence

import numpy as np

from omni.sequence import Segment
from omni.tokenizers.text import TextTokenizer

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
            segment = Segment("audio", segment.codes[:frames], segment.role, segment.language, segment.voice)
        elif segment.modality == "text":
            text = _words(_text(segment, tokenizer), frames / whole)
            segment = Segment("text", np.array(tokenizer.encode(text), np.int64), segment.role, segment.language)
        kept.append(segment)
    return kept


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
