"""Packing: the sequences of a shard, once and for all, into rows of a fixed number of steps.

Rows hold whole sequences of one task. Packing comes before order and before ranks, so that neither can change what a
row is. Best fit in decreasing length wastes little and is deterministic (Krell et al. 2021 pack the same way).
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from omni.errors import InputError
from omni.files import atomic_path
from omni.model.transformer import Batch
from omni.train.data.bestfit import CHUNK, best_fit
from omni.train.data.shards import Shard

VERSION = 2                                                             # of which sequences a row holds


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
        rows = _cached(shard, steps)
        dropped = len(shard) - len(rows.order)
        if dropped and too_long == "error":
            raise InputError(
                f"{shard.folder}: {dropped} sequences are longer than sequence_length={steps} (the longest has "
                f"{shard.index['length'].max()} steps); raise sequence_length or set `too_long: drop`"
            )
        if not len(rows.order):
            raise InputError(f"{shard.folder}: every sequence is longer than sequence_length={steps}; raise it")
        trained = rows.everything if everything else rows.answers
        return cls(shard, steps, rows.order, rows.starts, trained, dropped, everything)

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
    ids, loss, document, prefix = (torch.from_numpy(np.stack(array)) for array in arrays)
    return Batch(ids, loss, document, prefix)


class _Rows(NamedTuple):
    """What is kept of a packing. order: [kept]; starts: [rows + 1]; trained steps of each row, [rows], either way."""

    order: np.ndarray
    starts: np.ndarray
    answers: np.ndarray
    everything: np.ndarray

    @classmethod
    def of(cls, index: np.ndarray, steps: int) -> "_Rows":
        order, starts = best_fit(index["length"], steps)
        answers, everything = np.empty((2, len(starts) - 1), np.uint32)
        for begin in range(0, len(answers), CHUNK // 8):
            edges = starts[begin : begin + CHUNK // 8 + 1]
            sequences = index[order[edges[0] : edges[-1]]]              # a copy of a part at a time
            part, at = slice(begin, begin + len(edges) - 1), edges[:-1] - edges[0]
            answers[part] = np.add.reduceat(sequences["trained"], at)
            everything[part] = np.add.reduceat(sequences["length"], at) - np.diff(edges)  # nothing predicts the first
        return cls(order, starts, answers, everything)

    @classmethod
    def load(cls, folder: Path) -> "_Rows":
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in cls._fields))

    def save(self, folder: Path) -> None:
        with atomic_path(folder) as scratch:
            scratch.mkdir()
            for name, array in self._asdict().items():
                np.save(scratch / f"{name}.npy", array)


def _cached(shard: Shard, steps: int) -> _Rows:
    """The packing beside the shard, made when it is not there. Its name holds all that it depends on.

    That is the moment to read the whole shard once: a damaged one would be packed and trained on otherwise.
    """
    folder = Path(shard.folder) / f"pack-{VERSION}-{steps}-{shard.fingerprint}"
    with contextlib.suppress(OSError, ValueError):
        return _Rows.load(folder)
    Shard.load(shard.folder, shard.vocab, verify=True)
    rows = _Rows.of(shard.index, steps)
    with contextlib.suppress(OSError):                                  # a read-only folder costs time, nothing else
        rows.save(folder)
        return _Rows.load(folder)                                       # which takes no memory
    return rows
