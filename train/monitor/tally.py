"""Sums of losses by task and by modality of the target."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from omni.model.transformer import Losses
from omni.train.data.loader import Dataset
from omni.vocab import Vocabulary

SMOOTHING = (1.0, 0.3, 0.1, 0.03, 0.01)                                 # counts added to every id
SPANS = ("control", "text", "audio", "image")                           # of Vocabulary.spans, in id order
LETTERS = "letters"                                                     # that speech must spell (omni.model.reading)


class Tally:
    """Loss sums and counts, [tasks + spans + 1, 2]: every trained step counts once for its task and once for its span,
    letters that speech must spell for themselves."""

    def __init__(self, tasks: Sequence[str], vocab: Vocabulary) -> None:
        self.tasks = tuple(tasks)
        self.stops = torch.tensor([vocab[name].stop for name in SPANS])
        self.sums = torch.zeros(len(tasks) + len(SPANS) + 1, 2, dtype=torch.float64)

    def add(self, losses: Losses, task_of_row: np.ndarray) -> None:
        """Add a batch whose rows belong to `task_of_row` [rows]."""
        each, row = losses.each.detach().double().cpu(), losses.row.cpu()
        task = torch.from_numpy(np.asarray(task_of_row))[row]           # [trained]
        span = torch.bucketize(losses.target.cpu().contiguous(), self.stops, right=True) + len(self.tasks)
        for group in (task, span):
            self.sums[:, 0].index_add_(0, group, each)
            self.sums[:, 1].index_add_(0, group, torch.ones_like(each))
        self.sums[-1] += losses.spelt.cpu()

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
        return self._means((*SPANS, LETTERS), self.sums[len(self.tasks) :])

    @staticmethod
    def _means(names: Sequence[str], sums: Tensor) -> dict[str, float]:
        rows = zip(names, sums.tolist(), strict=True)
        return {name: total / count for name, (total, count) in rows if count}


def unigram_losses(data: Dataset, valid: Dataset) -> dict[str, float]:
    """Loss of guessing every target of a validation task by its frequency in training, in nats a trained step.

    Frequencies are smoothed by the additive constant that serves the task best. (The entropy of the validation targets
    themselves would be lower the fewer there are, whatever the task: a few hundred targets know each other by heart.)
    """
    known, asked = _targets(data), _targets(valid)
    return {task: _cross_entropy(known[task], counts) for task, counts in asked.items() if task in known}


def _targets(data: Dataset) -> dict[str, np.ndarray]:
    """Counts [channels, vocab] of each task's targets. Channels beyond the first count where they hold audio."""
    audio = data.vocab["audio"]
    found: dict[str, np.ndarray] = {}
    for part in data.parts:
        counts = part.shard.targets.copy()
        counts[1:, : audio.start], counts[1:, audio.stop :] = 0, 0
        found[part.shard.task] = found.get(part.shard.task, 0) + counts
    return {task: counts for task, counts in found.items() if counts.any()}


def _cross_entropy(known: np.ndarray, asked: np.ndarray) -> float:
    """known, asked: [channels, vocab] counts; nats for each count of the first channel of `asked`."""
    losses = []
    for constant in SMOOTHING:
        smooth = known + constant
        share = smooth / smooth.sum(axis=1, keepdims=True)
        losses.append(float(-(asked * np.log(share)).sum() / asked[0].sum()))
    return min(losses)
