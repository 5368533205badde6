"""Sums of losses by task and by modality of the target."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from omni.model.transformer import Losses
from omni.train.data.loader import Dataset
from omni.vocab import Vocabulary

SPANS = ("control", "text", "audio", "image")                           # of Vocabulary.spans, in id order


class Tally:
    """Loss sums and counts, [tasks + spans, 2]. Every trained step counts once for its task and once for its span."""

    def __init__(self, tasks: Sequence[str], vocab: Vocabulary) -> None:
        self.tasks = tuple(tasks)
        self.stops = torch.tensor([vocab[name].stop for name in SPANS])
        self.sums = torch.zeros(len(tasks) + len(SPANS), 2, dtype=torch.float64)

    def add(self, losses: Losses, task_of_row: np.ndarray) -> None:
        """Add a batch whose rows belong to `task_of_row` [rows]."""
        each, row = losses.each.detach().double().cpu(), losses.row.cpu()
        task = torch.from_numpy(np.asarray(task_of_row))[row]           # [trained]
        span = torch.bucketize(losses.target.cpu(), self.stops, right=True) + len(self.tasks)
        for group in (task, span):
            self.sums[:, 0].index_add_(0, group, each)
            self.sums[:, 1].index_add_(0, group, torch.ones_like(each))

    @property
    def trained(self) -> float:
        """Trained steps counted."""
        return float(self.sums[: len(self.tasks), 1].sum())

    @property
    def mean(self) -> float:
        """Loss of a trained step in nats; nan when there was none."""
        total, count = self.sums[: len(self.tasks)].sum(dim=0).tolist()
        return total / count if count else float("nan")

    def by_task(self) -> dict[str, float]:
        return self._means(self.tasks, self.sums[: len(self.tasks)])

    def by_modality(self) -> dict[str, float]:
        return self._means(SPANS, self.sums[len(self.tasks) :])

    @staticmethod
    def _means(names: Sequence[str], sums: Tensor) -> dict[str, float]:
        rows = zip(names, sums.tolist(), strict=True)
        return {name: total / count for name, (total, count) in rows if count}


def unigram_entropies(data: Dataset) -> dict[str, float]:
    """Entropy of each task's targets in nats a trained step: the loss of guessing by frequency alone.

    The frequencies are those of the targets themselves, so no unigram model does better. Channels beyond the first
    count where they hold audio, as they do in the loss.
    """
    audio = data.vocab["audio"]
    counts: dict[str, np.ndarray] = {}
    for part in data.parts:
        found = part.shard.target_counts()                              # [channels, vocab]
        found[1:, : audio.start], found[1:, audio.stop :] = 0, 0
        counts[part.shard.task] = counts.get(part.shard.task, 0) + found
    return {task: _entropy(found) for task, found in counts.items() if found.any()}


def _entropy(counts: np.ndarray) -> float:
    """counts: [channels, vocab]; nats for each count of the first channel."""
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    bits = -np.sum(share * np.log(np.where(share > 0, share, 1)), axis=1)
    return float((bits * total[:, 0]).sum() / total[0, 0])
