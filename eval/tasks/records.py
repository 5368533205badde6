"""What a task asks: records, of the held-out items of a data folder or of a user's own JSONL or Parquet."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageUser, Content, ContentText

from omni.errors import InputError
from omni.eval.inspected.messages import instruction
from omni.eval.inspected.plainly import plainly
from omni.eval.local import LARGE, SUFFIXES, filed, rows, several
from omni.train.data.items import Item, Manifest, usual_data

FIELDS = (
    "id", "text", "audio", "image", "target", "accepted", "choices", "language", "instruction", "baseline", "groups",
)  # fmt: skip

T = TypeVar("T")
Given = Content | Callable[[], Content]                                 # made when it is asked: few records are


@dataclass(frozen=True)
class Record:
    """One question with its answer.

    given:       what is handed over; instruction: what to do with it, in words
    target:      the right answer; choices: that are compared, where it is one of several
    language:    of the answer; baseline: what a system that ignores the question says
    groups:      by which results are broken down, such as {"language": "fr", "speaker": "stamps/fr"}
    more:        what else a scorer is told, such as the answers that are `accepted` beside the target
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


@plainly
def records(
    data: str | None, of_items: Callable[[Manifest], Iterable[Record]], n: int | None = None, seed: int = 0,
    of_file: Callable[[list[Record]], list[Record]] = lambda found: found,
) -> list[Record]:  # fmt: skip
    """At most `n` records in seeded order: of the data folder, or of a file, whose name ends in .jsonl or .parquet.

    data: without it the usual folder; of_file: what the task makes of the records of a file. Raises InputError when
    nothing is there or nothing fits the task.
    """
    path = Path(data) if data else usual_data()
    own = path.suffix in SUFFIXES
    found = of_file(list(local(path))) if own else list(of_items(opened(path.resolve())))
    if not found:
        raise InputError(f"{path}: holds nothing that this task can ask")
    random.Random(f"{seed}/records").shuffle(found)
    return found[:n]


def dataset(found: Sequence[Record], name: str) -> MemoryDataset:
    """Records as Inspect's samples."""
    return MemoryDataset([_sample(record) for record in found], name)


def local(path: Path) -> Iterator[Record]:
    """The records of a user's file; one that is malformed, or whose recording is missing, has its reason in `bad`.

    So has one whose `id` an earlier one has; it gets another, since Inspect takes no two of a name.
    """
    names: set[str] = set()
    for number, row in enumerate(rows(path), 1):
        try:
            record = _parsed(row, path, number)
        except InputError as error:
            record = Record(f"{path.name}:{number}", "", bad=str(error))
        if record.id in names:
            said = f"{path.name}, record {number}: another has its id, {record.id!r}; give each its own"
            record = Record(f"{path.name}:{number}, a repeated id", "", bad=record.bad or said)
        names.add(record.id)
        yield record


def held_out(manifest: Manifest, *sources: str) -> list[Item]:
    """Items that are in no training set."""
    return [item for item in manifest.items if item.split != "train" and item.source in sources]


def most_often_right(found: Iterable[Record], alike: Callable[[Record], object]) -> list[Record]:
    """The records, with the answer that is most often right among those that are `alike` as the baseline of each.

    Where a record has choices, with the one of them that is.
    """
    kept = list(found)
    answers: defaultdict[object, Counter[str]] = defaultdict(Counter)
    for one in kept:
        answers[alike(one)][one.target] += 1

    def baseline(one: Record) -> str:
        counts = answers[alike(one)]
        return max(one.choices, key=lambda choice: counts[choice]) if one.choices else counts.most_common(1)[0][0]

    return [replace(one, baseline=baseline(one)) for one in kept]


def drawn(found: Iterable[T], most: int, *seed: object) -> list[T]:
    """At most `most`, drawn by a seed of any words."""
    rest = list(found)
    return random.Random("/".join(map(str, seed))).sample(rest, min(most, len(rest)))


@lru_cache(maxsize=1)                                                   # a suite opens the same one for every task
def opened(path: Path) -> Manifest:
    """The data of a folder."""
    return Manifest.load(path)


def _sample(record: Record) -> Sample:
    given, bad = _handed(record)
    contents = [*given, *([instruction(record.instruction)] if record.instruction else [])]
    meta = {
        "language": record.language, "choices": list(record.choices), "baseline": record.baseline,
        "groups": record.groups, "bad": bad, **record.more,
    }  # fmt: skip
    asked: list[ChatMessage] = [ChatMessageUser(content=contents or [ContentText(text="")])]
    return Sample(input=asked, target=record.target, id=record.id, metadata=meta)


def _handed(record: Record) -> tuple[list[Content], str | None]:
    """What is handed over, read only now, and why it cannot be."""
    if record.bad:
        return [], record.bad
    try:
        return [one() if callable(one) else one for one in record.given], None
    except InputError as error:
        return [], str(error)


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
    given: list[Given] = [filed(kind, one, path, where) for kind in LARGE for one in several(row.get(kind))]
    if "text" in row:
        given.append(ContentText(text=row["text"]))
    if not given:
        raise InputError(f"{where}: nothing is asked; give `text`, `audio` or `image`")
    groups = {**({"language": row["language"]} if "language" in row else {}), **row.get("groups", {})}
    return Record(
        str(row.get("id", f"{path.name}:{number}")), row["target"], tuple(given), row.get("instruction", ""),
        row.get("language"), choices, row.get("baseline"),
        {name: str(value) for name, value in groups.items() if value is not None},
        {"accepted": row["accepted"]} if "accepted" in row else {},
    )


def _check_types(row: dict[str, Any], where: str) -> None:
    """Raises InputError for a field of another kind than docs/evaluation.md says."""
    if not isinstance(row.get("target"), str):
        raise InputError(f"{where}: no `target`, or not a text; give the right answer")
    for name in ("text", "language", "instruction", "baseline"):
        if name in row and not isinstance(row[name], str):
            raise InputError(f"{where}: `{name}` must be a text, got {row[name]!r}")
    for name in ("choices", "accepted"):
        texts = row.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
            raise InputError(f"{where}: `{name}` must be a list of texts, got {texts!r}")
    if row.get("choices") and row.get("accepted"):
        raise InputError(f"{where}: `accepted` beside `choices`, of which one is right; leave one of them out")
    if not isinstance(row.get("groups", {}), dict):
        raise InputError(f'{where}: `groups` must be an object such as {{"subject": "anatomy"}}, got {row["groups"]!r}')
