"""The choice among whole answers of a model, of text and of speech."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omni.decode.generate import Want
from omni.decode.mbr.choose import Choice, mbr, mbr_pruned
from omni.decode.mbr.speech import RATE, Speech
from omni.decode.mbr.utilities import Utility, bleu, chrf, word_accuracy
from omni.errors import InputError
from omni.sequence import Segment

if TYPE_CHECKING:
    from omni.decode.pipeline import Answer


def choose(
    drawn: Sequence[list[Segment]], wants: Sequence[Want], render: Callable[[Sequence[Segment]], "Answer"],
    utility: Utility[str] | Utility[Speech] = chrf, sound: bool = False, prune: bool = False,
) -> "Answer":  # fmt: skip
    """The answer whose mean utility against all drawn ones, added up over its segments, is highest.

    Speech stands for what a recognizer hears in it, or, with `sound`, is compared by a utility of speech. prune: give
    up answers that hardly can be the best (`mbr_pruned`). Raises InputError for a picture, for speech in a language
    other than English, the only one that the recognizer knows, for a text with `sound`, and for several segments with
    `prune`.
    """
    for want in wants:
        if want.modality == "image":
            raise InputError("answers are compared by their words; leave image out of what is wanted")
        if sound and want.modality != "audio":
            raise InputError(f"this utility compares speech; ask for audio alone, without {want.modality}")
        if want.modality == "audio" and not sound and want.language not in (None, "en"):
            raise InputError(
                f"speech is compared by the words that a recognizer of English hears, not in {want.language};"
                " ask for a text, for speech in English, or compare by the utility quality or speaker"
            )
    if prune and len(wants) > 1:
        raise InputError("answers of several parts are not given up early; want one modality, or leave out prune")
    answers = [render(segments) for segments in drawn]
    pick: Callable[..., Choice] = mbr_pruned if prune else mbr
    compared = (_heard(answers) if sound else _said(answers, want.modality) for want in wants)
    expected = sum(pick(one, utility).expected for one in compared)
    return answers[int(np.nanargmax(expected))]


def utility_named(name: str) -> Utility[str]:
    """chrf, bleu, words, or nearness by the sentence encoder in a folder. Raises InputError for anything else."""
    known: dict[str, Utility[str]] = {"chrf": chrf, "bleu": bleu, "words": word_accuracy}
    if name in known:
        return known[name]
    if not Path(name).is_dir():
        raise InputError(f"utility {name}: neither a folder with an encoder nor one of {', '.join(known)}")
    from omni.decode.mbr.embedding import cosine, sentences

    return cosine(sentences(Path(name)))


def _heard(answers: Sequence["Answer"]) -> list[Speech]:
    """Each answer's sound, at the rate that utilities of speech take."""
    from omni.tokenizers.audio.metrics import resample

    waves = [answer.audio for answer in answers if answer.audio is not None]
    return [Speech(resample(wave, answer.sample_rate, RATE)) for wave, answer in zip(waves, answers, strict=True)]


def _said(answers: Sequence["Answer"], modality: str) -> list[str]:
    """The words of each answer's segment."""
    if modality == "text":
        return [answer.text or "" for answer in answers]
    return [speech.words for speech in _heard(answers)]
