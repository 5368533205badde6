"""The model that a run learns from beside its data, as the recipe names it."""

import torch

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.folder import load_model
from omni.model.shape import load_shape
from omni.model.teacher import Teacher
from omni.train.recipe import Recipe
from omni.vocab import Vocabulary


def check_teacher(recipe: Recipe, config: ModelConfig, vocab: Vocabulary) -> None:
    """Raise InputError for a teacher of other ids or shorter rows, and for models whose steps have several ids."""
    if recipe.teacher is None:
        return
    shape, theirs = load_shape(recipe.teacher)
    vocab.check_same(theirs, "the data", f"distill.teacher: {recipe.teacher}")
    if config.channels > 1:
        raise InputError(f"distill: teaches the one id of a step, not {config.channels}; use tokens of layout flat")
    if shape.max_steps < recipe.sequence_length:
        raise InputError(f"distill.teacher: has {shape.max_steps} steps, fewer than sequence_length; lower that")


def teacher_of(recipe: Recipe, device: torch.device, kind: torch.dtype) -> Teacher | None:
    """The teacher with weights of this kind; None where the recipe has none."""
    if recipe.teacher is None:
        return None
    model, _ = load_model(recipe.teacher, device)
    for parameter in model.requires_grad_(False).parameters():
        parameter.data = parameter.data.to(kind)
    return Teacher(model, recipe.distill.weight)
