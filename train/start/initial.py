"""The shape that a run begins with: the recipe's, or that of a model that is there already."""

from dataclasses import asdict, replace

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.shape import load_shape
from omni.model.tensor_parallel import check_divides
from omni.train.recipe import Recipe
from omni.train.tuning.distil import check_teacher
from omni.vocab import Vocabulary

# No tensor's shape depends on these.
FREE = ("max_steps", "rope_theta", "z_loss", "text_weight", "prefix", "weight_bits", "activation_bits")


def shape_of(recipe: Recipe, vocab: Vocabulary) -> ModelConfig:
    """The recipe's shape over the ids of the data; with `init` that of the model there, changed where it can be.

    Raises InputError where that model has another vocabulary, or another shape is asked of it.
    """
    shape = recipe.model.config(vocab) if recipe.beginning is None else _changed(recipe, recipe.beginning, vocab)
    recipe.check_prefix(shape.prefix)                                   # the model of init may have one
    check_divides(recipe.parallel.tensor, shape)
    check_teacher(recipe, shape, vocab)
    if recipe.lora.rank and shape.weight_bits == 1:
        raise InputError("lora: adapters are merged into floats, not into one-bit matrices; train those whole")
    return shape


def _changed(recipe: Recipe, init: str, vocab: Vocabulary) -> ModelConfig:
    shape, theirs = load_shape(init)
    vocab.check_same(theirs, "the data", f"init: {init}")
    changes = {name: value for name, value in asdict(recipe.model).items() if name != "preset" and value is not None}
    for name, value in changes.items():
        if name not in FREE and value != getattr(shape, name):
            raise InputError(
                f"model.{name}: the model of init has {getattr(shape, name)}, not {value};"
                f" leave the key out, only {', '.join(FREE)} may change"
            )
    others = [name for name, value in changes.items() if value != getattr(shape, name)]
    shape = replace(shape, **changes)
    if recipe.dpo.beta and shape.prefix:
        raise InputError("dpo: works with causal models; this one's prompts see themselves whole (model.prefix)")
    if recipe.dpo.beta and others:
        raise InputError(f"model.{others[0]}: dpo compares with the model of init as it is; leave the key out")
    return shape
