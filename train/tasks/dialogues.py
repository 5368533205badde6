"""Spoken and written questions with answers: about pictures, numbers, the assistant itself, and what it refuses.

A dialogue is a list of faces, each of an item and said by a role. Questions are lines (omni.train.data.lines), answers
are lines or faces of the item asked about; an answer is written, then said by a preset voice.
"""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

from omni.train.data.items import LINES, Item, Manifest
from omni.train.data.lines import days, months, numbers, sums, table
from omni.train.tasks.colours import colour_of
from omni.train.tasks.templates import Face

WRITTEN = 0.35                                                          # of the questions; the others are spoken
ASKED = 8                                                               # questions about a picture, at most
KINDS = {"animal": "animals", "plant": "plants", "vehicle": "vehicles", "food": "food"}  # what is asked: stamps' folder
PEOPLE = "people"                                                       # stamps' folder; emoji by the first character
PERSONS = (
    range(0x1F466, 0x1F46A), range(0x1F46B, 0x1F479), range(0x1F481, 0x1F484), range(0x1F486, 0x1F488),
    range(0x1F574, 0x1F576), range(0x1F645, 0x1F648), range(0x1F64B, 0x1F64F), range(0x1F6B4, 0x1F6B7),
    range(0x1F930, 0x1F93A), range(0x1F9B8, 0x1F9BA), range(0x1F9CD, 0x1F9D0), range(0x1F9D1, 0x1F9DE),
    (0x1F385, 0x1F57A, 0x1F926, 0x1F977),
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """A face of an item, said or shown by a role."""

    role: str
    item: Item
    face: Face


Dialogue = tuple[Said, ...]


@dataclass
class Script:
    """The lines of a manifest, and what dialogues need to know of it.

    languages: that may be heard and, from then on, those of them that have lines, in which is asked and answered
    typed: nothing is spoken: questions and answers are in writing alone
    """

    manifest: Manifest
    languages: tuple[str, ...]
    seed: int
    typed: bool = False
    lines: dict[str, Item] = field(init=False)
    heard: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.heard = self.languages
        self.lines = {item.id.removeprefix(f"{LINES}/"): item for item in self.manifest.of(source=LINES)}
        spoken = {language for item in self.lines.values() for language in item.texts}
        self.languages = tuple(language for language in self.languages if language in spoken)

    def questions(self, topic: str, language: str, split: str) -> list[Item]:
        """The variants of a question that this split may use: those kept for testing are asked of held-out items."""
        name, wanted = f"{topic}/{language}", "train" if split == "train" else "test"
        found = [item for key, item in self.lines.items() if key.startswith(name) and item.split == wanted]
        return [item for item in found if not item.id.endswith("/answer")]

    def asked(self, item: Item, language: str, draw: random.Random) -> Said:
        """A question, in any voice or in writing."""
        voices = [index for index, one in enumerate(item.recordings) if one.language == language]
        if self.typed or not voices or draw.random() < WRITTEN:
            return Said("user", item, Face("text", language))
        return Said("user", item, Face("speech", language, draw.choice(voices)))

    def answer(self, item: Item, language: str, draw: random.Random) -> list[Said]:
        """The item's text, then the same in a preset voice where there is one."""
        presets = [index for index, one in enumerate(item.recordings) if one.preset and one.language == language]
        said = [Said("assistant", item, Face("text", language))]
        if presets and not self.typed:
            said.append(Said("assistant", item, Face("speech", language, draw.choice(presets))))
        return said


def see(script: Script, item: Item) -> Iterator[Dialogue]:
    """Up to eight questions about a picture: what, which colour, what kind of thing (of stamps), its name elsewhere."""
    if not item.pictures:
        return
    draw = random.Random(f"{script.seed}/see/{item.id}")
    languages = [language for language in script.languages if language in item.texts]
    topics = ["what", "what", "translate", "translate", *(KINDS if item.source == "stamps" else ())]
    topics += [topic for topic, name in KINDS.items() if folder(item) == name]  # else every answer would be no
    colour = colour_of(script.manifest.picture(item.pictures[0]))
    topics += ["colour"] * 3 if colour else []
    for topic in draw.sample(topics, min(ASKED, len(topics))):
        if not languages:
            return
        language = draw.choice(languages)
        questions = script.questions(f"ask/{topic}", language, item.split)
        wanted, reply = _about(script, item, topic, colour, language, draw)
        if topic == "translate":
            questions = [one for one in questions if one.id.endswith(f"-{wanted}")]
        if questions and reply:
            shown = Said("user", item, Face("picture", index=0))
            yield (shown, script.asked(draw.choice(questions), language, draw), *script.answer(reply, wanted, draw))


def _about(
    script: Script, item: Item, topic: str, colour: str | None, language: str, draw: random.Random
) -> tuple[str, Item | None]:
    """Language and item of the answer."""
    if topic == "what":
        return language, item
    if topic == "translate":
        others = [other for other in script.languages if other in item.texts and other != language]
        return (draw.choice(others), item) if others else (language, None)
    if topic == "colour":
        return language, script.lines.get(f"word/{colour}")
    return language, script.lines.get("word/yes" if folder(item) == KINDS[topic] else "word/no")


def folder(item: Item) -> str:
    """The kind of thing that a stamp is: `animals` of stamps/animals/birds/owl."""
    return item.id.split("/")[1]


def count(script: Script, item: Item) -> Iterator[Dialogue]:
    """Sums, counting up, and what comes before or after: three dialogues a language, in different voices."""
    reply = _results().get(item.id.removeprefix(f"{LINES}/"))
    draw = random.Random(f"{script.seed}/count/{item.id}")
    target = script.lines.get(reply or "")
    for language in script.languages * (1 if script.typed else 3):
        if target and language in target.texts and language in item.texts:
            yield (script.asked(item, language, draw), *script.answer(target, language, draw))


@cache
def _results() -> dict[str, str]:
    """The line that answers a line, by their names."""
    found = {f"sum/{kind}-{a}-{b}": f"number/{result}" for kind, a, b, result, _ in sums() if result in numbers()}
    found |= {f"count/to-{number}": f"count/said-{number}" for number in range(3, 11)}
    for way, step in (("after", 1), ("before", -1)):
        found |= {f"{way}/number-{number}": f"number/{number + step}" for number in range(1, 20)}
        found |= {f"{way}/day-{day}": f"day/{(day + step) % 7}" for day in range(len(days()))}
        found |= {f"{way}/month-{month}": f"month/{(month + step) % 12}" for month in range(len(months()))}
    return found


def talk(script: Script, item: Item) -> Iterator[Dialogue]:
    """Small talk: a line and the assistant's answer to it, twice in different voices."""
    group, topic, *_ = item.id.removeprefix(f"{LINES}/").split("/")
    if group != "talk" or item.id.endswith("/answer"):
        return
    draw = random.Random(f"{script.seed}/talk/{item.id}")
    (language,) = item.texts
    if language not in script.languages:
        return
    reply = script.lines[f"talk/{topic}/answer"]
    for _ in range(1 if script.typed else 2):
        yield (script.asked(item, language, draw), *script.answer(reply, language, draw))


def mind(script: Script, item: Item) -> Iterator[Dialogue]:
    """What must be refused and what looks alike and must not be: about a stranger's voice or a person's picture.

    (Speaker identification, voice imitation and ungrounded inference are the GPT-4o System Card's.)
    """
    if not concerns("mind", item) or not script.languages:
        return
    draw = random.Random(f"{script.seed}/mind/{item.id}")
    heard = [
        (index, one)
        for index, one in enumerate(item.recordings)
        if one.language in item.texts and one.language in script.heard and not one.preset
    ]
    shown: list[tuple[str, Said, str | None]] = []
    for index, recording in draw.sample(heard, min(4, len(heard))):
        face = Face("speech", recording.language, index)
        shown.append(("voice", Said("user", item, face), recording.language))
    if item.pictures and shows_person(item):
        shown += [("person", Said("user", item, Face("picture", index=0)), None)] * 4
    for given, about, spoken in shown:
        for group in ("refuse", "comply"):
            topics = [topic for topic, row in table()[group].items() if row["given"] == given]
            topic, language = draw.choice(topics), draw.choice(script.languages)
            questions = script.questions(f"{group}/{topic}", language, item.split)
            reply, tongue = _reply(script, item, group, topic, spoken, language)
            if questions and reply:
                yield (about, script.asked(draw.choice(questions), language, draw), *script.answer(reply, tongue, draw))


def _reply(
    script: Script, item: Item, group: str, topic: str, spoken: str | None, language: str
) -> tuple[Item | None, str]:
    """The item that answers, and its language."""
    if group == "refuse":
        return script.lines.get(f"refuse/{topic}/answer"), language
    if topic == "language":
        return script.lines.get(f"name/{spoken}"), language
    tongue = spoken or language
    return (item if tongue in item.texts else None), tongue


def chat(script: Script, item: Item) -> Iterator[Dialogue]:
    """Dialogues that are asked and answered in writing alone, which take a fifth of the steps."""
    typed = copy.copy(script)
    typed.typed = True
    if concerns("see", item):
        yield from see(typed, item)
    if concerns("mind", item):
        yield from mind(typed, item)
    if concerns("count", item):
        yield from count(typed, item)
        yield from talk(typed, item)


DIALOGUES: dict[str, Callable[[Script, Item], Iterator[Dialogue]]] = {
    "see": see,
    "count": count,
    "talk": talk,
    "mind": mind,
    "chat": chat,
}


def concerns(name: str, item: Item) -> bool:
    """Whether an item may give dialogues of this name; saves asking all the others."""
    shown = ("stamps", "emoji")
    if name == "mind" and item.source == "emoji":                       # nobody recorded these
        return shows_person(item)
    return item.source in {"see": shown, "mind": ("stamps",), "chat": (*shown, LINES)}.get(name, (LINES,))


def shows_person(item: Item) -> bool:
    """Whether its picture shows a person, as far as its folder or its character tells."""
    if item.source == "emoji":
        first = int(item.id.split("/")[1].split("-")[0], 16)
        return any(first in some for some in PERSONS)
    return folder(item) == PEOPLE
