"""Hearing: writing down what people say, in its own language or another, and what a sound is the sound of."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from inspect_ai import Task, task

from omni.eval.abilities.scoring import normal
from omni.eval.abilities.subject import LONGEST_HEARD
from omni.eval.inspected.messages import sound
from omni.eval.tasks.examine import ask, examine
from omni.eval.tasks.records import Given, Record, drawn, held_out, records
from omni.eval.tasks.scorers import characters, right, translation, translation_by_words, words
from omni.train.data.items import Item, Manifest, Recording

SPOKEN = ("en", "fr", "es", "ru", "it", "de", "ro", "ca", "bg", "el")   # of omni-tiny; a user's file may have any
SOUND_CHOICES = 10


@task
def transcribe(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """Recordings that people made of held-out captions and prompts, written down; baseline: a frequent caption."""
    found = records(data, _transcripts, n, seed)
    return examine("transcribe", found, [characters(), words()], by=ask(verbatim=True))


@task
def translate_speech(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """The same recordings, written down in another language; baseline: the transcript in its own language."""
    found = records(data, lambda held: _translations(held, seed), n, seed)
    return examine("translate_speech", found, [translation(), translation_by_words()])


@task
def sounds(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """A sound effect and ten captions of things of different kinds: which of them makes it?"""
    return examine("sounds", records(data, lambda held: _effects(held, seed), n, seed), right())


def recorded(manifest: Manifest) -> Iterator[tuple[Item, Recording]]:
    """What people said of held-out items, no longer than a model's patience."""
    for item in held_out(manifest, "stamps", "prompts", "words"):
        for one in item.recordings:
            fits = one.kind == "speech" and one.language in item.texts and one.language in SPOKEN
            if fits and one.human and one.length <= LONGEST_HEARD * manifest.sample_rate:
                yield item, one


def played(manifest: Manifest, recording: Recording) -> Given:
    return lambda: sound(manifest.wave(recording), manifest.sample_rate)


def frequent(manifest: Manifest, source: str) -> dict[str, str]:
    """The text that the training items of a source have most often, by language: what one says without listening."""
    texts: dict[str, Counter[str]] = {}
    for item in manifest.of(split="train", source=source):
        for language, text in item.texts.items():
            texts.setdefault(language, Counter())[text] += 1
    return {language: counts.most_common(1)[0][0] for language, counts in texts.items()}


def by_text_alone(manifest: Manifest, source: str) -> Callable[[str, Sequence[str]], str]:
    """Which of some choices in a language one takes without looking or listening: the one of the most usual words.

    By the mean log-probability of its words in the training texts of a source, one added to every count (Laplace).
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for item in manifest.of(split="train", source=source):
        for language, text in item.texts.items():
            counts[language].update(normal(text).split())

    def choose(language: str, choices: Sequence[str]) -> str:
        known = counts[language]
        total = known.total() + len(known) + 1

        def usual(choice: str) -> float:
            words = normal(choice).split()
            return sum(math.log((known[word] + 1) / total) for word in words) / max(1, len(words))

        return max(choices, key=usual)

    return choose


def _transcripts(manifest: Manifest) -> Iterator[Record]:
    guesses = frequent(manifest, "stamps")
    for item, one in recorded(manifest):
        text = item.texts[str(one.language)]
        if any(map(str.isalnum, text)):
            yield Record(
                f"{item.id}:{one.start}", text, (played(manifest, one),),
                f"Write down what is said in this recording, in its language ({one.language}), and nothing else.",
                one.language, baseline=guesses.get(str(one.language)),
                groups={"language": str(one.language), "speaker": str(one.speaker), "source": item.source},
            )  # fmt: skip


def _translations(manifest: Manifest, seed: int) -> Iterator[Record]:
    for item, one in recorded(manifest):
        others = [language for language in SPOKEN if language in item.texts and language != one.language]
        for target in drawn(others, 1, seed, item.id, one.start):
            yield Record(
                f"{item.id}:{one.start}:{target}", item.texts[target], (played(manifest, one),),
                f"Translate what is said in this recording into {target}; give the translation and nothing else.",
                target, baseline=item.texts[str(one.language)],
                groups={"language": target, "speaker": str(one.speaker), "source": str(one.language)},
            )  # fmt: skip


def _effects(manifest: Manifest, seed: int) -> Iterator[Record]:
    blind = by_text_alone(manifest, "stamps")
    named = [item for item in manifest.of(source="stamps") if "en" in item.texts]
    for item in held_out(manifest, "stamps"):
        for one in item.recordings:
            if one.kind == "effect" and "en" in item.texts:
                others = [other.texts["en"] for other in named if other.id.split("/")[:3] != item.id.split("/")[:3]]
                wrong = drawn(sorted(set(others)), SOUND_CHOICES - 1, seed, item.id)
                choices = tuple(drawn([item.texts["en"], *wrong], SOUND_CHOICES, seed, item.id, "order"))
                yield Record(
                    f"{item.id}:{one.start}", item.texts["en"], (played(manifest, one),),
                    "What is this the sound of?", "en", choices, blind("en", choices),
                    {"kind": item.id.split("/")[1]},
                )  # fmt: skip
