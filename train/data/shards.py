"""Token shards: the examples of one task and split as memory-mapped arrays that never change once written.

    shard.json   task, counts, file sizes and checksums, fingerprint
    tokens.npy   [steps, channels] uint16 or uint32, all sequences end to end
    loss.npy     [steps] bool, whether predicting the step is trained
    index.npy    [sequences] offset, length, prefix, item, trained (INDEX)
    targets.npy  [channels, vocab] int64, how often each id is a trained target
    items.json   names of the items that sequences were made from
    vocab.json   the token space
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from omni.errors import InputError
from omni.files import atomic_path, read_json, sha256, write_json
from omni.sequence import Sequence
from omni.vocab import Vocabulary

VERSION = 2
SUMMARY = "shard.json"
FILES = ("tokens.npy", "loss.npy", "index.npy", "targets.npy", "items.json", "vocab.json")
INDEX = np.dtype([("offset", "<u8"), ("length", "<u4"), ("prefix", "<u4"), ("item", "<u4"), ("trained", "<u4")])


class ShardWriter:
    """Write a shard: `with ShardWriter(folder, vocab, task) as shard: shard.add(sequence, item)`.

    The folder appears, whole, when the block ends; after an exception it does not, and an older one stays.
    """

    def __init__(self, folder: Path | str, vocab: Vocabulary, task: str) -> None:
        self.folder, self.vocab, self.task = Path(folder), vocab, task
        self.dtype = np.dtype("<u2" if len(vocab) <= 1 << 16 else "<u4")
        self._targets = np.zeros((vocab.channels, len(vocab)), np.int64)
        self._steps = self._trained = self._sequences = self._items = 0
        self._item: str | None = None                                   # the last one

    def __enter__(self) -> "ShardWriter":
        self._context = self._writing()
        return self._context.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._context.__exit__(kind, error, trace)

    def add(self, sequence: Sequence, item: str) -> None:
        """Append one sequence made from `item`; those of an item come one after the other.

        Raises ValueError for ids that the vocabulary does not have.
        """
        ids = sequence.ids                                              # [steps, channels]
        if ids.ndim != 2 or ids.shape[1] != self.vocab.channels or not len(ids):
            raise ValueError(f"ids must have shape [steps, {self.vocab.channels}], got {ids.shape}")
        if ids.min() < 0 or ids.max() >= len(self.vocab):
            raise ValueError(f"ids must lie in 0..{len(self.vocab) - 1}, got {ids.min()}..{ids.max()}")
        if sequence.loss[0]:
            raise ValueError("the first step cannot be trained: nothing stands before it")
        if item != self._item:
            self._names.write(f"{',' if self._items else ''}\n  {json.dumps(item, ensure_ascii=False)}")
            self._item, self._items = item, self._items + 1
        trained = int(sequence.loss.sum())
        row = (self._steps, len(ids), sequence.prefix, self._items - 1, trained)
        self._index.write(np.array(row, INDEX).tobytes())
        self._tokens.write(ids.astype(self.dtype).tobytes())
        self._loss.write(sequence.loss.astype(bool).tobytes())
        for counts, channel in zip(self._targets, ids[sequence.loss].T, strict=True):
            np.add.at(counts, channel, 1)
        self._steps += len(ids)
        self._trained += trained
        self._sequences += 1

    @contextmanager
    def _writing(self) -> Iterator["ShardWriter"]:
        with atomic_path(self.folder) as scratch:
            scratch.mkdir()
            raw = [scratch / name for name in ("tokens", "loss", "index")]
            with ExitStack() as files:                                  # npy headers hold the length, known last
                self._tokens, self._loss, self._index = (files.enter_context(path.open("wb")) for path in raw)
                self._names = files.enter_context((scratch / FILES[4]).open("w", encoding="utf-8"))
                self._names.write("[")
                yield self
                self._names.write("\n]\n")
            if not self._sequences:
                raise InputError(f"{self.folder}: no sequence to write for task {self.task}; check its data")
            _to_npy(raw[0], scratch / FILES[0], self.dtype, (self._steps, self.vocab.channels))
            _to_npy(raw[1], scratch / FILES[1], np.dtype(bool), (self._steps,))
            _to_npy(raw[2], scratch / FILES[2], INDEX, (self._sequences,))
            np.save(scratch / FILES[3], self._targets)
            self.vocab.save(scratch / FILES[5])
            write_json(scratch / SUMMARY, self._summary(scratch))

    def _summary(self, folder: Path) -> dict[str, Any]:
        files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in FILES}
        return {
            "version": VERSION,
            "task": self.task,
            "sequences": self._sequences,
            "steps": self._steps,
            "trained": self._trained,
            "files": files,
            "fingerprint": fingerprint(files),
        }


class Shard:
    """A written shard, memory-mapped.

    tokens: [steps, channels]; loss: [steps] bool; index: [sequences] INDEX
    """

    def __init__(self, folder: Path, summary: dict[str, Any], vocab: Vocabulary) -> None:
        self.folder, self.vocab = folder, vocab
        self.task: str = summary["task"]
        self.fingerprint: str = summary["fingerprint"]
        self.trained: int = summary["trained"]
        self.tokens, self.loss, self.index = (_map(folder / name) for name in FILES[:3])
        if self.index.dtype != INDEX or len(self.index) != summary["sequences"] or len(self.tokens) != summary["steps"]:
            raise InputError(f"{folder}: its arrays are not those of {SUMMARY}; build the shard again")

    @classmethod
    def load(cls, folder: Path | str, vocab: Vocabulary | None = None, verify: bool = False) -> "Shard":
        """Open a shard. File sizes are checked always, checksums with `verify`.

        Raises InputError when a file is missing or damaged, or the ids are not those of `vocab`.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such shard folder; build shards first")
        summary = read_json(folder / SUMMARY)
        try:
            if summary["version"] != VERSION:
                raise InputError(f"{folder}: shard version {summary['version']}, this is {VERSION}; build it again")
            for name in FILES:
                _check_file(folder / name, summary["files"][name], verify)
            if summary["fingerprint"] != fingerprint(summary["files"]):
                raise InputError(f"{folder / SUMMARY}: edited or damaged; build the shard again")
        except (KeyError, TypeError):
            raise InputError(f"{folder / SUMMARY}: not a shard summary; build the shard again") from None
        found = Vocabulary.load(folder / "vocab.json")
        if vocab is not None:
            vocab.check_same(found, "this run", str(folder))
        return cls(folder, summary, found)

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def items(self) -> list[str]:
        """Names of the items; `index["item"]` points into it."""
        return list(read_json(self.folder / "items.json"))

    def sequence(self, number: int) -> Sequence:
        """One sequence as it was added."""
        row = self.index[number]
        part = slice(int(row["offset"]), int(row["offset"]) + int(row["length"]))
        return Sequence(self.tokens[part].astype(np.int64), np.array(self.loss[part]), int(row["prefix"]))

    @cached_property
    def targets(self) -> np.ndarray:
        """How often each id is a trained target, [channels, vocab] int64."""
        return np.load(self.folder / "targets.npy", allow_pickle=False)


def find_shards(paths: Iterable[Path | str]) -> list[Path]:
    """The shard folders among `paths` and below them, sorted, each once however it is reached.

    Raises InputError for a path without any.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        below = {summary.parent for summary in path.rglob(SUMMARY)} if path.is_dir() else set()
        if not below:
            raise InputError(f"{path}: no shards there; make them with `omni data tokenize` or mend `data`")
        found = {folder.resolve(): folder for folder in sorted(below, reverse=True)} | found
    return sorted(found.values())


def _to_npy(raw: Path, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Turn a file of raw values into an npy file without reading it into memory."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if array.size:
        array[:] = np.memmap(raw, mode="r", dtype=dtype, shape=shape)
    array.flush()
    raw.unlink()


def _map(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{path}: cannot be read ({error}); build the shard again") from None


def _check_file(path: Path, expected: dict[str, Any], verify: bool) -> None:
    if not path.is_file():
        raise InputError(f"{path}: missing; copy the whole shard folder")
    if path.stat().st_size != expected["bytes"]:
        raise InputError(f"{path}: {path.stat().st_size} bytes instead of {expected['bytes']}; copy it again")
    if verify and sha256(path) != expected["sha256"]:
        raise InputError(f"{path}: damaged (its checksum differs); copy it again")


def fingerprint(files: dict[str, Any]) -> str:
    """Identity of a shard: a hash of its files' checksums."""
    text = json.dumps({name: files[name]["sha256"] for name in FILES}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
