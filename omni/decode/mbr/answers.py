"""The choice among whole answers of a model, of text and of speech."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omni.decode.generate import Want
from omni.decode.mbr.choose import mbr
from omni.decode.mbr.utilities import Utility, bleu, chrf, word_accuracy
from omni.errors import InputError
from omni.sequence import Segment

if TYPE_CHECKING:
    from omni.decode.pipeline import Answer


def choose(
    drawn: Sequence[list[Segment]], wants: Sequence[Want], render: Callable[[Sequence[Segment]], "Answer"],
    utility: Utility[str] = chrf,
) -> "Answer":  # fmt: skip
    """The answer whose mean utility against all drawn ones, added up over its segments, is highest.

    Speech stands for what a recognizer hears in it. Raises InputError for a picture and for speech in a language
    other than English, the only one that the recognizer knows.
    """
    for want in wants:
        if want.modality == "image":
            raise InputError("answers are compared by their words; leave image out of what is wanted")
        if want.modality == "audio" and want.language not in (None, "en"):
            raise InputError(
                f"speech is compared by the words that a recognizer of English hears, not in {want.language};"
                " ask for a text, or for speech in English"
            )
    answers = [render(segments) for segments in drawn]
    expected = sum(mbr(_said(answers, want.modality), utility).expected for want in wants)
    return answers[int(np.argmax(expected))]


def utility_named(name: str) -> Utility[str]:
    """chrf, bleu, words, or nearness by the sentence encoder in a folder. Raises InputError for anything else."""
    known: dict[str, Utility[str]] = {"chrf": chrf, "bleu": bleu, "words": word_accuracy}
    if name in known:
        return known[name]
    if not Path(name).is_dir():
        raise InputError(f"utility {name}: neither a folder with an encoder nor one of {', '.join(known)}")
    from omni.decode.mbr.embedding import cosine, sentences

    return cosine(sentences(Path(name)))


def _said(answers: Sequence["Answer"], modality: str) -> list[str]:
    """The words of each answer's segment."""
    if modality == "text":
        return [answer.text or "" for answer in answers]
    from omni.tokenizers.audio.metrics import resample
    from omni.tokenizers.audio.recognizer import RATE, transcribe

    heard = []
    for answer in answers:
        assert answer.audio is not None
        heard.append(transcribe(resample(answer.audio, answer.sample_rate, RATE)))
    return heard
