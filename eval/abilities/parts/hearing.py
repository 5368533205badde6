"""Writing down what people say, who read captions of held-out stamps, or whose voices were never heard."""

import re
from collections.abc import Sequence

from omni.decode.parts import Audio
from omni.errors import InputError
from omni.eval.abilities.scoring import Result, character_errors, error_rate
from omni.eval.abilities.subject import Question, Subject, read_by_flite
from omni.train.data.items import Item, Recording
from omni.train.data.lines import letters, numbers
from omni.train.data.voicing import APART

RECORDED = ("en", "fr", "es", "ru", "ro", "ca", "bg")                   # the languages with human captions
SPELLED = re.compile(r"prompts/(digits/\d+|letters/[a-z])(@\w+)?")

Heard = tuple[Audio, str, str]                                          # what is said, in which language, its text


def captions(subject: Subject) -> Result:
    """cer_captions, and the same of each language: at most `limit` recordings of each."""
    found: list[Heard] = []
    for language in subject.spoken(RECORDED):
        said = [pair for pair in _recordings(subject, "stamps") if pair[1].language == language]
        if said:
            found += [_heard(subject, *pair) for pair in subject.some(said, f"captions/{language}")]
    return _transcribed(subject, found, "cer_captions")


def digits(subject: Subject) -> Result:
    """cer_digits of voices set apart for testing (or, on trained items, of those trained on), cer_digits_flite."""
    said = [
        pair
        for pair in _recordings(subject, "prompts")
        if SPELLED.fullmatch(pair[0].id) and (APART in pair[0].id or subject.trained)
    ]
    whose = "people" if subject.trained else "unheard speakers; run `omni data voice --unheard`"
    result = Result(note=f"the data have no numbers or letters said by {whose}")
    if said:
        found = [_heard(subject, *pair) for pair in subject.some(said, "digits")]
        result = _transcribed(subject, found, "cer_digits")
    if not subject.trained:                                             # flite reads nothing that is trained on
        spelled = [texts["en"] for texts in (*numbers().values(), *letters().values())]
        words = subject.some(spelled, "flite")
        read = [(wave, "en", text) for wave, text in zip(read_by_flite(words), words, strict=True)]
        result.measures |= _transcribed(subject, read, "cer_digits_flite").measures
    return result


def _recordings(subject: Subject, source: str) -> list[tuple[Item, Recording]]:
    return [(item, one) for item in subject.items(source) for one in subject.recordings(item)]


def _heard(subject: Subject, item: Item, recording: Recording) -> Heard:
    assert recording.language
    return subject.sound(recording), recording.language, item.texts[recording.language]


def _transcribed(subject: Subject, found: Sequence[Heard], name: str) -> Result:
    """The error rate over all, and of each language."""
    found = [one for one in found if any(map(str.isalnum, one[2]))]
    if not found:
        raise InputError("the data have no recordings of people in the model's languages")
    said = subject.texts([Question((wave,), language) for wave, language, _ in found], verbatim=True)
    counts = [character_errors(text, reference) for text, (_, _, reference) in zip(said, found, strict=True)]
    result = Result({name: error_rate(counts)})
    for language in sorted({language for _, language, _ in found}):
        own = [count for count, heard in zip(counts, found, strict=True) if heard[1] == language]
        result.measures[f"{name}_{language}"] = error_rate(own)
    for text, (_, language, reference) in zip(said, found, strict=True):
        result.examples.append({"asked": f"a recording ({language})", "answered": text, "wanted": reference})
    return result
