"""The model under examination, the items it is asked about, and how it is asked."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from omni.decode.answer import Answer
from omni.decode.parts import Audio, Part, Picture, Text
from omni.decode.pipeline import How, Pipeline
from omni.decode.samplers import Sampler, Samplers
from omni.errors import InputError
from omni.eval.abilities.scoring import normal
from omni.tokenizers.audio.metrics import Wave, resample
from omni.tokenizers.audio.recognizer import RATE
from omni.tokenizers.audio.voices import UNHEARD, Voice, is_installed, read_aloud
from omni.train.data.items import Item, Manifest, Recording

CAPTIONED = ("en", "fr", "es", "ru", "it", "de", "ro", "ca", "bg", "el")
GREEDY = Sampler(temperature=0)
ALOUD = {"text": GREEDY, "audio": Sampler(temperature=0.5, top_p=0.9)}  # greedy speech falls silent or repeats itself
MOST_TOKENS = 80
MOST_SECONDS = 6.0
LONGEST_HEARD = 6.0                                                     # seconds; longer recordings are left out

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """What is handed to the model, and in which language it is to answer; by default it has no language to keep to."""

    parts: tuple[Part, ...]
    language: str | None = None


@dataclass(frozen=True)
class Ten:
    """Ten items whose captions in one language differ: each is asked about with the others for choice."""

    language: str
    items: tuple[Item, ...]

    @property
    def captions(self) -> list[str]:
        return [item.texts[self.language] for item in self.items]


@dataclass(frozen=True)
class Subject:
    """A model and the sample of items it is asked about: the held-out ones, or with `trained` those it was trained on.

    limit: most observations behind a figure; the seed decides which
    """

    pipeline: Pipeline
    manifest: Manifest
    languages: tuple[str, ...]
    limit: int
    seed: int = 0
    trained: bool = False

    def items(self, source: str) -> list[Item]:
        return [item for item in self.manifest.of(source=source) if (item.split == "train") == self.trained]

    def draw(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/abilities/{name}/{self.trained}")

    def some(self, found: Sequence[T], name: str, most: int | None = None) -> list[T]:
        """At most `most` (the limit), drawn by the seed. Raises InputError where there is nothing to draw from."""
        if not found:
            raise InputError(f"the data have nothing for it ({name})")
        return self.draw(name).sample(list(found), min(len(found), most or self.limit))

    def spoken(self, languages: Sequence[str]) -> tuple[str, ...]:
        """Those of the languages that the model knows. Raises InputError where there is none."""
        if known := tuple(language for language in languages if language in self.languages):
            return known
        raise InputError(f"the model knows none of {', '.join(languages)}")

    def voice(self, language: str | None) -> str | None:
        return voice_for(language, self.pipeline.vocab.voices)

    def tens(self, languages: Sequence[str], name: str, most: int | None = None) -> list[Ten]:
        """Stamps with pictures in groups of ten, each stamp once. Raises InputError where there are too few."""
        draw, spoken = self.draw(name), self.spoken(languages)
        rest = [item for item in self.items("stamps") if item.pictures]
        draw.shuffle(rest)
        groups: list[Ten] = []
        while len(groups) < max(1, (most or self.limit) // 10):
            language, group = draw.choice(spoken), dict[str, Item]()
            for item in rest:
                if language in item.texts and len(group) < 10:
                    group.setdefault(normal(item.texts[language]), item)
            if len(group) < 10:
                break
            groups.append(Ten(language, tuple(group.values())))
            rest = [item for item in rest if item not in group.values()]
        if not groups:
            raise InputError("fewer than ten pictures with different captions")
        return groups

    def picture(self, item: Item) -> Picture:
        return Picture(self.manifest.picture(item.pictures[0]))

    def sound(self, recording: Recording) -> Audio:
        return Audio(self.manifest.wave(recording), self.manifest.sample_rate)

    def recordings(self, item: Item) -> Iterator[Recording]:
        """What people say of an item, in the model's languages and not too long; the synthesizers' are left out."""
        for one in item.recordings:
            speech = one.kind == "speech" and one.language in item.texts and one.language in self.languages
            if speech and one.human and one.length <= LONGEST_HEARD * self.manifest.sample_rate:
                yield one

    def answers(
        self, questions: Sequence[Question], want: Sequence[str], sampler: Samplers, verbatim: bool = False
    ) -> list[Answer]:
        """One answer to each question, those of a language side by side; speech is said in the language's preset."""
        rows: dict[str | None, list[int]] = defaultdict(list)
        for row, question in enumerate(questions):
            rows[question.language].append(row)
        made: dict[int, Answer] = {}
        for language, numbers in rows.items():
            conversations = [questions[row].parts for row in numbers]
            said = self.pipeline.batch(conversations, want, **self._how(language, want, sampler, verbatim))
            made |= dict(zip(numbers, said, strict=True))
        return [made[row] for row in range(len(questions))]

    def answer(self, question: Question, want: Sequence[str], sampler: Samplers) -> Answer:
        """The answer to one question by itself, as a person waits for it."""
        return self.pipeline(question.parts, want, **self._how(question.language, want, sampler))

    def streamed(self, question: Question, sampler: Samplers) -> Wave:
        """The speech that answers one question while it is made, at the codec's rate: the first that is drawn."""
        pieces = self.pipeline.stream(question.parts, ["audio"], **self._how(question.language, ["audio"], sampler))
        return np.concatenate([np.zeros(0, np.float32), *(one.audio for one in pieces if one.audio is not None)])

    def _how(self, language: str | None, want: Sequence[str], sampler: Samplers, verbatim: bool = False) -> How:
        return How(
            language=language, voice=self.voice(language) if "audio" in want else None, sampler=sampler,
            seed=self.seed, max_tokens=MOST_TOKENS, max_seconds=MOST_SECONDS, verbatim=verbatim,
        )  # fmt: skip

    def texts(self, questions: Sequence[Question], verbatim: bool = False) -> list[str]:
        """The most probable text that answers each question, or (verbatim) what is heard in it."""
        return [answer.text or "" for answer in self.answers(questions, ["text"], GREEDY, verbatim)]

    def likelihoods(self, question: Question, choices: Sequence[str]) -> NDArray[np.float64]:
        """Mean log-likelihood of a token of each choice, the tokens that end the answer among them: [choices]."""
        text = self.pipeline.tokenizers.text
        assert text is not None
        sums = self.pipeline.score(question.parts, [Text(choice) for choice in choices], question.language)
        return sums / np.array([len(text.encode(choice)) + 2 for choice in choices])  # </text> and <turn>


def voice_for(language: str | None, voices: Sequence[str]) -> str | None:
    """The preset that answers in a language: clara, who speaks English alone, or lena; None for a model without."""
    wanted = ("clara", "lena") if language == "en" else ("lena",)
    return next((name for name in wanted if name in voices), None)


def at_judges_rate(wave: Wave, sample_rate: int) -> Wave:
    """Speech as the recognizer and DNSMOS take it; what is shorter than a frame is a moment of silence."""
    if not len(wave):
        return np.zeros(RATE // 10, np.float32)
    return resample(wave, sample_rate, RATE)


def read_by_flite(texts: Sequence[str]) -> list[Audio]:
    """English texts in the voices that are in no training data, which take turns."""
    if not is_installed("flite"):
        raise InputError("flite is not installed; `make system` installs it (apt, as root)")
    made: dict[int, Audio] = {}
    for turn, voice in enumerate(UNHEARD):
        rows = range(turn, len(texts), len(UNHEARD))
        made |= dict(zip(rows, _read([texts[row] for row in rows], voice), strict=True))
    return [made[row] for row in range(len(texts))]


def _read(texts: Sequence[str], voice: Voice) -> list[Audio]:
    return [Audio(wave, rate) for wave, rate in read_aloud(texts, voice)]
