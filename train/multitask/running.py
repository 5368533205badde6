"""Multi-task optimizers in a run: weights of the tasks' mean losses, alike in all processes, for every global batch.

The gradients that a rule looks at are computed past DeepSpeed, task by task, and summed over the processes; what
DeepSpeed sees is the weighted loss. So they cost a pass over the batch beside that of training, more where memory does
not hold the gradients of all tasks at once, and go with any optimizer and ZeRO 0 to 2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omni.errors import InputError
from omni.model.transformer import Batch, Losses
from omni.train.curvature.running import total
from omni.train.data.loader import GlobalBatch
from omni.train.multitask.gradients import Gramian, checked, divided
from omni.train.multitask.losses import dirichlet, temperature_weights
from omni.train.multitask.methods import method
from omni.train.recipe import MultitaskRecipe, Recipe

Forward = Callable[[Batch], Losses]
DRAWS: dict[str, Callable[[int], Tensor]] = {                           # weights by chance (Lin et al. 2022)
    "rlw-normal": lambda count: torch.randn(count).softmax(dim=0),
    "rlw-dirichlet": dirichlet,
}


class TaskWeights:
    """Weights of the tasks of a run by the recipe's rule; they add up to one over the tasks of a batch."""

    def __init__(
        self, plan: MultitaskRecipe, rows: Mapping[str, int], engine: Any, total: Callable[[Tensor], Tensor], seed: int
    ) -> None:
        """rows: of each task in the data; engine: of DeepSpeed around the model; total: the sum over processes

        Raises InputError for unknown tasks.
        """
        tasks = list(rows)
        for name in plan.weights:
            if name not in tasks:
                raise InputError(f"multitask.weights: no task {name!r}; there are {', '.join(tasks)}")
        self.tasks, self.engine, self.total, self.seed = tasks, engine, total, seed
        weights = [plan.weights.get(task, 1.0) for task in tasks]
        if plan.temperature is not None:
            weights = temperature_weights(list(rows.values()), plan.temperature)
        self.fixed, self.draw = torch.tensor(weights), DRAWS.get(plan.method)
        self.rule = method(plan.method, len(tasks)) if plan.method != "scalarization" and not self.draw else None
        self.weights = torch.ones(len(tasks))                           # of the last batch, 0 for tasks not in it
        self.scale = torch.ones(len(tasks))                             # from a sum over steps to the weighted mean

    @classmethod
    def of(cls, recipe: Recipe, rows: Mapping[str, int], engine: Any) -> "TaskWeights | None":
        """As the recipe has it; None where all steps count alike."""
        if recipe.multitask.method == "none":
            return None
        return cls(recipe.multitask, rows, engine, total, recipe.seed)

    def begin(self, batch: GlobalBatch, step: int) -> None:
        """Weigh the tasks of a global batch. Every process calls it."""
        counts = torch.zeros(len(self.tasks))
        for micro, tasks in zip(batch.micro, batch.tasks, strict=True):
            counts.index_add_(0, torch.from_numpy(tasks), trained_steps(micro).float())
        counts = self.total(counts)
        here = counts.nonzero().flatten()                               # tasks of the batch, alike everywhere
        with torch.random.fork_rng(devices=[]):                         # the rule's chance is that of the step
            torch.manual_seed(self.seed * 1_000_003 + step)
            found = self._weigh(batch, here, counts)
        self.weights = torch.zeros(len(self.tasks))
        self.weights[here] = normalised(found)
        self.scale = self.weights * batch.trained / counts.clamp(min=1)

    def losses(self, micro: Batch, tasks: np.ndarray, forward: Forward) -> Losses:
        """Of a micro-batch whose rows belong to `tasks` [rows]; in the total each task counts by its weight."""
        parts, rows = [], []
        for task in np.unique(tasks):
            index = torch.from_numpy(np.flatnonzero(tasks == task))
            part = forward(taken(micro, index))
            parts.append(replace(part, total=part.total * float(self.scale[task])))
            rows.append(index.to(part.row.device)[part.row])
        total, spelt = (torch.stack([getattr(part, name) for part in parts]).sum(dim=0) for name in ("total", "spelt"))
        each, target = (torch.cat([getattr(part, name) for part in parts]) for name in ("each", "target"))
        return Losses(total, each, torch.cat(rows), target, spelt)

    def _weigh(self, batch: GlobalBatch, here: Tensor, counts: Tensor) -> Tensor:
        if self.draw:
            return self.draw(len(here))
        if self.rule is None or len(here) < 2:
            return self.fixed[here]
        assert isinstance(self.rule, Gramian)
        parameters = [one for one in self.engine.module.parameters() if one.requires_grad]
        products = torch.zeros(len(here), len(here))
        for group in divided(parameters, self.rule.most // len(here)):
            rows = torch.stack([self._gradient(batch, int(task), float(counts[task]), group) for task in here])
            products += (rows @ rows.T).cpu()
        return self.rule.weighting(checked(products))

    def _gradient(self, batch: GlobalBatch, task: int, count: float, group: Sequence[Tensor]) -> Tensor:
        """Of the task's mean loss over all processes, by some parameters: [numbers]."""
        flat = torch.zeros(sum(one.numel() for one in group), device=group[0].device)
        for micro, tasks in zip(batch.micro, batch.tasks, strict=True):
            index = torch.from_numpy(np.flatnonzero(tasks == task))
            if len(index):
                part = taken(micro, index).to(self.engine.device)
                loss = self.engine.module(part.ids, part.loss, part.document, part.prefix)[0] / count
                found = torch.autograd.grad(loss, group, materialize_grads=True)
                flat += torch.cat([one.reshape(-1).float() for one in found])
        return self.total(flat)


def normalised(weights: Tensor) -> Tensor:
    """To a sum of one, [tasks]. Where a rule finds no weights (IMTL-G between opposite gradients), all count alike,
    since a step with none would learn nothing. Those of IMTL-G may be negative (Liu et al. 2021).
    """
    total = weights.sum()
    if bool(weights.isfinite().all()) and float(total) > 1e-12:
        return weights / total
    return torch.full_like(weights, 1 / len(weights))


def trained_steps(batch: Batch) -> Tensor:
    """Steps of each row that are trained: [rows]."""
    follows = (batch.document[:, 1:] == batch.document[:, :-1]) & (batch.document[:, 1:] > 0)
    return (batch.loss[:, 1:] & follows).sum(dim=1)


def taken(batch: Batch, rows: Tensor) -> Batch:
    """Some rows of a batch."""
    return Batch(batch.ids[rows], batch.loss[rows], batch.document[rows], batch.prefix[rows])
