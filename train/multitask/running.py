"""Multi-task optimizers in a run: weights of the tasks' mean losses, alike in all processes, for every global batch.

The gradients that a rule looks at are computed past DeepSpeed, task by task, and summed over the processes; what
DeepSpeed sees is the weighted loss. So they cost a pass over the batch beside that of training, more where memory does
not hold the gradients of all tasks at once, and go with any optimizer and ZeRO 0 to 2.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omni.errors import InputError
from omni.model.transformer import Batch, Losses
from omni.train.curvature.running import total
from omni.train.data.loader import GlobalBatch
from omni.train.multitask.by_task import Gradients, taken
from omni.train.multitask.rules import rule_of
from omni.train.multitask_recipe import MultitaskRecipe
from omni.train.recipe import Recipe

Forward = Callable[[Batch], Losses]


class TaskWeights:
    """Weights of the tasks of a run by the recipe's rule; they add up to one over the tasks of a batch.

    Around each optimizer step, `begin` before it, `losses` for each micro-batch, `end` after it. The mean losses that
    a rule learns from are those of training: they cost nothing more.
    """

    def __init__(
        self,
        plan: MultitaskRecipe,
        rows: Mapping[str, int],
        engine: Any,
        total: Callable[[Tensor], Tensor],
        seed: int,
        lr: float = 1e-3,
    ) -> None:
        """rows: of each task in the data; engine: of DeepSpeed around the model; total: the sum over processes
        lr: of the model

        Raises InputError for unknown tasks.
        """
        tasks = list(rows)
        for name in plan.weights:
            if name not in tasks:
                raise InputError(f"multitask.weights: no task {name!r}; there are {', '.join(tasks)}")
        self.tasks, self.engine, self.total, self.seed = tasks, engine, total, seed
        self.name, self.rule = plan.method, rule_of(plan, rows, lr)
        self.weights = torch.ones(len(tasks), dtype=torch.float64)      # of the last batch, 0 for tasks not in it
        self.latest = torch.full_like(self.weights, 1 / len(tasks))     # of each, in the last batch that had it
        self.scale = self.weights                                       # from a sum over steps to the weighted mean
        self.counts = torch.zeros(len(tasks))                           # trained steps in the last batch
        self.sums = torch.zeros(len(tasks), dtype=torch.float64, device=engine.device)  # this process's losses in it
        self.pull = 1.0                                                 # of the rule's own gradient, in a micro-batch

    @classmethod
    def of(cls, recipe: Recipe, rows: Mapping[str, int], engine: Any) -> "TaskWeights | None":
        """As the recipe has it; None where all steps count alike."""
        if recipe.multitask.method == "none":
            return None
        return cls(recipe.multitask, rows, engine, total, recipe.seed, recipe.optimizer.lr)

    def begin(self, batch: GlobalBatch, step: int) -> None:
        """Weigh the tasks of a global batch. Every process calls it."""
        self.counts = self._counted(batch)
        gradients = Gradients(self.engine, batch, self.counts, self.total)
        with torch.random.fork_rng(devices=[]):                         # the rule's chance is that of the step
            torch.manual_seed(self.seed * 1_000_003 + step)
            found = self.rule.weigh(gradients) if gradients.here else torch.zeros(0)
        self.weights = torch.zeros(len(self.tasks), dtype=torch.float64)
        self.weights[gradients.here] = normalised(found).double()
        self.latest[gradients.here] = self.weights[gradients.here] * self.latest[gradients.here].sum()
        self.scale = self.weights * batch.trained / self.counts.clamp(min=1)
        if self.rule.pull:                                              # the losses themselves move nothing
            self.scale = torch.zeros_like(self.scale)
            parts = len(batch.micro) * self.engine.dp_world_size * len(gradients.here)
            self.pull = batch.trained / parts
        self.sums.zero_()

    def losses(self, micro: Batch, tasks: np.ndarray, forward: Forward) -> Losses:
        """Of a micro-batch whose rows belong to `tasks` [rows]; in the total each task counts by its weight."""
        parts, rows = [], []
        for task in np.unique(tasks):
            index = torch.from_numpy(np.flatnonzero(tasks == task))
            part = forward(taken(micro, index))
            self.sums[int(task)] += part.total.detach()
            parts.append(replace(part, total=part.total * float(self.scale[task])))
            rows.append(index.to(part.row.device)[part.row])
        total, spelt = (torch.stack([getattr(part, name) for part in parts]).sum(dim=0) for name in ("total", "spelt"))
        each, target = (torch.cat([getattr(part, name) for part in parts]) for name in ("each", "target"))
        for parameter, gradient in self.rule.pull:                      # DeepSpeed is to find this gradient
            total = total + self.pull * (parameter.flatten() @ gradient.to(parameter)).to(total)
        return Losses(total, each, torch.cat(rows), target, spelt)

    def parts(self, batch: GlobalBatch, summed: Callable[[Batch], Tensor]) -> list[Callable[[], Tensor]]:
        """This process's shares of the weighted mean loss of another batch, one a micro-batch, by the weights that its
        tasks had last. Every process calls it.

        summed: the loss of some rows, summed over their trained steps
        """
        counts = self._counted(batch)
        here = counts.nonzero().flatten()
        scale = torch.zeros_like(self.latest)
        scale[here] = normalised(self.latest[here]) / counts[here]

        def share(micro: Batch, tasks: np.ndarray) -> Tensor:
            found = [(task, torch.from_numpy(np.flatnonzero(tasks == task))) for task in np.unique(tasks)]
            return torch.stack([summed(taken(micro, rows)) * float(scale[task]) for task, rows in found]).sum()

        return [partial(share, micro, tasks) for micro, tasks in zip(batch.micro, batch.tasks, strict=True)]

    def end(self, applied: bool, factor: float) -> None:
        """What the rule learns from the batch, where its step was applied. Every process calls it.

        factor: of the learning rate at this step
        """
        self.rule.pull = ()
        losses = self.total(self.sums).cpu() / self.counts.clamp(min=1)
        here = self.counts.nonzero().flatten().tolist()
        if applied and here and bool(losses.isfinite().all()):
            self.rule.learn(here, losses[here], factor)

    def shown(self) -> dict[str, float]:
        """Weights of the tasks in the last batch, by name."""
        pairs = zip(self.tasks, self.weights.tolist(), self.counts.tolist(), strict=True)
        return {task: weight for task, weight, count in pairs if count}

    def _counted(self, batch: GlobalBatch) -> Tensor:
        """Trained steps of every task in all processes."""
        counts = torch.zeros(len(self.tasks))
        for micro, tasks in zip(batch.micro, batch.tasks, strict=True):
            counts.index_add_(0, torch.from_numpy(tasks), trained_steps(micro).float())
        return self.total(counts.to(self.engine.device)).cpu()

    def memory(self) -> dict[str, list[float]]:
        """What the rule must know to go on alike, by its name."""
        return {self.name: found} if (found := self.rule.memory()) else {}

    def remember(self, memory: Mapping[str, list[float]]) -> None:
        """Be as when `memory` was asked; a rule of another name begins anew."""
        if self.name in memory:
            self.rule.remember(memory[self.name])


def normalised(weights: Tensor) -> Tensor:
    """To a sum of one, [tasks]. Where a rule finds no weights (IMTL-G between opposite gradients), all count alike,
    since a step with none would learn nothing. Those of IMTL-G may be negative (Liu et al. 2021).
    """
    total = weights.sum()
    if bool(weights.isfinite().all()) and float(total) > 1e-12:
        return weights / total
    return torch.full_like(weights, 1 / max(1, len(weights)))


def trained_steps(batch: Batch) -> Tensor:
    """Steps of each row that are trained: [rows]."""
    follows = (batch.document[:, 1:] == batch.document[:, :-1]) & (batch.document[:, 1:] > 0)
    return (batch.loss[:, 1:] & follows).sum(dim=1)
