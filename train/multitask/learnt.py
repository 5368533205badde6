"""Numbers that a method learns beside the model, one or more a task."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Learnt:
    """Scalars learnt by Adam (Kingma and Ba 2015), each by itself: one without a slope stays, moments and all."""

    def __init__(self, numbers: Sequence[Tensor], lr: float) -> None:
        """numbers: leaves of a single number each, in float64; lr: of Adam, whose other settings are torch's"""
        self.numbers, self.lr = list(numbers), lr
        self.optimizer = torch.optim.Adam(self.numbers, lr=lr)

    def descend(self, loss: Tensor, factor: float = 1.0) -> None:
        """One step down a loss, of those that it depends on. factor: times the learning rate"""
        for group in self.optimizer.param_groups:
            group["lr"] = factor * self.lr
        self.optimizer.zero_grad()                                      # to None, which Adam passes over
        loss.backward()
        self.optimizer.step()

    def memory(self) -> list[float]:
        """Of each number itself, Adam's two moments and its steps: [4 numbers]."""
        found: list[float] = []
        for number in self.numbers:
            state = self.optimizer.state.get(number) or {"exp_avg": 0.0, "exp_avg_sq": 0.0, "step": 0.0}
            found += [float(number.detach()), *(float(state[kind]) for kind in ("exp_avg", "exp_avg_sq", "step"))]
        return found

    def remember(self, memory: Sequence[float]) -> None:
        """Be as when `memory` was asked."""
        rows = torch.tensor(list(memory), dtype=torch.float64).view(-1, 4)
        for number, (value, mean, square, steps) in zip(self.numbers, rows, strict=True):
            with torch.no_grad():
                number.fill_(value)
            moments = {"exp_avg": mean.expand_as(number).clone(), "exp_avg_sq": square.expand_as(number).clone()}
            self.optimizer.state[number] = {"step": steps.float(), **moments}
