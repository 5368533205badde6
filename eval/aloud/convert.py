"""Any text task becomes a spoken one: what is asked in writing is read aloud, and nothing else changes.

The GPT-4o System Card's method, with its limits: a synthesizer's mistakes count as the model's, mathematics and code
are hardly readable, and no synthetic voice has a person's noise, hesitation and intonation. The first is measured: a
recogniser tells which of the task's questions was read (`asked_wer`), and errs less than if it could hear any words.
"""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageUser, Content, ContentAudio, ContentText
from inspect_ai.scorer import Score, Scorer, Target, scorer
from inspect_ai.solver import TaskState

from omni.errors import InputError
from omni.eval.aloud.channels import NAMES, Wave, sent
from omni.eval.inspected.messages import INSTRUCTION, read_sound, sound
from omni.eval.inspected.plainly import plainly
from omni.eval.tasks.measures import measured, scored
from omni.eval.tasks.questions import text_qa
from omni.tokenizers.audio.metrics import resample
from omni.tokenizers.audio.recognizer import RATE, Sentences, hearable, spoken, transcribe, word_errors
from omni.tokenizers.audio.voices import Voice, is_installed, read_aloud
from omni.tokenizers.audio.wavefile import read_wave, write_wave
from omni.train.data.fetch import default_cache

ENGLISH = (Voice("flite", "rms"), Voice("flite", "kal16"), Voice("flite", "awb"))
DAMAGED = tuple(name for name in NAMES if name != "clean")
ACCENTS = {                                                             # of a language, as espeak-ng names them
    "en": ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
    "es": ("es", "es-419"), "fr": ("fr", "fr-be", "fr-ch"), "pt": ("pt", "pt-br"),
}  # fmt: skip
ANY = (Voice("espeak-ng", "m3", 150), Voice("espeak-ng", "f2", 150), Voice("espeak-ng", "m7", 165))


@task
def text_qa_aloud(
    data: str | None = None, n: int | None = 100, seed: int = 0, channel: str = "clean"
) -> Task:
    """`text_qa` asked aloud, in voices that take turns; compare it with `text_qa`, whose samples have the same ids."""
    return aloud(text_qa(data, n, seed), channel, seed, "text_qa_aloud")


@task
def text_qa_channels(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """`text_qa_aloud` in the same voices, each question through another channel than the one before."""
    return aloud(text_qa(data, n, seed), DAMAGED, seed, "text_qa_channels")


@task
@plainly
def text_qa_accents(
    data: str | None = None, n: int | None = 100, seed: int = 0, accent: str | None = None
) -> Task:
    """`text_qa` asked aloud by espeak-ng, each question in another accent than the one before, or all of its language
    in `accent`. Raises InputError where there is none in that language.
    """
    written = text_qa(data, n, seed)
    accents = ACCENTS if accent is None else {accent.split("-")[0]: (accent,)}
    if accent is not None and not any(_language(one) in accents for one in written.dataset):
        raise InputError(f"accent={accent}: none of the {len(written.dataset)} questions is in that language")
    return aloud(written, "clean", seed, "text_qa_accents", accents)


def aloud(
    written: Task, channel: str | Sequence[str] = "clean", seed: int = 0, name: str | None = None,
    accents: Mapping[str, Sequence[str]] | None = None,
) -> Task:  # fmt: skip
    """A task whose written questions are read aloud, through a channel of omni.eval.aloud.channels, or some in turn.

    English by flite too, where it is installed, and every language by espeak-ng. A sample whose text
    cannot be read is an error of the new task, not a gap in it.

    accents: of languages; with them espeak-ng alone reads, those of a language in turn
    """
    channels = itertools.cycle([channel] if isinstance(channel, str) else channel)
    turns = {language: itertools.cycle(some) for language, some in (accents or {}).items()}
    all_asked = [(_asked(one), _language(one)) for one in written.dataset]
    samples = [
        _sample(one, _Way(through, seed, _accent(one, turns) if accents else None, all_asked))
        for one, through in zip(written.dataset, channels, strict=False)
    ]
    known = hearable([_asked(one) for one in written.dataset if _language(one) == "en"])
    scorers = [*(written.scorer or []), asked_words(known, {str(one.id): _asked(one) for one in written.dataset})]
    named = name or f"{written.name}_aloud"
    return Task(
        dataset=MemoryDataset(samples, named), solver=written.solver, scorer=scorers, name=named, fail_on_error=False
    )


def say(text: str, voice: Voice, language: str) -> np.ndarray:
    """Samples at 16 kHz of a text read aloud, kept in the cache. Raises InputError where it cannot be read."""
    key = hashlib.sha256(f"{voice}/{language}/{text}".encode()).hexdigest()[:32]
    path = default_cache() / "aloud" / f"{key}.wav"
    if not path.exists():
        ((wave, rate),) = read_aloud([text], voice, language)
        write_wave(path, resample(wave, rate, RATE), RATE)
    return read_wave(path, RATE)


def voices(language: str) -> list[Voice]:
    """Who reads a language, as far as installed. Raises InputError where nobody does."""
    found = [one for one in (ENGLISH if language == "en" else ()) if is_installed(one.engine)]
    found += [one for one in ANY if is_installed(one.engine)]
    if not found:
        raise InputError("no synthesizer is installed; `make system` installs them (apt, as root)")
    return found


@scorer(metrics=[measured("asked_wer")], name="asked_wer")
def asked_words(known: Sentences, texts: dict[str, str]) -> Scorer:
    """Word errors of pocketsphinx on the question itself, choosing among all: what the reading aloud lost."""

    async def score(state: TaskState, target: Target) -> Score | None:
        text = texts[str(state.sample_id)]
        heard = [one for message in state.messages for one in _audio(message.content)]
        if spoken(text) not in known or not heard:
            return None
        wave, rate = read_sound(heard[-1])
        said = transcribe(resample(wave, rate, RATE), known)
        errors, length = word_errors(text, said)
        return scored("pooled", [errors, length], state.metadata, said, errors / length)

    return score


@dataclass(frozen=True)
class _Way:
    """How a sample is read: through a channel, in an accent, while others may say what else is asked in the task."""

    channel: str
    seed: int
    accent: str | None
    all_asked: Sequence[tuple[str, str]]                                # text and language

    def other(self, one: Sample, voice: Voice) -> "Callable[[], Wave] | None":
        """Another voice with another question, in the same language where there is one."""
        text, language = _asked(one), _language(one)
        found = [each for each in self.all_asked if each[0] and each[0] != text]
        found = [each for each in found if each[1] == language] or found
        if not found:
            return None
        chance = random.Random(f"{self.seed}/{one.id}/other")
        said, its = chance.choice(found)
        who = chance.choice([each for each in voices(its) if each != voice])
        return partial(say, said, who, its)


def _accent(one: Sample, turns: Mapping[str, Iterator[str]]) -> str:
    language = _language(one)
    return next(turns[language]) if language in turns else language


def _sample(one: Sample, way: _Way) -> Sample:
    """The sample with its written contents spoken."""
    meta, language = dict(one.metadata or {}), _language(one)
    asked = _messages(one)
    try:
        known = voices(language) if way.accent is None else [each for each in voices(language) if each in ANY]
        voice = random.Random(f"{way.seed}/{one.id}").choice(known or list(ANY))
        how = {"speaker": str(voice), "channel": way.channel} | ({"accent": way.accent} if way.accent else {})
        meta["groups"] = {**(meta.get("groups") or {}), **how}
        asked = [
            message.model_copy(update={"content": [_read(part, one, voice, way) for part in _parts(message.content)]})
            if message.role == "user" else message
            for message in asked
        ]  # fmt: skip
    except InputError as error:
        meta["bad"] = str(error)
    return Sample(input=asked, target=one.target, id=one.id, metadata=meta, choices=one.choices)


def _read(part: Content, one: Sample, voice: Voice, way: _Way) -> Content:
    if not isinstance(part, ContentText) or part.internal == INSTRUCTION:
        return part
    number = int.from_bytes(hashlib.sha256(f"{way.seed}/{one.id}".encode()).digest()[:4])
    wave = say(part.text, voice, way.accent or _language(one))
    return sound(sent(wave, RATE, way.channel, number, way.other(one, voice)), RATE, text=part.text)


def _asked(one: Sample) -> str:
    """What a sample asks in writing, its last text."""
    texts = [part.text for message in _messages(one) for part in _parts(message.content)
             if isinstance(part, ContentText) and part.internal != INSTRUCTION]  # fmt: skip
    return texts[-1] if texts else ""


def _messages(one: Sample) -> list[ChatMessage]:
    return one.input if isinstance(one.input, list) else [ChatMessageUser(content=one.input)]


def _language(one: Sample) -> str:
    """Of the question, which need not be that of the answer."""
    meta = one.metadata or {}
    return str(meta.get("spoken_language") or meta.get("language") or "en")


def _parts(content: str | Sequence[Content]) -> list[Content]:
    return [ContentText(text=content)] if isinstance(content, str) else list(content)


def _audio(content: str | Sequence[Content]) -> list[ContentAudio]:
    return [one for one in _parts(content) if isinstance(one, ContentAudio)]


