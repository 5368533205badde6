"""Packing: the sequences of a shard, once and for all, into rows of a fixed number of steps.

Rows hold whole sequences of one task. Packing comes before order and before ranks, so that neither can change what a
row is. Best fit in decreasing length wastes little and is deterministic (Krell et al. 2021 pack the same way).
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from omni.errors import InputError
from omni.files import atomic_path
from omni.model.transformer import Batch
from omni.train.data.shards import Shard

VERSION = 1


@dataclass(frozen=True)
class Packed:
    """The rows of one shard.

    order:   [kept] sequence numbers, row by row
    starts:  [rows + 1] where each row begins in `order`
    trained: [rows] trained steps of each row
    dropped: sequences that are longer than a row
    everything: all steps are trained, prompts too, not the answers alone
    """

    shard: Shard
    steps: int
    order: np.ndarray
    starts: np.ndarray
    trained: np.ndarray
    dropped: int
    everything: bool = False

    def __len__(self) -> int:
        return len(self.trained)

    @classmethod
    def of(cls, shard: Shard, steps: int, too_long: str = "error", everything: bool = False) -> "Packed":
        """Pack, or read the cached packing. `too_long`: "error" or "drop" for sequences of more than `steps`.

        Raises InputError when a sequence does not fit and may not be dropped, or none fits.
        """
        lengths = np.asarray(shard.index["length"])
        dropped = int((lengths > steps).sum())
        if dropped and too_long == "error":
            raise InputError(
                f"{shard.folder}: {dropped} sequences are longer than sequence_length={steps} (the longest has "
                f"{lengths.max()} steps); raise sequence_length or set `too_long: drop`"
            )
        if dropped == len(lengths):
            raise InputError(f"{shard.folder}: every sequence is longer than sequence_length={steps}; raise it")
        pairs = _cached(shard, steps, lengths)                          # [kept, 2] row, sequence
        starts = np.concatenate(([0], np.flatnonzero(np.diff(pairs[:, 0])) + 1, [len(pairs)]))
        order = pairs[:, 1]
        counts = lengths - 1 if everything else shard.index["trained"]  # nothing predicts a sequence's first step
        trained = np.add.reduceat(counts[order].astype(np.int64), starts[:-1])
        return cls(shard, steps, order, starts, trained, dropped, everything)

    def row(self, number: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """One row: ids [steps, channels], loss [steps], document [steps] (1 .., 0 is padding), prefix [steps].

        None is a masked row, padding alone.
        """
        ids = np.zeros((self.steps, self.shard.tokens.shape[1]), np.int64)
        loss, prefix = np.zeros(self.steps, bool), np.zeros(self.steps, bool)
        document = np.zeros(self.steps, np.int64)
        if number is None:
            return ids, loss, document, prefix
        at = 0
        sequences = self.order[self.starts[number] : self.starts[number + 1]]
        for count, row in enumerate(self.shard.index[sequences], start=1):
            offset, length = int(row["offset"]), int(row["length"])
            part, source = slice(at, at + length), slice(offset, offset + length)
            ids[part] = self.shard.tokens[source]
            loss[part] = np.arange(length) > 0 if self.everything else self.shard.loss[source]
            document[part] = count
            prefix[at : at + int(row["prefix"])] = True
            at += length
        return ids, loss, document, prefix

    def items(self, number: int) -> list[str]:
        """Names of the items whose sequences a row holds."""
        sequences = self.order[self.starts[number] : self.starts[number + 1]]
        return [self.shard.items[item] for item in self.shard.index["item"][sequences]]

    @property
    def used(self) -> float:
        """Share of the steps of all rows that hold a sequence."""
        return float(self.shard.index["length"][self.order].sum(dtype=np.int64)) / (len(self) * self.steps)


def batch_of(rows: Iterable[tuple[Packed, int | None]]) -> Batch:
    """Stack rows of equal length, None for a masked one: ids [batch, steps, channels], the rest [batch, steps]."""
    arrays = zip(*(packed.row(number) for packed, number in rows), strict=True)
    return Batch(*(torch.from_numpy(np.stack(array)) for array in arrays))


def best_fit(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """Rows of a best-fit-decreasing packing: [kept, 2] uint32 of (row, sequence), sorted by row.

    lengths: [sequences], each at least 1; those above `capacity` are left out.
    """
    rows: list[list[int]] = []
    open_rows: dict[int, list[int]] = defaultdict(list)                 # free steps -> rows
    free = 0                                                            # bit f is set where a row has f free steps
    for sequence in np.argsort(-lengths.astype(np.int64), kind="stable").tolist():
        length = int(lengths[sequence])
        if length > capacity:
            continue
        fitting = free >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1       # the fullest row that still has room
            row = open_rows[room].pop()
            if not open_rows[room]:
                free &= ~(1 << room)
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(sequence)
        left = room - length
        if left:
            open_rows[left].append(row)
            free |= 1 << left
    pairs = [(row, sequence) for row, sequences in enumerate(rows) for sequence in sequences]
    return np.array(pairs, dtype=np.uint32).reshape(-1, 2)


def _cached(shard: Shard, steps: int, lengths: np.ndarray) -> np.ndarray:
    """The packing beside the shard, made when it is not there. Its name holds all that it depends on."""
    path = Path(shard.folder) / f"pack-{VERSION}-{steps}-{shard.fingerprint}.npy"
    with contextlib.suppress(OSError, ValueError):
        return np.load(path, mmap_mode="r", allow_pickle=False)
    pairs = best_fit(lengths, steps)
    with contextlib.suppress(OSError), atomic_path(path) as scratch:    # a read-only folder costs time, nothing else
        np.save(scratch, pairs)
    return pairs
