"""The gradients of the tasks in a run's batch, computed past DeepSpeed and summed over the processes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omni.model.transformer import Batch
from omni.train.data.loader import GlobalBatch
from omni.train.multitask.gradients import MOST, divided


class Gradients:
    """Of the mean loss of each task in a global batch, a group of parameters at a time: alike in all processes.

    A group costs a pass over the batch, and has at most MOST numbers of all tasks together.
    """

    def __init__(self, engine: Any, batch: GlobalBatch, counts: Tensor, total: Callable[[Tensor], Tensor]) -> None:
        """engine: of DeepSpeed around the model; counts: trained steps of every task in all processes
        total: the sum over processes
        """
        self.engine, self.batch, self.counts, self.total = engine, batch, counts, total
        self.here = [int(task) for task in counts.nonzero().flatten()]

    @property
    def parameters(self) -> list[Tensor]:
        """All that are trained."""
        return [one for one in self.engine.module.parameters() if one.requires_grad]

    @property
    def last(self) -> list[Tensor]:
        """Those of the last block that is trained; all, where none is."""
        for block in reversed(self.engine.module.model.blocks):
            if found := [one for one in block.parameters() if one.requires_grad]:
                return found
        return self.parameters

    def rows(self, parameters: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Groups of the parameters, and the tasks' gradients by them: [here, numbers]. Every process goes through."""
        for group in divided(parameters, MOST // len(self.here)):
            yield group, self._by(group)

    def products(self, parameters: Sequence[Tensor]) -> Tensor:
        """Of the gradients with each other: [here, here]."""
        return torch.stack([(rows @ rows.T).cpu() for _, rows in self.rows(parameters)]).sum(dim=0)

    def _by(self, group: Sequence[Tensor]) -> Tensor:
        numbers, kind = sum(one.numel() for one in group), torch.promote_types(group[0].dtype, torch.float32)
        found = torch.zeros(len(self.here), numbers, dtype=kind, device=group[0].device)
        for row, task in zip(found, self.here, strict=True):
            places = row.split([one.numel() for one in group])
            for loss in self._losses(task):
                for place, part in zip(places, torch.autograd.grad(loss, group, materialize_grads=True), strict=True):
                    place += part.flatten()
            row.copy_(self.total(row))
        return found

    def _losses(self, task: int) -> Iterator[Tensor]:
        """Parts of the task's mean loss, one of each micro-batch that has it."""
        for micro, tasks in zip(self.batch.micro, self.batch.tasks, strict=True):
            index = torch.from_numpy(np.flatnonzero(tasks == task))
            if len(index):
                part = taken(micro, index).to(self.engine.device)
                summed: Tensor = self.engine.module(part.ids, part.loss, part.document, part.prefix)[0]
                yield summed / float(self.counts[task])


def taken(batch: Batch, rows: Tensor) -> Batch:
    """Some rows of a batch."""
    return Batch(batch.ids[rows], batch.loss[rows], batch.document[rows], batch.prefix[rows])
