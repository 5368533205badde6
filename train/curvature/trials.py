"""Short trials of a recipe, again and again from the same weights on the same few batches."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from omni.train.engine import Trainer
from omni.train.faults.guard import Guard
from omni.train.multitask.running import TaskWeights
from omni.train.recipe import CheckpointRecipe, MonitorRecipe, Recipe, ScheduleRecipe
from omni.train.stages import Stages
from omni.train.state.fragments import forget

BATCHES = 4                                                             # of a trial, which come again and again
WORSE = 0.5                                                             # of the loss untrained, above it: failed


@dataclass(frozen=True)
class Trial:
    """A few steps at a rate, from the first weights. warmup: steps until it is reached; losses: before every step;
    untrained: of the first weights on each batch, since batches of a mixture differ by more than a few steps teach.
    """

    lr: float
    warmup: int
    losses: Sequence[float]
    untrained: Sequence[float]

    @property
    def excess(self) -> list[float]:
        """The loss of every step above that of the first weights on its batch, in nats."""
        return [loss - self.untrained[step % len(self.untrained)] for step, loss in enumerate(self.losses)]

    @property
    def gain(self) -> float:
        """How much lower than untrained the loss is the last time that the batches come, in nats."""
        return -statistics.fmean(self.excess[-len(self.untrained) :])

    @property
    def failed(self) -> int | None:
        """The step, from 1, at which the loss was no number or far above that of the first weights, if any was."""
        most = WORSE * statistics.fmean(self.untrained)
        return next((step for step, one in enumerate(self.excess, start=1) if not one <= most), None)

    @property
    def stable(self) -> bool:
        """Whether it learnt its batches, and was never far worse than untrained on the way."""
        return self.failed is None and self.gain > 0


class Trials:
    """One model, optimizer and set of batches, on one process, for all trials of a recipe."""

    def __init__(self, recipe: Recipe, steps: int, folder: Path, told: Callable[[int], object]) -> None:
        """steps: of a trial; folder: scratch; told: hears of every step

        Raises InputError where the recipe cannot run.
        """
        self.steps, self.told = steps, told
        quiet = {"valid": [], "stages": [], "checkpoint": CheckpointRecipe(minutes=0), "monitor": MonitorRecipe()}
        if recipe.stages:                                               # a trial is the beginning of the first
            quiet["mixture"] = recipe.stages[0].mixture
        alone = replace(recipe, zero=0, compile=False, schedule=ScheduleRecipe("constant", steps, 0), **quiet)  # type: ignore[arg-type]
        self.recipe, self.trainer = alone, Trainer(alone, folder)
        self.parameters = list(self.trainer.engine.module.parameters())
        self.first = [parameter.detach().clone() for parameter in self.parameters]
        loader, rows = self.trainer.loader(), recipe.batch.rows
        self.batches = [loader.batch(number * rows) for number in range(min(BATCHES, steps))]
        self.untrained = self._untrained()

    def run(self, lr: float, warmup: int) -> Trial:
        """A trial, which ends where it has failed; its last weights and optimizer stay until the next."""
        trainer, trial = self.trainer, Trial(lr, warmup, [], self.untrained)
        self._begin(lr, warmup)
        for step in range(self.steps):
            at = step % len(self.batches)
            tally = trainer.new_tally()
            trainer.step, trainer.cursor = step, at * trainer.share.rows
            trainer.optimize(self.batches[at], tally)
            trial = replace(trial, losses=[*trial.losses, tally.mean])
            self.told(1)
            if trial.failed:
                break
        return trial

    def _begin(self, lr: float, warmup: int) -> None:
        trainer = self.trainer
        schedule = ScheduleRecipe("constant", self.steps, warmup)
        trainer.recipe = replace(self.recipe, schedule=schedule, optimizer=replace(self.recipe.optimizer, lr=lr))
        trainer.stages = Stages.of(trainer.recipe, trainer.data)
        trainer.guard = Guard(0.0, self.steps)
        trainer.weigher = TaskWeights.of(trainer.recipe, trainer.data.rows, trainer.engine)
        with torch.no_grad():
            for parameter, first in zip(self.parameters, self.first, strict=True):
                parameter.copy_(first)
        forget(trainer.engine, trainer.optimizer, 0)

    def _untrained(self) -> list[float]:
        found = []
        with torch.no_grad():
            for batch in self.batches:
                tally = self.trainer.new_tally()
                for _ in self.trainer.losses(batch, tally):             # notes them
                    pass
                found.append(tally.mean)
        return found
