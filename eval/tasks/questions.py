"""Questions about pictures and numbers, written or spoken, in wordings that were kept for testing."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import numpy as np
from inspect_ai import Task, task
from inspect_ai.model import Content, ContentText

from omni.errors import InputError
from omni.eval.inspected.messages import sound
from omni.eval.tasks.examine import examine
from omni.eval.tasks.hearing import SPOKEN, played, recorded
from omni.eval.tasks.records import Given, Record, drawn, most_often_right, records
from omni.eval.tasks.scorers import right
from omni.eval.tasks.seeing import seen
from omni.train.data.items import LINES, Manifest, Recording
from omni.train.data.lines import months, numbers
from omni.train.tasks.dialogues import Dialogue, Said, Script, count, see

DIGITS = "prompts/digits/"
PAIRS = 40                                                              # of a topic, a language and a speaker
ASKED = {                                                               # what is asked of two words that are heard
    "en": {
        "greater": "Which of the two numbers is greater?", "sum": "What do the two numbers make together?",
        "later": "Which of the two months comes later in the year?",
    },
    "es": {
        "greater": "¿Cuál de los dos números es mayor?", "sum": "¿Cuánto suman los dos números?",
        "later": "¿Cuál de los dos meses viene después en el año?",
    },
}  # fmt: skip


@task
def text_qa(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """Written questions: sums, what comes before and after; a stamp's name, kind and colour."""
    found = records(data, lambda held: _questions(held, seed, aloud=False), n, seed)
    return examine("text_qa", found, right(near=True))


@task
def spoken_qa(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """The same asked aloud, in voices of synthesizers: reasoning over short audio, and pictures asked about."""
    found = records(data, lambda held: _questions(held, seed, aloud=True), n, seed)
    return examine("spoken_qa", found, right(near=True))


@task
def reason(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """A person says two numbers or months: which is the greater, what they make, which comes later; one of two or four.

    Reasoning over short audio of people, where `spoken_qa` has voices of synthesizers.
    """
    found = records(data, lambda held: most_often_right(_heard(held, seed), _topic), n, seed)
    return examine("reason", found, right())


def _topic(record: Record) -> object:
    return record.groups["topic"], record.language


def _heard(manifest: Manifest, seed: int) -> Iterator[Record]:
    """Pairs of words of one speaker, as far as held-out prompts have them."""
    said: defaultdict[tuple[str, str], dict[str, Recording]] = defaultdict(dict)
    for item, one in recorded(manifest):
        if item.id.startswith(DIGITS) and one.language in ASKED:
            said[str(one.language), str(one.speaker)][item.id.removeprefix(DIGITS).split("@")[0]] = one
    for (language, speaker), prompts in sorted(said.items()):
        for topic in ASKED[language]:
            words = _words(topic, language)
            known = [name for name in words if name in prompts]
            pairs = [(a, b) for a in known for b in known if a != b and (topic != "sum" or _sum(a, b) in words)]
            for a, b in drawn(pairs, PAIRS, seed, language, speaker, topic):
                heard = partial(_joined, manifest, prompts[a], prompts[b])
                yield _pair(topic, language, speaker, a, b, seed, heard)


def _joined(manifest: Manifest, first: Recording, second: Recording) -> Content:
    gap = np.zeros(int(0.3 * manifest.sample_rate), np.float32)
    wave = np.concatenate([manifest.wave(first), gap, manifest.wave(second)])
    return sound(wave, manifest.sample_rate)


def _pair(topic: str, language: str, speaker: str, a: str, b: str, seed: int, heard: Given) -> Record:
    """What is asked of two prompts; wrong choices are the other one, or for a sum any three."""
    words = _words(topic, language)
    less, more = sorted((a, b), key=list(words).index)
    best = _sum(a, b) if topic == "sum" else more
    wrong = drawn([name for name in words if name != best], 3, seed, a, b) if topic == "sum" else [less]
    choices = drawn([words[name] for name in (best, *wrong)], 4, seed, topic, a, b)
    return Record(
        f"{topic}:{language}:{speaker}:{a}:{b}", words[best], (heard, ContentText(text=ASKED[language][topic])),
        language=language, choices=tuple(choices), groups={"language": language, "speaker": speaker, "topic": topic},
    )  # fmt: skip


def _words(topic: str, language: str) -> dict[str, str]:
    """Prompts and their words, from the least to the greatest."""
    if topic == "later":
        return {f"mon-{number}": texts[language] for number, texts in enumerate(months())}
    return {str(number): texts[language] for number, texts in sorted(numbers().items())}


def _sum(a: str, b: str) -> str:
    return str(int(a) + int(b))


def _questions(manifest: Manifest, seed: int, aloud: bool) -> list[Record]:
    """One question of each held-out item, with the most frequent answer of its kind as the baseline.

    Dialogues ask the same in several voices: here it is asked once, since Inspect takes no two samples of a name.
    """
    script = Script(manifest, SPOKEN, seed)
    if not script.languages:
        raise InputError(f"{manifest.folder}: has no lines of dialogues; run `omni data voice`")
    found: dict[str, Record] = {}
    for dialogue in _dialogues(script):
        if record := _record(manifest, dialogue, aloud):
            found.setdefault(record.id, record)
    return most_often_right(list(found.values()), _topic)


def _dialogues(script: Script) -> Iterator[Dialogue]:
    for item in script.manifest.items:
        if item.source == "stamps" and item.split != "train":
            yield from see(script, item)
        elif item.source == "lines" and item.split != "train":
            yield from count(script, item)


def _record(manifest: Manifest, dialogue: Dialogue, aloud: bool) -> Record | None:
    """The dialogue as a record; None where its question is not to be had aloud, or in writing."""
    *shown, question, reply = [said for said in dialogue if said.role == "user" or said.face.kind == "text"]
    language = question.face.language or ""
    if aloud and not any(one.language == language for one in question.item.recordings):
        return None
    given = [*(_content(manifest, said) for said in shown), _asked(manifest, question, aloud)]
    topic = "/".join(question.item.id.split("/")[1:3]).split("-")[0]
    return Record(
        f"{(shown[0] if shown else question).item.id}:{question.item.id}:{language}:{reply.face.language}",
        reply.item.texts[str(reply.face.language)], tuple(given), language=reply.face.language,
        groups={"language": language, "topic": topic},
        more={"spoken_language": language, "exact": reply.item.source == LINES},  # counting and numbers, not captions
    )  # fmt: skip


def _asked(manifest: Manifest, question: Said, aloud: bool) -> Given:
    language = question.face.language or ""
    if not aloud:
        return ContentText(text=question.item.texts[language])
    voices = [one for one in question.item.recordings if one.language == language]
    return played(manifest, voices[question.face.index % len(voices)])


def _content(manifest: Manifest, said: Said) -> Given:
    return seen(manifest, said.item.pictures[said.face.index])
