"""What a run is given: its rows, its share of them, and the state that they make, as the recipe says."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from omni.errors import InputError
from omni.train.data.loader import Dataset, Share
from omni.train.data.shards import find_shards
from omni.train.recipe import Recipe
from omni.train.state.checkpoint import State
from omni.train.tuning.prepare import identity
from omni.train.tuning.recipe import PREFERENCES

SPLITS = frozenset({"train", "valid", "test"})


def load_data(recipe: Recipe) -> Dataset:
    """The training rows of a recipe. Raises InputError for a folder in which held-out ones are among them."""
    for folder in recipe.data:
        below = {part for shard in find_shards([folder]) for part in shard.relative_to(folder).parts[:-1]}
        if len(mixed := sorted(below & SPLITS)) > 1:
            raise InputError(f"data: {folder} holds the splits {', '.join(mixed)}; name the folder of one of them")
    everything = recipe.train_on == "everything"
    data = Dataset.load(recipe.data, recipe.sequence_length, recipe.too_long, everything=everything)
    return _of_its_kind(data, recipe)


def load_valid(recipe: Recipe, data: Dataset) -> Dataset | None:
    """The validation rows of a recipe, or None where it has none. Too long sequences are left out."""
    if not recipe.valid:
        return None
    return _of_its_kind(Dataset.load(recipe.valid, recipe.sequence_length, "drop", data.vocab), recipe)


def trained_on(data: Dataset, valid: Dataset) -> list[Path]:
    """The validation shards whose rows are among the training ones, as themselves or as a copy."""
    known = {part.shard.fingerprint for part in data.parts}
    return [part.shard.folder for part in valid.parts if part.shard.fingerprint in known]


def _of_its_kind(data: Dataset, recipe: Recipe) -> Dataset:
    """The data, unless they are pairs where the recipe wants none, or none where it wants pairs."""
    if recipe.dpo.beta and data.tasks != (PREFERENCES,):
        raise InputError(f"dpo: the data must be pairs, made by `omni data pairs`, not {', '.join(data.tasks)}")
    if not recipe.dpo.beta and PREFERENCES in data.tasks:
        raise InputError("data: among them are preference pairs, half of which are bad examples; set dpo.beta")
    return data


def share_of(recipe: Recipe, rank: int, world: int) -> Share:
    """The part of each global batch that a process computes; those that share rows or blocks have equal ones.

    Raises InputError when processes do not divide into such groups.
    """
    return Share(recipe.batch.rows, recipe.batch.micro, rank // recipe.parallel.size, recipe.parallel.copies(world))


def state_of(
    recipe: Recipe,
    data: Dataset,
    world: int,
    step: int = 0,
    cursor: int = 0,
    optimizer_steps: float = 0.0,
    guard: Sequence[float] = (0.0, 0.0),
    multitask: Mapping[str, list[float]] | None = None,
) -> State:
    values = recipe.as_dict()
    if recipe.beginning is not None:                                    # which model, wherever it lies
        values["init"] = identity(recipe.beginning)
    if recipe.teacher is not None:
        values["distill"]["teacher"] = identity(recipe.teacher)
    fingerprints = data.fingerprint, data.vocab.hash
    return State(step, cursor, world, optimizer_steps, list(guard), values, *fingerprints, dict(multitask or {}))


def tokenizers_of(recipe: Recipe) -> Path | None:
    """The tokenizers that go with the model: those the recipe names, or those of the model it starts from."""
    if recipe.tokenizers is not None:
        return Path(recipe.tokenizers)
    inherited = None if recipe.beginning is None else Path(recipe.beginning) / "tokenizers"
    return inherited if inherited is not None and inherited.is_dir() else None
