"""People's recordings once more, faster and higher or slower and deeper: other throats that say the same.

A few people read all the captions, so that a model learns their voices instead of the words. Played at another speed
their formants move as those of smaller and larger speakers do (Jaitly & Hinton 2013; Ko et al. 2015).
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from omni.train.data.items import SAMPLE_RATE, Item, Manifest, Recording
from omni.train.data.parse.audio import finish
from omni.train.data.parse.base import UnusableError

PITCHES = (0.84, 1.19)                                                  # speed and pitch, of what was recorded
RETOLD = {"stamps": 1, "words": 1, "prompts": 4}                        # sources: times that a recording is told again
MARK = "@x"                                                             # between the speaker and the pitch


@dataclass(frozen=True)
class Retold:
    """A recording to be told again, `pitch` times as fast and high."""

    recording: Recording
    pitch: float

    @property
    def language(self) -> str | None:
        return self.recording.language

    @property
    def speaker(self) -> str:
        return f"{self.recording.speaker}{MARK}{self.pitch}"

    @property
    def licence(self) -> str:
        return self.recording.licence


def retellings(items: Sequence[Item], languages: Collection[str], seed: int) -> list[tuple[int, Retold]]:
    """What is told again, with the row of its item: speech of training items whose text is known, by people."""
    found = []
    for row, item in enumerate(items):
        if item.split != "train":
            continue
        draw = random.Random(f"{seed}/retold/{item.id}")
        for one in item.recordings:
            if one.kind == "speech" and one.human and one.language in languages and one.language in item.texts:
                pitches = (round(draw.uniform(*PITCHES), 2) for _ in range(RETOLD.get(item.source, 0)))
                found += [(row, Retold(one, pitch)) for pitch in pitches]
    return found


def retell_job(data: Path, wanted: Sequence[tuple[int, Retold]]) -> list[tuple[int, Retold, np.ndarray]]:
    """Some recordings of a data folder told again, int16 [samples]; what becomes too short or long is left out."""
    manifest, made = _opened(data), []
    for row, one in wanted:
        try:
            wave = finish(manifest.wave(one.recording), round(SAMPLE_RATE * one.pitch))
        except UnusableError:
            continue
        made.append((row, one, wave))
    return made


@lru_cache(maxsize=1)
def _opened(data: Path) -> Manifest:
    return Manifest.load(data)
