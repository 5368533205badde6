"""Speaking: whether a recogniser understands what the model says, and how it sounds."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial

import numpy as np
from inspect_ai import Task, task
from inspect_ai.model import ContentText
from numpy.typing import NDArray

from omni.eval.abilities.subject import at_judges_rate
from omni.eval.tasks.examine import examine
from omni.eval.tasks.records import Record, held_out, records
from omni.eval.tasks.scorers import heard, quality
from omni.tokenizers.audio.recognizer import hearable, spoken
from omni.train.data.items import Item, Manifest, Recording

VOICE = "clara"                                                         # the preset that speaks English


@task
def speak(data: str | None = None, n: int | None = 40, seed: int = 0) -> Task:
    """Held-out English captions said aloud; baseline: the preset's own recording of each, heard by the same judge.

    A user's file has no such recording, and no baseline; what is heard is one of all its sentences, asked or not.
    """
    waves: dict[str, Callable[[], NDArray[np.float32]]] = {}

    @cache
    def reference(name: str) -> NDArray[np.float32] | None:
        return waves[name]() if name in waves else None

    texts: list[str] = []

    def of_file(asked: list[Record]) -> list[Record]:
        texts.extend(record.target for record in asked)
        return asked

    found = records(data, lambda held: _captions(held, waves, texts), n, seed, of_file)
    closed = hearable(texts)
    known = set(closed)
    found = [one if one.bad or spoken(one.target) in known else replace(one, bad=_unheard(one)) for one in found]
    return examine("speak", found, [heard(closed, reference), quality(reference)], ["audio"])


def _captions(
    manifest: Manifest, waves: dict[str, Callable[[], NDArray[np.float32]]], texts: list[str]
) -> Iterator[Record]:
    texts += [item.texts["en"] for item in manifest.of(source="stamps") if "en" in item.texts]
    known = set(hearable(texts))
    for item in held_out(manifest, "stamps"):
        text = item.texts.get("en", "")
        if (recording := _preset(item)) and spoken(text) in known:
            waves[item.id] = partial(_heard, manifest, recording)
            yield Record(item.id, text, (ContentText(text=text),), "Read this aloud.", "en")


def _unheard(record: Record) -> str:
    return f"{record.id}: the recognizer does not know every word of {record.target!r}; it is one of English"


def _heard(manifest: Manifest, recording: Recording) -> NDArray[np.float32]:
    return at_judges_rate(manifest.wave(recording), manifest.sample_rate)


def _preset(item: Item) -> Recording | None:
    return next((one for one in item.recordings if (one.preset, one.language) == (VOICE, "en")), None)
