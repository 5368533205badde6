"""Delayed binarization (Zhang et al. 2023): layers are trained as floats until it is their turn to be one-bit.

What a layer is follows from the recipe and the step alone, so a run goes on alike wherever it was stopped.
"""

from omni.errors import InputError
from omni.model.binary import one_bit_layers
from omni.model.transformer import OmniTransformer
from omni.train.recipe import Recipe
from omni.train.tuning.groups import chosen
from omni.train.tuning.recipe import BinaryRecipe


def binarize(model: OmniTransformer, plan: BinaryRecipe, step: int) -> None:
    """Have every layer be what it is in optimizer step `step`, counted from 0."""
    if not (plan.weights or plan.inputs):
        return
    layers = one_bit_layers(model)
    weights, inputs = (chosen(late, layers, f"binary.{key}") for key, late in _late(plan).items())
    for name, layer in layers.items():
        layer.binary_weight = step >= plan.weights.get(weights.get(name, ""), 0)
        layer.binary_input = model.config.activation_bits == 1 and step >= plan.inputs.get(inputs.get(name, ""), 0)


def check_layers(model: OmniTransformer, plan: BinaryRecipe) -> None:
    """Raise InputError for layers that the model does not have, or that are never one-bit."""
    layers, keys = one_bit_layers(model), {"weights": "weight_bits", "inputs": "activation_bits"}
    for key, late in _late(plan).items():
        if late and getattr(model.config, keys[key]) != 1:
            raise InputError(f"binary.{key}: the model has none that are one-bit; set model.{keys[key]}: 1")
        chosen(late, layers, f"binary.{key}")


def check_steps(recipe: Recipe) -> None:
    """Raise InputError for layers that a run would leave as floats, since the model that it saves has them one-bit."""
    steps = sum(stage.steps for stage in recipe.stages) or recipe.schedule.steps
    for key, late in _late(recipe.binary).items():
        for pattern, step in late.items():
            if step >= steps:
                raise InputError(f"binary.{key}: {pattern}: begins at step {step}, when the run of {steps} is over")


def _late(plan: BinaryRecipe) -> dict[str, dict[str, int]]:
    return {"weights": plan.weights, "inputs": plan.inputs}
