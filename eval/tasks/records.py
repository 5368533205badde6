"""What a task asks: records, of the held-out items of a data folder or of a user's own JSONL or Parquet."""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageUser, Content, ContentText

from omni.errors import InputError
from omni.eval.inspected.messages import instruction, picture, sound
from omni.tokenizers.audio.wavefile import read_wave
from omni.train.data.items import Item, Manifest, usual_data

SPEECH_RATE = 16_000                                                    # hertz, of sounds that are handed over
FIELDS = ("id", "text", "audio", "image", "target", "choices", "language", "instruction", "baseline", "groups")

T = TypeVar("T")
Given = Content | Callable[[], Content]                                 # made when it is asked: few records are


@dataclass(frozen=True)
class Record:
    """One question with its answer.

    given:       what is handed over; instruction: what to do with it, in words
    target:      the right answer; choices: that are compared, where it is one of several
    language:    of the answer; baseline: what a system that ignores the question says
    groups:      by which results are broken down, such as {"language": "fr", "speaker": "stamps/fr"}
    bad:         why it cannot be asked; such a record is an error in the results, not a gap in them
    """

    id: str
    target: str
    given: tuple[Given, ...] = ()
    instruction: str = ""
    language: str | None = None
    choices: tuple[str, ...] = ()
    baseline: str | None = None
    groups: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    bad: str | None = None


def records(
    data: str | None, of_items: Callable[[Manifest], Iterable[Record]], n: int | None = None, seed: int = 0
) -> list[Record]:
    """At most `n` records in seeded order: of the data folder, or of a file, whose name ends in .jsonl or .parquet.

    data: without it the usual folder. Raises InputError when nothing is there or nothing fits the task.
    """
    path = Path(data) if data else usual_data()
    found = list(local(path) if path.suffix in (".jsonl", ".parquet") else of_items(_manifest(path.resolve())))
    if not found:
        raise InputError(f"{path}: holds nothing that this task can ask")
    random.Random(f"{seed}/records").shuffle(found)
    return found[:n]


def dataset(found: Sequence[Record], name: str) -> MemoryDataset:
    """Records as Inspect's samples."""
    return MemoryDataset([_sample(record) for record in found], name)


def local(path: Path) -> Iterator[Record]:
    """The records of a user's file; one that is malformed, or whose recording is missing, has its reason in `bad`."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    for number, row in enumerate(_rows(path), 1):
        try:
            yield _parsed(row, path, number)
        except InputError as error:
            yield Record(f"{path.name}:{number}", "", bad=str(error))


def held_out(manifest: Manifest, *sources: str) -> list[Item]:
    """Items that are in no training set."""
    return [item for item in manifest.items if item.split != "train" and item.source in sources]


def drawn(found: Iterable[T], most: int, *seed: object) -> list[T]:
    """At most `most`, drawn by a seed of any words."""
    rest = list(found)
    return random.Random("/".join(map(str, seed))).sample(rest, min(most, len(rest)))


@lru_cache(maxsize=1)                                                   # a suite opens the same one for every task
def _manifest(path: Path) -> Manifest:
    return Manifest.load(path)


def _sample(record: Record) -> Sample:
    given = [one() if callable(one) else one for one in record.given]
    contents = [*given, *([instruction(record.instruction)] if record.instruction else [])]
    meta = {
        "language": record.language, "choices": list(record.choices), "baseline": record.baseline,
        "groups": record.groups, "bad": record.bad, **record.more,
    }  # fmt: skip
    asked: list[ChatMessage] = [ChatMessageUser(content=contents or [ContentText(text="")])]
    return Sample(input=asked, target=record.target, id=record.id, metadata=meta)


def _rows(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        try:
            yield from pyarrow.parquet.read_table(path).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{path}: not a Parquet file ({error})") from None
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                yield str(error)


def _parsed(row: Any, path: Path, number: int) -> Record:
    where = f"{path.name}, record {number}"
    if not isinstance(row, dict):
        raise InputError(f"{where}: not a JSON object ({row})")
    if unknown := set(row) - set(FIELDS):
        raise InputError(f"{where}: unknown field {min(unknown)!r}; known are {', '.join(FIELDS)}")
    row = {name: value for name, value in row.items() if value is not None}
    if not isinstance(row.get("target"), str):
        raise InputError(f"{where}: no `target`, or not a text; give the right answer")
    choices = tuple(row.get("choices", ()))
    if choices and row["target"] not in choices:
        raise InputError(f"{where}: `target` is not among `choices`")
    given: list[Given] = []
    if "audio" in row:
        given.append(sound(read_wave(path.parent / row["audio"], SPEECH_RATE), SPEECH_RATE))
    if "image" in row:
        given.append(_picture(path.parent / row["image"]))
    if "text" in row:
        given.append(ContentText(text=str(row["text"])))
    if not given:
        raise InputError(f"{where}: nothing is asked; give `text`, `audio` or `image`")
    return Record(
        str(row.get("id", f"{path.name}:{number}")), row["target"], tuple(given), str(row.get("instruction", "")),
        row.get("language"), choices, row.get("baseline"),
        {**({"language": row["language"]} if "language" in row else {}), **dict(row.get("groups", {}))},
    )  # fmt: skip


def _picture(path: Path) -> Content:
    import numpy as np

    from omni.tokenizers.image.pixels import read_picture, to_levels

    return picture(np.asarray(to_levels(read_picture(path, 256))))
