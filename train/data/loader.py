"""From shards to the batches of one rank, made ahead of time by a background thread."""

import hashlib
import queue
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from omni.model.transformer import Batch
from omni.train.data.order import Order, Staged, quotas
from omni.train.data.pack import VERSION, Packed, batch_of
from omni.train.data.shards import Shard, find_shards
from omni.vocab import Vocabulary

AHEAD = 2                                                               # global batches that wait, ready
AT_ONCE = 1 << 22                                                       # steps of a shard that are looked at


@dataclass(frozen=True)
class Dataset:
    """The packed shards of one split, one or more a task."""

    parts: tuple[Packed, ...]

    @classmethod
    def load(
        cls,
        paths: Sequence[Path | str],
        steps: int,
        too_long: str = "error",
        vocab: Vocabulary | None = None,
        everything: bool = False,
    ) -> "Dataset":
        """Open and pack all shards at and below `paths`; `everything` trains prompts too.

        Raises InputError for a damaged one or another vocabulary.
        """
        parts: list[Packed] = []
        for folder in find_shards(paths):
            shard = Shard.load(folder, vocab)
            vocab = shard.vocab if vocab is None else vocab
            parts.append(Packed.of(shard, steps, too_long, everything))
        return cls(tuple(parts))

    @property
    def vocab(self) -> Vocabulary:
        return self.parts[0].shard.vocab

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        return tuple(sorted({part.shard.task for part in self.parts}))

    @cached_property
    def languages(self) -> list[str]:
        """Languages of the vocabulary whose tags are in the data."""
        seen = np.zeros(self.vocab["control"].stop, bool)
        for part in self.parts:
            for start in range(0, len(part.shard.tokens), AT_ONCE):
                ids = part.shard.tokens[start : start + AT_ONCE, 0]     # [steps], control ids among them
                seen[np.unique(ids[ids < len(seen)])] = True
        return [language for language in self.vocab.languages if seen[self.vocab.control(f"<2{language}>")]]

    @cached_property
    def _of_task(self) -> tuple[tuple[Packed, ...], ...]:
        return tuple(tuple(part for part in self.parts if part.shard.task == task) for task in self.tasks)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Rows of each task."""
        return {task: sum(map(len, parts)) for task, parts in zip(self.tasks, self._of_task, strict=True)}

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the rows: equal exactly when every row of every task is the same."""
        text = f"packing {VERSION} " + " ".join(
            f"{part.shard.task} {part.shard.fingerprint} {part.steps} {part.dropped}" for part in self.parts
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def dropped(self) -> int:
        return sum(part.dropped for part in self.parts)

    def find(self, task: int, row: int) -> tuple[Packed, int]:
        """The shard that holds a task's row, and the row's number in it."""
        for part in self._of_task[task]:
            if row < len(part):
                return part, row
            row -= len(part)
        raise IndexError(f"task {self.tasks[task]} has no such row")

    def order(self, temperature: float, weights: Mapping[str, float], seed: int) -> Order:
        return Order.of(list(self.rows.values()), quotas(self.rows, temperature, weights), seed)


@dataclass(frozen=True)
class GlobalBatch:
    """One rank's part of the rows that make one optimizer step.

    micro:   batches whose gradients are accumulated
    tasks:   for each of them the task of every row, [rows]; that of a masked row means nothing
    trained: trained steps of the whole global batch, over all ranks
    steps:   steps that hold a sequence in this rank's rows
    """

    micro: list[Batch]
    tasks: list[np.ndarray]
    trained: int
    steps: int


@dataclass(frozen=True)
class Share:
    """How a global batch is divided: rank r takes rows r, r + world, .. in micro-batches of at most `micro` rows.

    Any number of processes will do. All take equally many micro-batches of equally many rows, since what they exchange
    must match; where the rows do not suffice, masked ones stand in, from which nothing is learnt.
    """

    rows: int
    micro: int
    rank: int = 0
    world: int = 1

    @property
    def accumulation(self) -> int:
        """Micro-batches of a global batch."""
        return -(-self._most // self.micro)

    @property
    def width(self) -> int:
        """Rows of a micro-batch, as few as that number of them allows."""
        return -(-self._most // self.accumulation)

    @property
    def _most(self) -> int:
        """Rows of the rank that has most."""
        return -(-self.rows // self.world)


def rows_at(
    data: Dataset, order: Order | Staged, cursor: int, count: int
) -> tuple[np.ndarray, list[tuple[Packed, int]]]:
    """The rows from `cursor` on: the task of each, [count], and the shard that holds it with its number there."""
    tasks, rows = order.at(np.arange(cursor, cursor + count))
    return tasks, [data.find(int(task), int(row)) for task, row in zip(tasks, rows, strict=True)]


class Loader:
    """Global batches from `cursor`, the number of rows consumed before, on, without end.

    read: adds to a micro-batch what its rows, of the tasks [rows], say (omni.train.reading)
    """

    def __init__(
        self,
        data: Dataset,
        order: Order | Staged,
        share: Share,
        cursor: int = 0,
        read: Callable[[Batch, np.ndarray], Batch] | None = None,
    ) -> None:
        self.data, self.order, self.share, self.cursor, self.read = data, order, share, cursor, read

    def batch(self, cursor: int) -> GlobalBatch:
        """The global batch that begins at row `cursor`: a pure function of it."""
        share = self.share
        task, found = rows_at(self.data, self.order, cursor, share.rows)
        trained = sum(int(part.trained[number]) for part, number in found)
        mine, tasks = found[share.rank :: share.world], task[share.rank :: share.world]
        short = share.accumulation * share.width - len(mine)
        rows: list[tuple[Packed, int | None]] = [*mine, *[(found[0][0], None)] * short]
        cuts = range(0, len(rows), share.width)
        micro = [batch_of(rows[cut : cut + share.width]) for cut in cuts]
        each = np.split(np.pad(tasks, (0, short)), share.accumulation)
        if self.read is not None:
            micro = [self.read(batch, task) for batch, task in zip(micro, each, strict=True)]
        steps = sum(int((batch.document > 0).sum()) for batch in micro)
        return GlobalBatch(micro, each, trained, steps)

    def __iter__(self) -> Generator[GlobalBatch, None, None]:
        ready: queue.Queue[GlobalBatch | BaseException] = queue.Queue(AHEAD)
        stop = threading.Event()

        def put(value: GlobalBatch | BaseException) -> None:
            while not stop.is_set():
                try:
                    return ready.put(value, timeout=0.2)
                except queue.Full:
                    continue

        def work() -> None:
            cursor = self.cursor
            try:
                while not stop.is_set():
                    put(self.batch(cursor))
                    cursor += self.share.rows
            except BaseException as error:                              # it belongs to whoever takes the batch
                put(error)

        thread = threading.Thread(target=work, name="loader", daemon=True)
        thread.start()
        try:
            while True:
                value = ready.get()
                if isinstance(value, BaseException):
                    raise value
                yield value
        finally:
            stop.set()
            thread.join()
