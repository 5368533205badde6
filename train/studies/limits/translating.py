"""Captions in ten languages: how near to the known translation comes that of an unknown caption?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from omni.decode.mbr.utilities import chrf
from omni.train.fleet.model import Shape
from omni.train.fleet.pairs import Corpus, Pairs, build_corpus, direction
from omni.train.fleet.trainer import Member, Phase, train_fleet
from omni.train.studies.limits.naming import SOURCES

LANGUAGES = ("fr", "es", "ru", "it", "de", "ro", "ca", "bg", "el")      # from English into each
PIECES, LENGTH, HELD_OUT = 1024, 16, 48
BATCH = 64
D_MODEL, LAYERS, D_FF = 64, 2, 256


def prepare(data: Path, shared: Path) -> int:
    """Write the captions. Returns the pairs of the language that has fewest."""
    directions = [direction(f"en-{language}") for language in LANGUAGES]
    corpus = build_corpus(data, directions, PIECES, LENGTH, HELD_OUT, SOURCES)
    corpus.save(shared / "corpus")
    return min(map(len, corpus.train.values()))


def near(shared: Path, counts: Sequence[int], seed: int, steps: int) -> list[list[float]]:
    """chrF (0 to 1) of each held-out caption's translation, by models from chance that learn from so many pairs of each
    language: [counts][captions]."""
    corpus, random = Corpus.load(shared / "corpus"), np.random.default_rng(seed)
    corpus = replace(corpus, train={name: _shuffled(pairs, random) for name, pairs in corpus.train.items()})
    phase = Phase(steps, (1 / len(corpus.train),) * len(corpus.train), warmup=60)
    shape = Shape(corpus.vocab, LENGTH, D_MODEL, LAYERS, D_FF, "prefix")
    done = train_fleet(shape, [Member(seed, (phase,), count) for count in counts], corpus, BATCH, sample=8)
    found: list[list[float]] = [[] for _ in counts]
    for pairs in corpus.test.values():
        wanted = [corpus.decode(ids) for ids in pairs.target.tolist()]
        for scores, made in zip(found, done.translate(pairs.source), strict=True):
            said = [corpus.decode(ids) for ids in made.tolist()]
            scores += (np.diagonal(chrf(said, wanted)) / 100).tolist()
    return found


def _shuffled(pairs: Pairs, random: np.random.Generator) -> Pairs:
    order = random.permutation(len(pairs))
    return Pairs(pairs.source[order], pairs.target[order])
