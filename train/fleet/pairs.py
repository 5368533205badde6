"""Parallel text for fleets: short lines of the catalogues and stamps, as padded arrays of token ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError
from omni.files import atomic_path, read_json, write_json
from omni.tokenizers.text import TextTokenizer
from omni.train.data.items import Item, Manifest

PAD, BOS, EOS, CONTROLS = 0, 1, 2, 3
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Direction:
    """A task: from one language into another. `train`: how many training pairs are used at the most, 0 for all."""

    source: str
    target: str
    train: int = 0

    @property
    def name(self) -> str:
        return f"{self.source}-{self.target}"


def direction(name: str, train: int = 0) -> Direction:
    """Of a name such as "en-fr"."""
    source, _, target = name.partition("-")
    return Direction(source, target, train)


@dataclass(frozen=True)
class Pairs:
    """Lines with their translations, padded with PAD behind.

    source: [pairs, length + 1], a tag for the language wanted and the line
    target: [pairs, length + 2], <bos>, the line, <eos>
    """

    source: Ids
    target: Ids

    def __len__(self) -> int:
        return len(self.source)

    def every(self, step: int, first: int = 0) -> "Pairs":
        """Each step-th pair from the first on: `every(2)` and `every(2, 1)` are halves."""
        return Pairs(self.source[first::step], self.target[first::step])


@dataclass(frozen=True)
class Corpus:
    """Pairs of each task, to train on and held out, over one set of `vocab` ids with lines of up to `length` tokens."""

    train: dict[str, Pairs]
    test: dict[str, Pairs]
    vocab: int
    length: int
    tokenizer: TextTokenizer

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a target's ids; tags and controls say nothing."""
        first = self.vocab - len(self.tokenizer)
        return self.tokenizer.decode([token - first for token in ids if token >= first])

    def save(self, folder: Path) -> None:
        """Write a folder of numpy arrays and JSON, whole or not at all."""
        with atomic_path(folder) as scratch:
            scratch.mkdir()
            self.tokenizer.save(scratch)
            for split, tasks in (("train", self.train), ("test", self.test)):
                for name, pairs in tasks.items():
                    np.save(scratch / f"{split}.{name}.source.npy", pairs.source)
                    np.save(scratch / f"{split}.{name}.target.npy", pairs.target)
            write_json(scratch / "corpus.json", {"vocab": self.vocab, "length": self.length, "tasks": list(self.train)})

    @classmethod
    def load(cls, folder: Path) -> "Corpus":
        """Raises InputError when there is none."""
        about = read_json(folder / "corpus.json")

        def pairs(split: str) -> dict[str, Pairs]:
            return {
                name: Pairs(*(np.load(folder / f"{split}.{name}.{side}.npy") for side in ("source", "target")))
                for name in about["tasks"]
            }

        return cls(pairs("train"), pairs("test"), about["vocab"], about["length"], TextTokenizer.load(folder))


def build_corpus(
    data: Path, directions: Sequence[Direction], pieces: int = 512, length: int = 12, test: int = 512,
    sources: Sequence[str] = ("catalogues", "stamps"),
) -> Corpus:  # fmt: skip
    """Pairs of a prepared folder whose two lines have at most `length` tokens, by its own splits.

    pieces: size of the byte-level BPE that all languages share; test: held-out pairs of each task, at most.
    Raises InputError for a folder without such pairs.
    """
    items = [item for source in sources for item in Manifest.load(data).of(source=source)]
    languages = sorted({side for one in directions for side in (one.source, one.target)})
    lines = [item.texts[code] for item in items if item.split == "train" for code in languages if code in item.texts]
    if not lines:
        raise InputError(f"{data}: has no lines in {', '.join(languages)}; prepare the {', '.join(sources)}")
    tokenizer = TextTokenizer.train(lines, pieces)
    tags = {language: CONTROLS + number for number, language in enumerate(languages)}
    found: Mapping[str, dict[str, Pairs]] = {"train": {}, "test": {}}
    for one in directions:
        for split, most in (("train", one.train), ("test", test)):
            pairs = _encoded([item for item in items if item.split == split], one, tokenizer, tags, length)
            keep = np.random.default_rng(0).permutation(len(pairs))[: most or None]
            if not len(keep):
                raise InputError(f"{data}: has no {split} lines from {one.source} into {one.target}")
            found[split][one.name] = Pairs(pairs.source[keep], pairs.target[keep])
    return Corpus(found["train"], found["test"], CONTROLS + len(tags) + len(tokenizer), length, tokenizer)


def _encoded(
    items: Sequence[Item], one: Direction, tokenizer: TextTokenizer, tags: Mapping[str, int], length: int
) -> Pairs:
    """The items that have both languages and fit."""
    both = [(item.texts[one.source], item.texts[one.target]) for item in items
            if one.source in item.texts and one.target in item.texts]  # fmt: skip
    first = CONTROLS + len(tags)
    sides = [[[token + first for token in ids] for ids in tokenizer.encode_batch([pair[side] for pair in both])]
             for side in (0, 1)]  # fmt: skip
    fitting = [(ours, theirs) for ours, theirs in zip(*sides, strict=True) if max(len(ours), len(theirs)) <= length]
    source = np.full((len(fitting), length + 1), PAD, np.int64)
    target = np.full((len(fitting), length + 2), PAD, np.int64)
    for row, (ours, theirs) in enumerate(fitting):
        source[row, : len(ours) + 1] = [tags[one.target], *ours]
        target[row, : len(theirs) + 2] = [BOS, *theirs, EOS]
    return Pairs(source, target)
