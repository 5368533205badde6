"""Speech: what pocketsphinx understands of it, how it sounds to DNSMOS, and how fast it comes.

The recognizer is weak, so that it is heard beside the preset's own recording of the same text: straight, and through
the codec, which is the best that the model could do.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from omni.decode.answer import Answer
from omni.decode.parts import Text
from omni.errors import InputError
from omni.eval.abilities.scoring import Measure, Result, statistic
from omni.eval.abilities.subject import ALOUD, Question, Subject, at_judges_rate
from omni.tokenizers.audio.metrics import Wave, dnsmos, through
from omni.tokenizers.audio.recognizer import Sentences, hearable, spoken, transcribe, word_errors
from omni.train.data.engines import one_thread
from omni.train.data.items import Item, Recording
from omni.train.data.lines import numbers

VOICE = "clara"
TIMED = 8


@dataclass(frozen=True)
class Spoken:
    """A text with the preset's own recording of it."""

    kind: str
    text: str
    reference: Wave


def speech(subject: Subject) -> Result:
    """tts_wer_gap and tts_wer_gap_codec, over captions and numbers and of each; tts_wer_gap_once of speech that is
    streamed, which cannot be chosen among several readings; tts_dnsmos_ratio.
    """
    subject.spoken(["en"])
    if VOICE not in subject.pipeline.vocab.voices:
        raise InputError(f"the model has no voice {VOICE}")
    closed, found = sentences(subject), _references(subject)
    found = [one for one in found if spoken(one.text) in closed]
    captions = subject.some([one for one in found if one.kind == "captions"], "speech", most=subject.limit // 2)
    said = [*captions, *(one for one in found if one.kind == "numbers")][: subject.limit]
    answers = subject.answers([Question((Text(one.text),), "en") for one in said], ["audio"], ALOUD)
    waves = [_heard(answer.audio, answer.sample_rate) for answer in answers]
    first = [subject.streamed(Question((Text(one.text),), "en"), ALOUD) for one in said]
    once = [at_judges_rate(wave, answers[0].sample_rate) for wave in first]
    coded = [_through_codec(subject, one.reference) for one in said]
    rows = zip(waves, (one.reference for one in said), coded, once, strict=True)
    heard = [[transcribe(wave, closed) for wave in row] for row in rows]
    result = Result(_gaps(said, heard))
    result.measures["tts_dnsmos_ratio"] = _ratio([(dnsmos(a), dnsmos(b)) for a, b in zip(waves, coded, strict=True)])
    for one, (words, *_) in zip(said, heard, strict=True):
        result.examples.append({"asked": f"say: {one.text}", "answered": f"(heard as) {words}", "wanted": one.text})
    return result


def speed(subject: Subject) -> Result:
    """speed_x_realtime: seconds of speech that a second of one thread gives, of answers in text and speech."""
    (language,) = subject.spoken(["en"])
    captions = [item.texts["en"] for item in subject.items("stamps") if "en" in item.texts]
    rates, result = [], Result()
    with one_thread():
        for number, text in enumerate(subject.some(captions, "speed", most=TIMED + 1)):
            begun = time.process_time()
            answer = subject.answer(Question((Text(text),), language), ["text", "audio"], ALOUD)
            assert answer.audio is not None
            seconds, spent = len(answer.audio) / answer.sample_rate, time.process_time() - begun
            if number and seconds:                                      # the first warms up
                rates.append(seconds / spent)
                result.examples.append({"asked": text, "answered": f"{seconds:.1f} s in {spent:.2f} s", "wanted": "-"})
    if not rates:
        raise InputError("the model said nothing")
    median = statistic(np.array(rates), lambda rows: float(np.median(rows)), "of real time")
    result.measures["speed_x_realtime"] = median
    return result


def sentences(subject: Subject) -> Sentences:
    """What the recognizer chooses from: all stamps' English captions and the numbers, as far as it knows the words."""
    captions = [item.texts["en"] for item in subject.manifest.of(source="stamps") if "en" in item.texts]
    return hearable([*captions, *number_words()])


def number_words() -> list[str]:
    return [texts["en"] for texts in numbers().values()]


def number_recordings(subject: Subject) -> list[Spoken]:
    """The numbers in the voice of the preset."""
    items = [*subject.manifest.of(source="lines"), *subject.manifest.of(source="prompts")]
    words, found = set(number_words()), dict[str, Spoken]()
    for item in items:
        text = item.texts.get("en", "")
        if text in words and (recording := _preset(item)):
            found.setdefault(text, _spoken(subject, "numbers", text, recording))
    return list(found.values())


def understood(answers: Sequence[Answer], wanted: Sequence[str], closed: Sentences) -> list[bool]:
    """Whether the recognizer, choosing among `closed`, hears what is wanted; nothing where it is not among them."""
    return [
        transcribe(_heard(answer.audio, answer.sample_rate), closed) == spoken(text)
        for answer, text in zip(answers, wanted, strict=True)
        if spoken(text) in closed
    ]


def _references(subject: Subject) -> list[Spoken]:
    """Captions that the preset reads, and for the held-out sample the numbers, which are few and all trained on."""
    stamps = [(item, _preset(item)) for item in subject.items("stamps")]
    found = [_spoken(subject, "captions", item.texts["en"], one) for item, one in stamps if one]
    return found if subject.trained else [*found, *number_recordings(subject)]


def _preset(item: Item) -> Recording | None:
    return next((one for one in item.recordings if (one.preset, one.language) == (VOICE, "en")), None)


def _spoken(subject: Subject, kind: str, text: str, recording: Recording) -> Spoken:
    return Spoken(kind, text, at_judges_rate(subject.manifest.wave(recording), subject.manifest.sample_rate))


def _heard(wave: NDArray[np.float32] | None, sample_rate: int) -> Wave:
    assert wave is not None
    return at_judges_rate(wave, sample_rate)


def _through_codec(subject: Subject, wave: Wave) -> Wave:
    codec = subject.pipeline.tokenizers.audio
    assert codec is not None
    with torch.inference_mode():
        return through(codec, wave)


def _gaps(said: Sequence[Spoken], heard: Sequence[Sequence[str]]) -> dict[str, Measure]:
    """Word errors of the model less those of what it is compared with, over all texts and of each kind.

    heard: of each text the words in the model's speech, in the reference, in the reference through the codec and in
    the model's streamed speech
    """
    errors = [[word_errors(one.text, words)[0] for words in row] for one, row in zip(said, heard, strict=True)]
    lengths = [len(spoken(one.text).split()) for one in said]
    rates = np.column_stack((errors, lengths)).astype(np.float64)       # [text, 4 errors and words]

    def rate(rows: NDArray[np.float64], *weights: int) -> Measure:
        return statistic(rows, lambda some: float((some[:, :-1] @ weights).sum() / some[:, -1].sum()), "share")

    made = {"tts_wer_gap": rate(rates, 1, -1, 0, 0), "tts_wer_gap_codec": rate(rates, 1, 0, -1, 0)}
    for kind in sorted({one.kind for one in said}):
        made[f"tts_wer_gap_{kind}"] = rate(rates[[one.kind == kind for one in said]], 1, -1, 0, 0)
    made["tts_wer_gap_once"] = rate(rates, 0, -1, 0, 1)
    straight = ("tts_wer", "tts_wer_reference", "tts_wer_codec", "tts_wer_once")
    return made | {name: rate(rates, *weights) for name, weights in zip(straight, np.eye(4, dtype=int), strict=True)}


def _ratio(pairs: Sequence[tuple[float, float]]) -> Measure:
    return statistic(np.array(pairs), lambda rows: float(rows[:, 0].mean() / rows[:, 1].mean()), "ratio")
