"""Learning rate by step: pure functions, so that nothing of a schedule is ever saved."""

import math
from dataclasses import dataclass

from omni.errors import InputError

KINDS = ("cosine", "rsqrt", "wsd", "constant")


@dataclass(frozen=True)
class Schedule:
    """Linear warmup, then one of

    cosine    half a cosine down to `final` (Loshchilov and Hutter 2017)
    rsqrt     1/sqrt(step), 1 at the end of the warmup (Vaswani et al. 2017)
    wsd       constant, then linearly down to `final` over the last `decay` of the steps (Hu et al. 2024)
    constant

    steps: optimizer steps of the run; warmup: steps; decay: share of the steps; final: share of the peak.
    """

    kind: str = "cosine"
    steps: int = 1000
    warmup: int = 100
    decay: float = 0.2
    final: float = 0.1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"schedule.kind: unknown {self.kind!r}; use one of {', '.join(KINDS)}")
        if self.steps < 1:
            raise InputError(f"schedule.steps: must be at least 1, got {self.steps}")
        if not 0 <= self.warmup:
            raise InputError(f"schedule.warmup: must be at least 0, got {self.warmup}")
        for name in ("decay", "final"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"schedule.{name}: must lie in 0..1, got {getattr(self, name)}")

    def factor(self, step: int) -> float:
        """Share of the peak rate for optimizer step `step`, counted from 0."""
        warmup = min(self.warmup, self.steps)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.kind == "rsqrt":
            return math.sqrt((warmup + 1) / (step + 1))
        if self.kind == "constant":
            return 1.0
        start = warmup if self.kind == "cosine" else max(warmup, self.steps - round(self.decay * self.steps))
        if step < start:
            return 1.0
        done = min(1.0, (step - start + 1) / max(1, self.steps - start))  # 1 at the last step
        shape = (1 + math.cos(math.pi * done)) / 2 if self.kind == "cosine" else 1 - done
        return self.final + (1 - self.final) * shape
