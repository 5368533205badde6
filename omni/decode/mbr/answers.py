"""The choice among whole answers of a model, of text and of speech."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omni.decode.mbr.choose import Choice, mbr, mbr_aggregated, mbr_coarse_to_fine, mbr_pruned
from omni.decode.mbr.speech import RATE, Speech, heard
from omni.decode.mbr.utilities import Utility, aggregation, bleu, check_utility, chrf, word_accuracy
from omni.decode.samplers import Sampler
from omni.decode.want import Want
from omni.errors import InputError
from omni.sequence import Segment

if TYPE_CHECKING:
    from omni.decode.answer import Answer

TEXTS: dict[str, Utility[str]] = {"chrf": chrf, "bleu": bleu, "words": word_accuracy}


@dataclass(frozen=True)
class Way:
    """How one of several answers is chosen: by its mean utility against all of them, added up over its segments.

    utility:   of texts, for which speech stands as what a recognizer hears in it; with `sound`, of speech
    prune:     give up answers that hardly can be the best (`mbr_pruned`)
    coarse:    compare only that many by the utility, the best by chrF (`mbr_coarse_to_fine`); 0 for all
    aggregate: compare with one mean reference (`mbr_aggregated`)
    Raises InputError for more than one of these three, and for those that the utility cannot do.
    """

    utility: Utility[str] | Utility[Speech] = chrf
    sound: bool = False
    prune: bool = False
    coarse: int = 0
    aggregate: bool = False

    def __post_init__(self) -> None:
        check_utility(self.utility)
        if self.prune + bool(self.coarse) + self.aggregate > 1:
            raise InputError("prune, coarse, aggregate: three ways of comparing less; choose one")
        if not isinstance(self.coarse, Integral) or self.coarse < 0:
            raise InputError(f"coarse={self.coarse!r}: must be 1 or more answers to keep, or 0 for all")
        if self.coarse and self.utility == chrf:
            raise InputError("coarse: keeps the best by chrF for a dearer utility; give one, such as words")
        if self.aggregate:
            aggregation(self.utility)                                   # raises where there is none

    def check(self, wants: Sequence[Want], sampler: Sampler) -> None:
        """Raises InputError for answers that cannot be compared so: for a picture, for speech in a language other than
        English, the only one that the recognizer knows, for a text with `sound`, for several segments of which some
        would be given up, and where all draws would be the same."""
        if all((want.sampler or sampler).greedy for want in wants):
            raise InputError("temperature 0 and top_k 1 draw the same answer every time; use temperature=1.0, say")
        for want in wants:
            if want.modality == "image":
                raise InputError("answers are compared by their words; leave image out of what is wanted")
            if self.sound and want.modality != "audio":
                raise InputError(f"this utility compares speech; ask for audio alone, without {want.modality}")
            words = not self.sound or self.coarse
            if want.modality == "audio" and words and want.language not in (None, "en"):
                raise InputError(
                    f"speech is compared by the words that a recognizer of English hears, not in {want.language};"
                    " ask for a text, for speech in English, or compare by the utility quality or speaker"
                    + (" without coarse" if self.coarse else "")
                )
        if (self.prune or self.coarse) and len(wants) > 1:
            way = "prune" if self.prune else "coarse"
            raise InputError(f"answers of several parts are not given up early; want one modality, or leave out {way}")

    def choose(
        self, drawn: Sequence[list[Segment]], wants: Sequence[Want], render: Callable[[Sequence[Segment]], "Answer"]
    ) -> "Answer":
        """One of the drawn answers, which have a segment for each of `wants`."""
        answers = [render(segments) for segments in drawn]
        compared = (_spoken(answers) if self.sound else _said(answers, want.modality) for want in wants)
        expected = sum(self._compare(one).expected for one in compared)
        return answers[int(np.nanargmax(expected))]

    def _compare(self, answers: Sequence[Any]) -> Choice:
        utility: Utility[Any] = self.utility
        if self.prune:
            return mbr_pruned(answers, utility)
        if self.coarse:
            return mbr_coarse_to_fine(answers, heard(chrf) if self.sound else chrf, utility, self.coarse)
        return mbr_aggregated(answers, utility) if self.aggregate else mbr(answers, utility)


def utility_named(name: str) -> Utility[str]:
    """chrf, bleu, words, or nearness by the sentence encoder in a folder. Raises InputError for anything else."""
    check_name(name)
    if name in TEXTS:
        return TEXTS[name]
    from omni.decode.mbr.embedding import cosine, sentences

    return cosine(sentences(Path(name)))


def check_name(name: str, others: Sequence[str] = ()) -> None:
    """Raises InputError for the name of no utility. others: names that whoever asks knows besides"""
    known = (*TEXTS, *others)
    if name not in known and not Path(name).is_dir():
        raise InputError(f"utility {name}: neither a folder with a sentence encoder nor one of {', '.join(known)}")


def _spoken(answers: Sequence["Answer"]) -> list[Speech]:
    """Each answer's sound, at the rate that utilities of speech take."""
    from omni.tokenizers.audio.metrics import resample

    waves = [answer.audio for answer in answers if answer.audio is not None]
    return [Speech(resample(wave, answer.sample_rate, RATE)) for wave, answer in zip(waves, answers, strict=True)]


def _said(answers: Sequence["Answer"], modality: str) -> list[str]:
    """The words of each answer's segment."""
    if modality == "text":
        return [answer.text or "" for answer in answers]
    return [speech.words for speech in _spoken(answers)]
