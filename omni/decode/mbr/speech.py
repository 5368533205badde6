"""Utilities of spoken answers: the words that a recognizer hears, and quality as listeners rate it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from omni.decode.mbr.ngrams import Scores
from omni.decode.mbr.utilities import Aggregation, Utility, aggregation, check_kind, check_utility, remembering
from omni.errors import InputError

RATE = 16_000                                                           # hertz, of all that listens to speech here


@dataclass(frozen=True, eq=False)
class Speech:
    """A candidate: mono audio at 16 kHz, -1..1, an array of floats [samples]. It equals nothing but itself.

    Raises InputError for what is no such audio.
    """

    wave: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not isinstance(self.wave, np.ndarray):
            raise InputError(f"speech of {type(self.wave).__name__}: give a numpy array of floats in -1..1 [samples]")
        if not np.issubdtype(self.wave.dtype, np.floating):
            raise InputError(f"speech of {self.wave.dtype}: give floats in -1..1; those of int16 divided by 32768, say")
        if self.wave.ndim != 1 or not len(self.wave) or not np.isfinite(self.wave).all():
            raise InputError(f"speech of shape {self.wave.shape}: must be one row of one finite sample or more")

    @cached_property
    def words(self) -> str:
        """What pocketsphinx hears, once: English only, and often wrong (omni.tokenizers.audio.recognizer)."""
        from omni.tokenizers.audio.recognizer import transcribe

        return transcribe(self.wave)

    @cached_property
    def rating(self) -> float:
        """DNSMOS, 1..5."""
        from omni.tokenizers.audio.metrics import dnsmos

        return dnsmos(self.wave)


@dataclass(frozen=True, eq=False)
class Heard:
    """A utility of texts, asked about what is heard."""

    of_texts: Utility[str]

    def __post_init__(self) -> None:
        check_utility(self.of_texts)

    def __call__(self, hypotheses: Sequence[Speech], references: Sequence[Speech]) -> Scores:
        return self.of_texts(*_words(hypotheses, references))

    def remembering(self) -> "Heard":
        return Heard(remembering(self.of_texts))

    def aggregation(self) -> Aggregation[Speech]:
        """That of the texts."""
        own = aggregation(self.of_texts)
        return lambda hypotheses, references, share: own(*_words(hypotheses, references), share)


def heard(utility: Utility[str]) -> Utility[Speech]:
    """A utility of texts, asked about what is heard: `heard(word_accuracy)`, `heard(chrf)`."""
    return Heard(utility)


@dataclass(frozen=True)
class Quality:
    """DNSMOS of each hypothesis, 1..5, whatever the reference."""

    def __call__(self, hypotheses: Sequence[Speech], references: Sequence[Speech]) -> Scores:
        return np.repeat(_ratings(hypotheses)[:, None], len(references), axis=1)  # [H, R]

    def aggregation(self) -> Aggregation[Speech]:
        """The same."""
        return lambda hypotheses, references, share: _ratings(hypotheses)


quality = Quality()


def _ratings(clips: Sequence[Speech]) -> Scores:
    check_kind(Speech, "Speech(wave)", clips)
    return np.array([clip.rating for clip in clips], np.float64)


def _words(hypotheses: Sequence[Speech], references: Sequence[Speech]) -> tuple[list[str], list[str]]:
    """What is heard in each, the same list where they are the same."""
    check_kind(Speech, "Speech(wave)", hypotheses, references)
    ours = [clip.words for clip in hypotheses]
    return ours, ours if references is hypotheses else [clip.words for clip in references]
