"""What is said to the server: held-out recordings of people, from a prepared data folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omni.errors import InputError
from omni.eval.live.client import RATE, at_client_rate, last_voiced, longest_pause
from omni.live.hearing.pcm import Wave
from omni.train.data.items import Manifest

SOURCES = ("stamps", "prompts")
SHORTEST, JOINT = 0.3, 0.05                                             # seconds: of voice; between joined recordings


@dataclass(frozen=True)
class Question:
    """A recording [samples at 24 kHz] that ends with its last voiced sample."""

    name: str
    wave: Wave
    pause: float                                                        # seconds of its longest inner silence

    @property
    def seconds(self) -> float:
        return len(self.wave) / RATE


def questions(data: Path, count: int | None, seed: int = 0, splits: Sequence[str] = ("test",)) -> list[Question]:
    """`count` held-out recordings of people, or all, in a fixed random order. Raises InputError when there are not so
    many.
    """
    manifest = Manifest.load(data)
    spoken = [
        (item, recording)
        for split in splits
        for item in manifest.of(split=split)
        for recording in item.recordings
        if item.source in SOURCES and recording.kind == "speech" and recording.human
    ]  # fmt: skip
    found: list[Question] = []
    for index in np.random.default_rng(seed).permutation(len(spoken)):
        item, recording = spoken[index]
        wave = at_client_rate(manifest.wave(recording), 16_000)
        wave = wave[: last_voiced(wave)]
        if len(wave) >= SHORTEST * RATE:
            found.append(Question(f"{item.id} {recording.language}", wave, longest_pause(wave)))
        if len(found) == count:
            return found
    if count is None and found:
        return found
    wanted = f"{len(found)} held-out recordings of people, but {count or 1} are wanted"
    raise InputError(f"{data}: {wanted}; prepare all sources")


def of_lengths(pool: list[Question], lengths: Sequence[float], count: int) -> list[Question]:
    """`count` questions, each of these lengths in turn."""
    return [of_length(pool, seconds, number * len(pool) // count) for number in range(count) for seconds in lengths]


def of_length(pool: list[Question], seconds: float, number: int) -> Question:
    """A question of this length without a pause: the end of recordings joined closely.

    Those of one number and different lengths end alike, so that a difference in latency is not one of their ends.
    """
    at = number % len(pool)
    order = [each for each in (*pool[at:], *pool[:at]) if each.pause < 0.1]
    if not order:
        raise InputError("no recording without a pause among those asked; raise --turns")
    waves = [order[0].wave]
    while sum(map(len, waves)) < seconds * RATE:
        before = order[(len(waves) + 1) // 2 % len(order)].wave
        waves = [before, np.zeros(int(JOINT * RATE), np.float32), *waves]
    return Question(f"{seconds:g} s", np.concatenate(waves)[-int(seconds * RATE) :], 0.0)
