"""The stages of a run: which rows come when, at what rate, and where the optimizer begins anew."""

from dataclasses import dataclass

from omni.train.data.loader import Dataset
from omni.train.data.order import Staged, quotas
from omni.train.recipe import Recipe, StageRecipe
from omni.train.schedule import Schedule


@dataclass(frozen=True)
class Stages:
    """Pure functions of row and step.

    order: of the rows; steps: of the whole run; schedules: (first step, schedule) wherever one begins;
    resets: steps before which the optimizer forgets; turns: steps at which layers become one-bit
    """

    order: Staged
    steps: int
    schedules: tuple[tuple[int, Schedule], ...]
    resets: frozenset[int]
    turns: frozenset[int] = frozenset()

    @classmethod
    def of(cls, recipe: Recipe, data: Dataset) -> "Stages":
        """Raises InputError for a mixture that names an unknown task, or a bad schedule."""
        stages = recipe.stages or [StageRecipe(recipe.schedule.steps, recipe.mixture)]
        lengths = [stage.steps * recipe.batch.rows for stage in stages]
        mixed = [
            quotas(data.rows, stage.mixture.temperature, stage.mixture.weights, stage.mixture.max_epochs, length)
            for stage, length in zip(stages, lengths, strict=True)
        ]
        order = Staged.of(list(data.rows.values()), list(zip(lengths, mixed, strict=True)), recipe.seed)
        firsts = [sum(stage.steps for stage in stages[:number]) for number in range(len(stages))]
        begun = zip(firsts, stages, strict=True)
        resets = frozenset(first for first, stage in begun if first and stage.optimizer == "reset")
        turns = frozenset({*recipe.binary.weights.values(), *recipe.binary.inputs.values()} - {0})
        return cls(order, sum(stage.steps for stage in stages), _schedules(recipe, stages, firsts), resets, turns)

    def factor(self, step: int) -> float:
        """Share of the peak rate for optimizer step `step`, counted from 0."""
        first, schedule = next((first, plan) for first, plan in reversed(self.schedules) if first <= step)
        return schedule.factor(step - first)

    def since(self, step: int) -> int:
        """How many of the first `step` steps, 1 or more, were taken since the optimizer or its rate last began anew."""
        begins = {0, *self.resets, *(first for first, _ in self.schedules)}
        return step - max(first for first in begins if first < step)

    def kind(self, row: int, step: int) -> int:
        """A number that changes where losses are not to be compared: with the mixture, and as layers become one-bit."""
        return self.order.stage(row) + sum(turn <= step for turn in self.turns)


def _schedules(recipe: Recipe, stages: list[StageRecipe], firsts: list[int]) -> tuple[tuple[int, Schedule], ...]:
    """One from the start, and one from every stage that restarts it, each as long as it lasts."""
    plan, total = recipe.schedule, sum(stage.steps for stage in stages)
    begins = [first for first, stage in zip(firsts, stages, strict=True) if first == 0 or stage.schedule == "restart"]
    ends = [*begins[1:], total]
    return tuple(
        (first, Schedule(plan.kind, end - first, plan.warmup, plan.decay, plan.final))
        for first, end in zip(begins, ends, strict=True)
    )
