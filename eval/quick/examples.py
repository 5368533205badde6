"""Held-out examples of each task in groups that share the kind and language of their answers."""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from omni.eval.quick import features
from omni.train.data.items import Item, Manifest
from omni.train.tasks.templates import Face, Task


@dataclass(frozen=True)
class Example:
    """One held-out item with the face that is given and the face that is wanted."""

    item: Item
    given: Face
    wanted: Face

    def text(self, face: Face) -> str:
        assert face.language is not None
        return self.item.texts[face.language]


def examples(task: Task, items: Sequence[Item], languages: Collection[str], seed: int) -> list[Example]:
    """Every example of a task over these items, in seeded order."""
    found = [Example(item, *pair) for item in items for pair in task.examples(item, languages, seed)]
    random.Random(f"{seed}/{task.name}").shuffle(found)
    return found


def groups(found: Sequence[Example], size: int, limit: int) -> list[list[Example]]:
    """Up to `limit` groups of `size` examples of distinct items and answers, alike in kinds and wanted language."""
    alike: dict[tuple[str, str, str | None], list[Example]] = defaultdict(list)
    for example in found:
        alike[example.given.kind, example.wanted.kind, example.wanted.language].append(example)
    made = [group for members in alike.values() for group in _distinct(members, size)]
    random.Random(0).shuffle(made)
    return made[:limit]


def _distinct(members: Sequence[Example], size: int) -> list[list[Example]]:
    made: list[list[Example]] = []
    rest = list(members)
    while len(rest) >= size:
        group: list[Example] = []
        used: set[str] = set()
        for example in rest:
            answer = example.text(example.wanted) if example.wanted.kind == "text" else example.item.id
            if len(group) < size and example.item.id not in used and answer not in used:
                group.append(example)
                used |= {example.item.id, answer}
        if len(group) < size:
            break
        made.append(group)
        rest = [example for example in rest if example not in group]
    return made


class Neighbours:
    """The baseline: the wanted face of the training item whose given face is most like the one asked about."""

    def __init__(self, manifest: Manifest, training: Sequence[Example], limit: int = 1500) -> None:
        self.manifest = manifest
        self.known: dict[tuple[str, str | None, str, str | None], list[tuple[Example, features.Vector]]] = {}
        kinds: dict[tuple[str, str | None, str, str | None], list[Example]] = defaultdict(list)
        for example in training:
            kinds[self._key(example)].append(example)
        self.kinds = {key: members[:limit] for key, members in kinds.items()}
        self._features: dict[tuple[str, Face], object] = {}

    @staticmethod
    def _key(example: Example) -> tuple[str, str | None, str, str | None]:
        return example.given.kind, example.given.language, example.wanted.kind, example.wanted.language

    def nearest(self, example: Example) -> Example | None:
        """The training example of the same kinds and languages whose given face is closest, or None."""
        known = self.kinds.get(self._key(example), [])
        if not known:
            return None
        asked = self.of(example.item, example.given)
        return max(known, key=lambda other: similarity(asked, self.of(other.item, other.given)))

    def choose(self, example: Example, choices: Sequence[Example]) -> int | None:
        """Index of the choice whose wanted face is most like the nearest neighbour's, or None without a neighbour."""
        neighbour = self.nearest(example)
        if neighbour is None:
            return None
        answer = self.of(neighbour.item, neighbour.wanted)
        scores = [similarity(answer, self.of(choice.item, choice.wanted)) for choice in choices]
        return int(np.argmax(scores))

    def of(self, item: Item, face: Face) -> object:
        """Features of a face, computed once."""
        key = (item.id, face)
        if key not in self._features:
            self._features[key] = self._compute(item, face)
        return self._features[key]

    def _compute(self, item: Item, face: Face) -> object:
        if face.kind == "text":
            assert face.language is not None
            return features.text_features(item.texts[face.language])
        if face.kind == "picture":
            return features.picture_features(self.manifest.picture(item.pictures[face.index]))
        return features.sound_features(self.manifest.wave(item.recordings[face.index]), self.manifest.sample_rate)


def similarity(a: object, b: object) -> float:
    """How alike two faces of the same kind are, by their features."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return features.closeness(a, b)
    compare: Callable[..., float] = features.text_similarity
    return compare(a, b)
