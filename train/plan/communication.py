"""Bytes that one accelerator sends in an optimizer step, and how long its links take."""

from dataclasses import dataclass

from omni.model.config import ModelConfig
from omni.train.plan.hardware import Hardware
from omni.train.plan.memory import bytes_of
from omni.train.plan.share import held
from omni.train.recipe import Recipe


@dataclass(frozen=True)
class Communication:
    """Bytes sent by one accelerator in one optimizer step, by purpose, and seconds for all of them."""

    gradients: float
    weights: float
    sequence: float
    tensor: float
    seconds: float

    @property
    def total(self) -> float:
        return self.gradients + self.weights + self.sequence + self.tensor


def communication(config: ModelConfig, recipe: Recipe, world: int, accumulation: int, gear: Hardware) -> Communication:
    """What a step sends.

    Stages 0 to 2 move each gradient and each weight once in a ring, 2 P; stage 3 gathers weights for forward and for
    backward as well, 3 P (Rajbhandari et al. 2020, section 7). DeepSpeed reduces in every micro-batch from stage 2 on,
    and stage 3 gathers in every one. Ulysses exchanges queries, keys, values and the mixed values both ways (Jacobs et
    al. 2023). Processes that share blocks sum the steps' states twice a block and direction (Shoeybi et al. 2019);
    what is computed again stops before the second sum.
    """
    sequence, tensor = recipe.parallel.sequence, recipe.parallel.tensor
    copies = world // tensor
    half = bytes_of(recipe) * sum(held(config, tensor).values()) * (copies - 1) / copies
    gradients = half * (accumulation if recipe.zero >= 2 else 1)
    weights = half * (2 * accumulation if recipe.zero == 3 else 1)      # stage 0: the second half of an all-reduce
    again = 1.5 if recipe.activation_checkpointing else 1.0             # forward, backward and forward once more
    wide = 2 if recipe.precision == "bf16" else 4
    state = accumulation * recipe.batch.micro * recipe.sequence_length / sequence * wide * config.d_model
    kv = config.n_kv_heads / config.n_heads
    exchanged = 2 * again * config.n_layers * state * (2 + 2 * kv) * (sequence - 1) / sequence
    sums = 5 if recipe.activation_checkpointing else 4
    summed = config.n_layers * sums * state * 2 * (tensor - 1) / tensor  # a ring's all-reduce
    seconds = (gradients + weights) / gear.link(world) + exchanged / gear.link(sequence) + summed / gear.link(tensor)
    return Communication(gradients, weights, exchanged, summed, seconds)
