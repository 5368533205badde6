"""Utilities of spoken answers: the words that a recognizer hears, and quality as listeners rate it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from omni.decode.mbr.ngrams import Scores
from omni.decode.mbr.utilities import Utility
from omni.errors import InputError

RATE = 16_000                                                           # hertz, of all that listens to speech here


@dataclass(frozen=True, eq=False)
class Speech:
    """A candidate: mono audio at 16 kHz, -1..1, float32 [samples]. It equals nothing but itself.

    Raises InputError for what is no such audio.
    """

    wave: NDArray[np.float32]

    def __post_init__(self) -> None:
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


def heard(utility: Utility[str]) -> Utility[Speech]:
    """A utility of texts, asked about what is heard: `heard(word_accuracy)`, `heard(chrf)`."""

    def of_speech(hypotheses: Sequence[Speech], references: Sequence[Speech]) -> Scores:
        ours = [one.words for one in hypotheses]
        return utility(ours, ours if references is hypotheses else [one.words for one in references])

    return of_speech


def quality(hypotheses: Sequence[Speech], references: Sequence[Speech]) -> Scores:
    """DNSMOS of each hypothesis, whatever the reference: [H, R], 1..5."""
    ratings = np.array([one.rating for one in hypotheses], np.float64)
    return np.repeat(ratings[:, None], len(references), axis=1)
