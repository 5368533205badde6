"""Held-out examples of each task in groups that share the kind and language of their answers."""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from omni.eval.quick import features
from omni.tokenizers.image.metrics import neutral_features
from omni.tokenizers.image.pixels import to_pixels
from omni.train.data.items import Item, Manifest
from omni.train.tasks.templates import Face, Task

MOST_NEIGHBOURS = 1500                                                  # training examples that are looked at


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


class FaceFeatures:
    """Features of the faces of a manifest's items, each computed once for all tasks."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._known: dict[tuple[str, Face], object] = {}

    def __call__(self, item: Item, face: Face) -> object:
        key = (item.id, face)
        if key not in self._known:
            self._known[key] = self._compute(item, face)
        return self._known[key]

    def _compute(self, item: Item, face: Face) -> object:
        if face.kind == "text":
            assert face.language is not None
            return features.text_features(item.texts[face.language])
        if face.kind == "picture":
            pixels = to_pixels(self.manifest.picture(item.pictures[face.index]))
            return neutral_features(pixels[None])[0].numpy()
        return features.sound_features(self.manifest.wave(item.recordings[face.index]), self.manifest.sample_rate)


class Neighbours:
    """The baseline: the wanted face of the training item whose given face is most like the one asked about."""

    def __init__(self, of: FaceFeatures, training: Sequence[Example]) -> None:
        self.of = of
        self.kinds: dict[tuple[str, str | None, str, str | None], list[Example]] = defaultdict(list)
        for example in training:
            self.kinds[self._kind(example)].append(example)
        self._found: dict[tuple[str, Face, Face], Example | None] = {}

    @staticmethod
    def _kind(example: Example) -> tuple[str, str | None, str, str | None]:
        return example.given.kind, example.given.language, example.wanted.kind, example.wanted.language

    def nearest(self, example: Example) -> Example | None:
        """The training example of the same kinds and languages whose given face is closest, or None."""
        key = (example.item.id, example.given, example.wanted)
        if key not in self._found:
            self._found[key] = self._search(example)
        return self._found[key]

    def _search(self, example: Example) -> Example | None:
        known = self.kinds.get(self._kind(example), [])[:MOST_NEIGHBOURS]
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


def similarity(a: object, b: object) -> float:
    """How alike two faces of the same kind are, by their features."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return features.closeness(a, b)
    compare: Callable[..., float] = features.text_similarity
    return compare(a, b)
