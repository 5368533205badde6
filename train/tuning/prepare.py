"""What of a model is trained, as the recipe says: adapters put in, parts frozen."""

import hashlib
from pathlib import Path

import torch

from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.train.recipe import Recipe
from omni.train.tuning.adapters import add_adapters
from omni.train.tuning.binary import check_layers, check_steps
from omni.train.tuning.groups import chosen, freeze, rates


def prepare(model: OmniTransformer, recipe: Recipe) -> OmniTransformer:
    """Put adapters in and freeze parts, in place. Raises InputError for a pattern that names nothing."""
    if recipe.lora.rank:
        add_adapters(model, recipe.lora)
        parameters = dict(model.named_parameters())
        for name in chosen(recipe.lora.also, parameters, "lora.also"):
            parameters[name].requires_grad_(True)
    freeze(model, recipe.freeze)
    check_layers(model, recipe.binary)
    return model


def check_names(recipe: Recipe, config: ModelConfig) -> None:
    """Raise InputError for a pattern of the recipe that names nothing, before any weight is made."""
    check_steps(recipe)
    with torch.device("meta"):
        rates(prepare(OmniTransformer(config), recipe), recipe.optimizer.groups)


def identity(folder: Path | str) -> str:
    """Hash of a model folder's files, 16 hex digits, wherever it lies."""
    return hashlib.sha256((Path(folder) / "checksums.json").read_bytes()).hexdigest()[:16]
