"""How fast a run can be, by the roofline model (Williams et al. 2009): its slowest resource decides."""

from dataclasses import dataclass, replace

from omni.model.config import ModelConfig
from omni.model.tensor_parallel import check_divides
from omni.train.data.loader import Share
from omni.train.plan.activations import activations
from omni.train.plan.communication import Communication, communication
from omni.train.plan.hardware import Hardware
from omni.train.plan.memory import Memory, bytes_of, memory, moments, taught_by
from omni.train.plan.share import held
from omni.train.recipe import Recipe


@dataclass(frozen=True)
class Throughput:
    """Seconds of an optimizer step that each resource takes, and what they leave. tokens: in a global batch."""

    tokens: int
    flops: float
    compute: float
    traffic: float
    communication: float

    @property
    def seconds(self) -> float:
        """Communication hidden behind computing."""
        return max(self.compute, self.traffic, self.communication)

    @property
    def seconds_apart(self) -> float:
        """Communication not hidden at all."""
        return max(self.compute, self.traffic) + self.communication

    @property
    def bound(self) -> str:
        times = {"compute": self.compute, "memory": self.traffic, "communication": self.communication}
        return max(times, key=lambda name: times[name])


@dataclass(frozen=True)
class Plan:
    """A recipe on so many accelerators."""

    config: ModelConfig
    recipe: Recipe
    gear: Hardware
    world: int
    memory: Memory
    communication: Communication
    throughput: Throughput

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.gear.usable

    @property
    def checkpoint(self) -> float:
        """Bytes of all that resuming needs: fp32 weights and the optimizer's moments."""
        parts = self.config.parameters()
        return 4.0 * sum(parts.values()) + moments(self.config, parts, self.recipe)

    @property
    def weights(self) -> float:
        """Bytes of the model as it is exported."""
        return float(bytes_of(self.recipe) * sum(self.config.parameters().values()))


def plan_run(config: ModelConfig, recipe: Recipe, gear: Hardware, world: int) -> Plan:
    """Memory, communication and speed. `config` has its vocabulary. Raises InputError where the batch or the degrees of
    parallelism do not divide."""
    check_divides(recipe.parallel.tensor, config)
    copies = recipe.parallel.copies(world)
    accumulation = Share(recipe.batch.rows, recipe.batch.micro, 0, copies).accumulation
    needs = memory(config, recipe, world, "cpu" if gear.name == "cpu" else "gpu")
    sent = communication(config, recipe, world, accumulation, gear)
    return Plan(config, recipe, gear, world, needs, sent, _throughput(config, recipe, gear, world, needs, sent))


def _throughput(
    config: ModelConfig, recipe: Recipe, gear: Hardware, world: int, needs: Memory, sent: Communication
) -> Throughput:
    """Computing again what checkpointing dropped costs a third more (Korthikanti et al. 2022).

    Processes that share blocks all compute the whole output.
    """
    again = 4 / 3 if recipe.activation_checkpointing else 1.0
    tokens = recipe.batch.rows * recipe.sequence_length
    flops = tokens * config.flops_per_step(recipe.sequence_length)
    tensor, parts = recipe.parallel.tensor, held(config, recipe.parallel.tensor)
    outputs = config.vocab_size * config.d_model + parts["channel_heads"]
    computed = flops + tokens * 6.0 * outputs * (tensor - 1)
    teacher = taught_by(recipe)
    taught = 0.0 if teacher is None else tokens * teacher.flops_per_step(recipe.sequence_length) / 3  # forward alone
    compute = (again * computed + taught) / (world * gear.achievable * gear.flops)
    accumulation = recipe.batch.rows // (recipe.batch.micro * recipe.parallel.copies(world))
    whole = (2 if recipe.precision == "bf16" else 4) * sum(parts.values())  # read forward and backward in a micro-batch
    steps = recipe.batch.micro * recipe.sequence_length // recipe.parallel.sequence
    saved, _ = activations(config, replace(recipe, activation_checkpointing=False), steps, "gpu")
    moved = accumulation * again * (2 * whole + 2 * saved)
    moved += 2 * (needs.gradients + needs.masters + needs.optimizer)    # read and written once by the optimizer
    return Throughput(tokens, flops, compute, moved / gear.bandwidth, sent.seconds)
