"""What a task asks: records, of the held-out items of a data folder or of a user's own JSONL or Parquet."""

import io
import json
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageUser, Content, ContentText

from omni.errors import InputError
from omni.eval.inspected.messages import instruction, picture, sound
from omni.tokenizers.audio.wavefile import read_open_wave, read_wave
from omni.train.data.items import Item, Manifest, usual_data

SPEECH_RATE = 16_000                                                    # hertz, of sounds that are handed over
LONGEST = 120.0                                                         # seconds of one
PIXELS = 256                                                            # of a side of pictures
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
    _check_types(row, where)
    choices = tuple(row.get("choices", ()))
    if choices and row["target"] not in choices:
        raise InputError(f"{where}: `target` is not among `choices`")
    given: list[Given] = []
    if "audio" in row:
        given.append(_sound(row["audio"], path, where))
    if "image" in row:
        given.append(_picture(row["image"], path, where))
    if "text" in row:
        given.append(ContentText(text=row["text"]))
    if not given:
        raise InputError(f"{where}: nothing is asked; give `text`, `audio` or `image`")
    groups = {**({"language": row["language"]} if "language" in row else {}), **row.get("groups", {})}
    return Record(
        str(row.get("id", f"{path.name}:{number}")), row["target"], tuple(given), row.get("instruction", ""),
        row.get("language"), choices, row.get("baseline"),
        {name: str(value) for name, value in groups.items() if value is not None},
    )


def _check_types(row: dict[str, Any], where: str) -> None:
    """Raises InputError for a field of another kind than docs/evaluation.md says."""
    if not isinstance(row.get("target"), str):
        raise InputError(f"{where}: no `target`, or not a text; give the right answer")
    for name in ("text", "language", "instruction", "baseline"):
        if name in row and not isinstance(row[name], str):
            raise InputError(f"{where}: `{name}` must be a text, got {row[name]!r}")
    choices = row.get("choices", [])
    if not isinstance(choices, list) or not all(isinstance(one, str) for one in choices):
        raise InputError(f"{where}: `choices` must be a list of texts, got {choices!r}")
    if not isinstance(row.get("groups", {}), dict):
        raise InputError(f'{where}: `groups` must be an object such as {{"subject": "anatomy"}}, got {row["groups"]!r}')


def _file(value: Any, beside: Path, where: str) -> Path | bytes:
    """A path beside the records, or the content that Hugging Face's Parquet holds as {"bytes", "path"}."""
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
        return bytes(value["bytes"])
    name = value.get("path") if isinstance(value, dict) else value
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: a recording or picture must be a file's name, or {{bytes, path}}, got {value!r}")
    return beside.parent / name


def _sound(value: Any, beside: Path, where: str) -> Content:
    file = _file(value, beside, where)
    if isinstance(file, Path):
        return sound(read_wave(file, SPEECH_RATE, LONGEST), SPEECH_RATE)
    return sound(read_open_wave(io.BytesIO(file), where, SPEECH_RATE, LONGEST), SPEECH_RATE)


def _picture(value: Any, beside: Path, where: str) -> Content:
    import numpy as np

    from omni.tokenizers.image.pixels import read_picture, to_levels

    file = _file(value, beside, where)
    if isinstance(file, Path):
        return picture(np.asarray(to_levels(read_picture(file, PIXELS))))
    with tempfile.TemporaryDirectory() as folder:                       # by its content, not by its name
        path = Path(folder) / where.replace("/", "_")
        path.write_bytes(file)
        try:
            return picture(np.asarray(to_levels(read_picture(path, PIXELS))))
        except InputError as error:
            raise InputError(str(error).removeprefix(f"{folder}/")) from None
