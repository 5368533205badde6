"""How a recipe divides a run among processes, and what it moves off the accelerator. Light to import."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.train.recipe import Recipe


@dataclass(frozen=True)
class OffloadRecipe:
    """Where the optimizer's state (ZeRO 1 to 3) and the weights (ZeRO 3) lie between uses (Ren et al. 2021).

    nvme: in files below `path`, a folder of each machine's own (ZeRO-Infinity, Rajbhandari et al. 2021; ZeRO 3);
    weights in bf16 alone, as which DeepSpeed 0.19 reads them back
    """

    optimizer: Literal["none", "cpu", "nvme"] = "none"
    weights: Literal["none", "cpu", "nvme"] = "none"
    path: str | None = None


@dataclass(frozen=True)
class ParallelRecipe:
    """sequence: processes that share the steps of their rows (Ulysses, Jacobs et al. 2023)
    tensor: processes that share the heads and hidden units of every block (Shoeybi et al. 2019)"""

    sequence: int = 1
    tensor: int = 1

    @property
    def size(self) -> int:
        """Processes that see the same rows."""
        return self.sequence * self.tensor

    def copies(self, world: int) -> int:
        """Groups of processes that see rows of their own. Raises InputError where they do not divide `world`, or there
        are none."""
        if world < 1:
            raise InputError(f"--nproc: must be at least 1, got {world}")
        if world % self.size:
            key = "tensor" if self.tensor > 1 else "sequence"
            raise InputError(f"parallel.{key}: {world} processes cannot be divided into groups of {self.size}")
        return world // self.size


def check_parallel(recipe: "Recipe") -> None:
    """Raises InputError where parts of the recipe do not go together."""
    if recipe.offload.optimizer != "none" and not recipe.zero:
        raise InputError("offload.optimizer: works with zero 1, 2 and 3, not with 0; change one of them")
    if recipe.offload.weights != "none" and recipe.zero != 3:
        raise InputError(f"offload.weights: works with zero 3, not with {recipe.zero}; change one of them")
    if recipe.offload.optimizer == "nvme" and recipe.zero != 3:
        raise InputError(f"offload.optimizer: nvme works with zero 3, not with {recipe.zero}; change one of them")
    for key, place in (("optimizer", recipe.offload.optimizer), ("weights", recipe.offload.weights)):
        if place == "nvme" and recipe.offload.path is None:
            raise InputError(f"offload.{key}: nvme needs a folder on that drive; name it as offload.path")
    if recipe.offload.weights == "nvme" and recipe.precision != "bf16":
        raise InputError("offload.weights: nvme works with precision bf16, not with fp32; change one of them")
    if recipe.parallel.tensor > 1:
        _check_tensor(recipe)


def _check_tensor(recipe: "Recipe") -> None:
    needed = {
        "parallel.sequence: 1": recipe.parallel.sequence == 1,
        "zero: 0, 1 or 2": recipe.zero < 3,
        "optimizer.kind: adamw": recipe.optimizer.kind == "adamw",
        "lora.rank: 0": not recipe.lora.rank,
        "dpo.beta: 0": not recipe.dpo.beta,
        "compile: false": not recipe.compile,
        "model.weight_bits: 32": recipe.model.weight_bits in (None, 32),
    }
    for words, met in needed.items():
        if not met:
            raise InputError(f"parallel.tensor: {recipe.parallel.tensor} processes that share blocks need {words}")
