"""What a run is given: the rows, the schedule, and the state they make together, as the recipe says."""

from collections.abc import Sequence

from omni.train.checkpoint import State
from omni.train.data.loader import Dataset
from omni.train.recipe import Recipe
from omni.train.schedule import Schedule


def load_data(recipe: Recipe) -> Dataset:
    """The training rows of a recipe."""
    everything = recipe.train_on == "everything"
    return Dataset.load(recipe.data, recipe.sequence_length, recipe.too_long, everything=everything)


def load_valid(recipe: Recipe, data: Dataset) -> Dataset | None:
    """The validation rows of a recipe, or None where it has none. Too long sequences are left out."""
    if not recipe.valid:
        return None
    return Dataset.load(recipe.valid, recipe.sequence_length, "drop", data.vocab)


def schedule_of(recipe: Recipe) -> Schedule:
    plan = recipe.schedule
    return Schedule(plan.kind, plan.steps, plan.warmup, plan.decay, plan.final)


def state_of(
    recipe: Recipe,
    data: Dataset,
    world: int,
    step: int = 0,
    cursor: int = 0,
    optimizer_steps: float = 0.0,
    guard: Sequence[float] = (0.0, 0.0),
) -> State:
    return State(
        step, cursor, world, optimizer_steps, list(guard), recipe.as_dict(), data.fingerprint, data.vocab.hash
    )
