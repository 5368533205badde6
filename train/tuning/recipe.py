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


@dataclass(frozen=True)
class BinaryRecipe:
    """Steps from which weights, and inputs, of one-bit layers are one bit (omni.train.tuning.binary), by patterns over
    the names of their matrices; the first pattern that matches counts, and what none matches is so from the start."""

    weights: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("weights", "inputs"):
            for pattern, step in getattr(self, key).items():
                if step < 0:
                    raise InputError(f"binary.{key}: {pattern}: steps are counted from 0, got {step}")


@dataclass(frozen=True)
class DistillRecipe:
    """Learning from a model over the same ids, too (Hinton et al. 2015). teacher: its folder, or `omni-tiny`; weight:
    the share of the loss that is the cross-entropy with its probabilities, the rest being that with the data."""

    teacher: str | None = None
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise InputError(f"distill.weight: must be above 0 and at most 1, got {self.weight}")


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
