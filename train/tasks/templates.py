"""What the model is taught: pairs of faces of one item.

An item (a picture, a prompt, a message) has faces: its picture, its text in a language, a recording of that text, a
sound effect. Every task gives one face and wants another; the language tag and the opening token of the wanted segment
(omni.sequence) are the instruction, so one form serves captioning, drawing, speaking, transcribing and translating.
"""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from omni.train.data.items import LINES, Item


@dataclass(frozen=True)
class Face:
    """One rendering of an item: `text`, `speech`, `effect` or `picture`; index into its recordings or pictures."""

    kind: str
    language: str | None = None
    index: int = 0


@dataclass(frozen=True)
class Pair:
    """Kinds of the given and the wanted face; `language` says whether theirs is the `same`, `other`, or `any`."""

    given: str
    wanted: str
    language: str = "any"

    def fits(self, given: Face, wanted: Face) -> bool:
        if (given.kind, wanted.kind) != (self.given, self.wanted):
            return False
        return self.language == "any" or (given.language == wanted.language) == (self.language == "same")


@dataclass(frozen=True)
class Task:
    """A named set of pairs over the items of some sources; `limit` of each kind are drawn where an item has more.

    Speech is wanted of the assistant's preset voices alone, where the item has any in that language.
    aloud:     the wanted text is then said; pairs of languages without a recording are left out.
    direction: the languages of the given and the wanted face, where only these are asked for
    """

    name: str
    pairs: tuple[Pair, ...]
    sources: tuple[str, ...]
    limit: int
    aloud: bool = False
    direction: tuple[str, str] | None = None

    def examples(
        self, item: Item, languages: Collection[str], seed: int, draws: int = 1
    ) -> Iterator[tuple[Face, Face]]:
        """The item's (given, wanted) faces in these languages: a draw that depends only on seed, task and item.

        draws: by how much the limit is multiplied
        """
        if item.source not in self.sources:
            return
        known, spoken = faces(item, self.direction or languages), spoken_by_assistant(item)
        answers = [face for face in known if face.kind != "speech" or face.index in spoken]
        draw, most = random.Random(f"{seed}/{self.name}/{item.id}"), self.limit * draws
        for pair in self.pairs:
            asked = [face for face in known if face.kind == pair.given]
            said = [face for face in answers if face.kind == pair.wanted]  # of 60 languages most pairs would not fit
            found = [(a, b) for a in asked for b in said if a != b and pair.fits(a, b)]
            if self.direction:
                found = [(a, b) for a, b in found if (a.language, b.language) == self.direction]
            if self.aloud:
                found = [(a, b) for a, b in found if self.following(item, b)]
            yield from found if len(found) <= most else draw.sample(found, most)

    def following(self, item: Item, wanted: Face) -> tuple[Face, ...]:
        """What the answer goes on with behind the wanted face: the first recording in its language."""
        if not self.aloud:
            return ()
        spoken, allowed = faces(item, [wanted.language or ""]), spoken_by_assistant(item)
        return tuple(face for face in spoken if face.kind == "speech" and face.index in allowed)[:1]


def spoken_by_assistant(item: Item) -> set[int]:
    """Recordings that the assistant may say: in each language its preset voices, or all where there is none; of a
    program's message, which the crowd reads, the presets' alone.
    """
    speech = [(index, one) for index, one in enumerate(item.recordings) if one.kind == "speech"]
    preset = {index for index, one in speech if one.preset}
    if item.source == "catalogues":
        return preset
    voiced = {item.recordings[index].language for index in preset}
    return preset | {index for index, one in speech if one.language not in voiced}


def faces(item: Item, languages: Collection[str]) -> list[Face]:
    """Every face of an item whose language, if it has one, is among `languages`."""
    known = [Face("picture", index=index) for index in range(len(item.pictures))]
    known += [Face("text", language) for language in item.texts if language in languages]
    for index, recording in enumerate(item.recordings):
        if recording.kind == "effect":
            known.append(Face("effect", index=index))
        elif recording.language in languages:
            known.append(Face("speech", recording.language, index))
    return known


PICTURES = ("stamps", "emoji", "clipart")
READ = (*PICTURES, "words", LINES)
HEARD = (*READ, "catalogues")
WRITTEN = Pair("speech", "text", "same")                                # down, as it is said

TASKS = (
    Task("caption", (Pair("picture", "text"),), PICTURES, limit=12),
    Task("draw", (Pair("text", "picture"),), PICTURES, limit=6),
    Task("say", (Pair("text", "speech", "same"),), HEARD, limit=12),
    Task("transcribe", (WRITTEN,), HEARD, limit=12),
    Task("translate", (Pair("text", "text", "other"),), ("stamps", "emoji", "catalogues", LINES), limit=12),
    Task("translate_speech", (Pair("speech", "text", "other"),), ("stamps", "words", "prompts", LINES), limit=12),
    Task("interpret", (Pair("speech", "speech", "other"),), ("stamps", "words", LINES), limit=8),
    Task("describe", (Pair("picture", "speech"),), ("stamps", "words"), limit=8),
    Task("imagine", (Pair("speech", "picture"),), ("stamps", "words"), limit=8),
    Task("name_sound", (Pair("effect", "text"),), ("stamps",), limit=12),
    Task(
        "tell",
        (Pair("picture", "text"), Pair("text", "text", "other"), Pair("speech", "text", "other")),
        ("stamps", "words", "prompts", LINES),
        limit=4,
        aloud=True,
    ),
    Task(
        "prompts",
        (WRITTEN, Pair("text", "speech", "same")),
        ("prompts",),
        limit=12,
    ),
)
