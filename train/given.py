"""What a run is given: its rows, its share of them, and the state that they make, as the recipe says."""

from collections.abc import Sequence

from omni.train.checkpoint import State
from omni.train.data.loader import Dataset, Share
from omni.train.recipe import Recipe


def load_data(recipe: Recipe) -> Dataset:
    """The training rows of a recipe."""
    everything = recipe.train_on == "everything"
    return Dataset.load(recipe.data, recipe.sequence_length, recipe.too_long, everything=everything)


def load_valid(recipe: Recipe, data: Dataset) -> Dataset | None:
    """The validation rows of a recipe, or None where it has none. Too long sequences are left out."""
    if not recipe.valid:
        return None
    return Dataset.load(recipe.valid, recipe.sequence_length, "drop", data.vocab)


def share_of(recipe: Recipe, rank: int, world: int) -> Share:
    """The part of each global batch that a process computes; those that share the steps of a row have equal ones.

    Raises InputError when processes do not divide into such groups.
    """
    return Share(recipe.batch.rows, recipe.batch.micro, rank // recipe.parallel.sequence, recipe.copies(world))


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
