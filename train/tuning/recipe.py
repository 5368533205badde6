"""The parts of a recipe that say how a model that exists is trained on. Light to import."""

from dataclasses import dataclass, field

from omni.errors import InputError

PREFERENCES = "preferences"                                             # the task of shards of pairs


@dataclass(frozen=True)
class LoraRecipe:
    """Low-rank adapters (Hu et al. 2022) of `rank`, scaled by alpha / rank; 0: none, all weights are trained.

    targets: ends of the names of the matrices that get one. also: patterns of the parameters that are trained beside
    them, such as an embedding with new rows; everything else is frozen.
    """

    rank: int = 0
    alpha: int = 16
    targets: list[str] = field(
        default_factory=lambda: ["attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down"]
    )
    also: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.rank < 0 or self.alpha <= 0 or not self.targets:
            raise InputError("lora: rank must be at least 0, alpha above 0, and targets must name a matrix")


@dataclass(frozen=True)
class DpoRecipe:
    """Direct preference optimization (Rafailov et al. 2023) on pairs; beta: weight of staying close, 0 for no DPO."""

    beta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta < float("inf"):
            raise InputError(f"dpo.beta: must be at least 0, got {self.beta}")


def check(init: str | None, lora: LoraRecipe, dpo: DpoRecipe, groups: dict[str, float], optimizer: str) -> None:
    """Raise InputError for parts that do not go together."""
    if init is None and lora.rank:
        raise InputError("lora: adapts a model that exists; name its folder as init")
    if init is None and dpo.beta:
        raise InputError("dpo: prefers answers of a model that exists; name its folder as init")
    if groups and optimizer != "adamw":
        raise InputError(f"optimizer.groups: works with adamw, not with {optimizer}; leave one of them out")
    for pattern, multiplier in groups.items():
        if not 0 <= multiplier < float("inf"):
            raise InputError(f"optimizer.groups: {pattern}: the multiplier must be at least 0, got {multiplier}")
