"""Validation loss: the same rows every time, divided among the ranks."""

from collections.abc import Callable, Sequence

import numpy as np

from omni.model.transformer import Batch, Losses
from omni.train.data.loader import Dataset
from omni.train.data.pack import batch_of
from omni.train.monitor.tally import Tally


def chosen_rows(data: Dataset, most: int) -> list[tuple[int, int]]:
    """(task, row) of at most `most` rows of each task, evenly spread."""
    chosen = []
    for task, rows in enumerate(data.rows.values()):
        take = min(most, rows)
        chosen += [(task, int(row)) for row in np.linspace(0, rows - 1, take).astype(int)]
    return chosen


def validate(
    forward: Callable[[Batch], Losses],
    data: Dataset,
    rows: Sequence[tuple[int, int]],
    micro: int,
    rank: int,
    world: int,
) -> Tally:
    """This rank's part of the losses over `rows`; their sum over ranks is that of all rows.

    All ranks call `forward` equally often, since a divided model (ZeRO 3) is gathered by all at once.
    """
    tally = Tally(data.tasks, data.vocab)
    for start in range(0, len(rows), micro * world):
        mine = rows[start + rank * micro : min(start + (rank + 1) * micro, len(rows))]
        batch = batch_of(data.find(*row) for row in mine or rows[:1])
        losses = forward(batch)
        if mine:
            tally.add(losses, np.array([task for task, _ in mine]))
    return tally
