"""Training a fleet: every member draws its own batches and has its own phases, all take each step together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omni.train.fleet.model import Shape, Weights, greedy, initial, target_losses, training_loss
from omni.train.fleet.pairs import PAD, Corpus, Ids, Pairs
from omni.train.schedule import Schedule

Objective = Callable[[Weights, Tensor, Tensor], Tensor]                 # weights, sources, targets to losses [members]
BETAS, EPS, CLIP = (0.9, 0.98), 1e-9, 1.0
EVAL_ROWS = 128                                                         # held-out pairs that are scored at once


@dataclass(frozen=True)
class Phase:
    """Some steps on one mixture; learning rate and optimizer begin anew with each phase.

    mixture: share of the batch by task, in the corpus's order
    """

    steps: int
    mixture: tuple[float, ...]
    lr: float = 3e-3
    warmup: int = 50
    kind: str = "rsqrt"


@dataclass(frozen=True)
class Member:
    """One model of a fleet. Its initial weights and its batches follow from its seed.

    limit: it is trained on no more than the first `limit` pairs of each task; 0 for all
    """

    seed: int
    phases: tuple[Phase, ...]
    limit: int = 0

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)


@dataclass
class Trained:
    """The fleet as it ended, and losses in nats a target token by task: {step: [members]}."""

    shape: Shape
    weights: Weights
    test: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    train: dict[str, dict[int, list[float]]] = field(default_factory=dict)

    def final(self, task: str) -> list[float]:
        """Losses on held-out pairs at the end: [members]."""
        return self.test[task][max(self.test[task])]

    def translate(self, source: Ids) -> Ids:
        """Greedy translations of sources [rows, length + 1]: [members, rows, length + 1] (omni.train.fleet.model)."""
        return greedy(self.shape, self.weights, source)


def train_fleet(
    shape: Shape, members: Sequence[Member], corpus: Corpus, batch: int = 32, evaluate_at: Sequence[int] = (),
    sample: int = 256, begin: Weights | None = None, objective: Objective | None = None,
) -> Trained:  # fmt: skip
    """Train all members for their steps, of which all have equally many.

    evaluate_at: steps after which losses are measured on held-out pairs and on `sample` training pairs of each task;
    the end is always one of them.
    begin: weights to begin with, instead of those of the members' seeds. objective: instead of `training_loss`.
    Raises ValueError when members differ in their number of steps.
    """
    if len({member.steps for member in members}) != 1:
        raise ValueError("members of a fleet take equally many steps")
    drawn = initial(shape, [one.seed for one in members]) if begin is None else begin
    weights = {name: value.detach().clone().requires_grad_() for name, value in drawn.items()}
    courses = [_Course(member, corpus, batch) for member in members]
    optimizer, done = _Adam(weights), Trained(shape, weights)
    loss = objective or partial(training_loss, shape)
    seen = {task: Pairs(pairs.source[:sample], pairs.target[:sample]) for task, pairs in corpus.train.items()}
    for step in range(members[0].steps):
        sides = zip(*(one.draw(step) for one in courses), strict=True)
        source, target = (torch.from_numpy(np.stack(side)) for side in sides)  # [members, rows, ...]
        loss(weights, source, target).sum().backward()
        optimizer.step([one.rate(step) for one in courses], [one.since(step) for one in courses])
        if step + 1 in evaluate_at or step + 1 == members[0].steps:
            for kept, tasks in ((done.test, corpus.test), (done.train, seen)):
                for task, pairs in tasks.items():
                    kept.setdefault(task, {})[step + 1] = evaluate(shape, weights, pairs)
    return done


@torch.no_grad()
def evaluate(shape: Shape, weights: Weights, pairs: Pairs) -> list[float]:
    """Mean loss of the targets' tokens, in nats, of each member: [members]."""
    members = len(weights["embed"])
    total = torch.zeros(members, dtype=torch.float64)
    for start in range(0, len(pairs), EVAL_ROWS):
        source, target = (torch.from_numpy(side[start : start + EVAL_ROWS]) for side in (pairs.source, pairs.target))
        same = source.expand(members, -1, -1), target.expand(members, -1, -1)
        total += target_losses(shape, weights, *same).double().sum((1, 2))
    return (total / int((pairs.target[:, 1:] != PAD).sum())).tolist()


class _Course:
    """What one member is shown, and its learning rate, at every step."""

    def __init__(self, member: Member, corpus: Corpus, batch: int) -> None:
        self.random, self.batch = np.random.default_rng(member.seed), batch
        self.tasks = [Pairs(pairs.source[: member.limit or None], pairs.target[: member.limit or None])
                      for pairs in corpus.train.values()]  # fmt: skip
        self.begins = np.cumsum([0, *(phase.steps for phase in member.phases)])
        self.phases = member.phases
        self.schedules = [Schedule(phase.kind, phase.steps, min(phase.warmup, phase.steps)) for phase in member.phases]

    def draw(self, step: int) -> tuple[Ids, Ids]:
        """Sources [rows, length + 1] and targets [rows, length + 2], drawn with replacement."""
        mixture = np.asarray(self._phase(step)[0].mixture, np.float64)
        counts = self.random.multinomial(self.batch, mixture / mixture.sum())
        sides: list[list[NDArray[np.int64]]] = [[], []]
        for pairs, count in zip(self.tasks, counts, strict=True):
            rows = self.random.integers(len(pairs), size=count)
            sides[0].append(pairs.source[rows])
            sides[1].append(pairs.target[rows])
        return np.concatenate(sides[0]), np.concatenate(sides[1])

    def rate(self, step: int) -> float:
        phase, number = self._phase(step)
        return phase.lr * self.schedules[number].factor(step - int(self.begins[number]))

    def since(self, step: int) -> int:
        """Steps of this phase before this one: 0 where the optimizer begins anew."""
        return step - int(self.begins[self._phase(step)[1]])

    def _phase(self, step: int) -> tuple[Phase, int]:
        number = int(np.searchsorted(self.begins, step, side="right")) - 1
        return self.phases[number], number


class _Adam:
    """Adam (Kingma and Ba 2015) with a learning rate, a count of steps and a gradient clipped for each member."""

    def __init__(self, weights: Weights) -> None:
        self.weights = list(weights.values())
        self.first = [torch.zeros_like(weight) for weight in self.weights]
        self.second = [torch.zeros_like(weight) for weight in self.weights]

    @torch.no_grad()
    def step(self, rates: Sequence[float], since: Sequence[int]) -> None:
        """rates: [members]; since: [members] steps since each began; at 0 it forgets its moments."""
        grads = [weight.grad for weight in self.weights if weight.grad is not None]
        assert len(grads) == len(self.weights)
        squares = torch.stack([grad.square().sum((1, 2)) for grad in grads]).sum(0)  # [members]
        factor = (CLIP / (squares.sqrt() + 1e-6)).clamp(max=1.0)[:, None, None]
        count = torch.tensor(since, dtype=torch.float32) + 1
        keep = (count > 1).float()[:, None, None]
        bias = torch.stack([1 - beta**count for beta in BETAS])[:, :, None, None]  # [2, members, 1, 1]
        rate = torch.tensor(rates)[:, None, None] / bias[0]
        for weight, grad, first, second in zip(self.weights, grads, self.first, self.second, strict=True):
            grad.mul_(factor)
            if not bool(keep.all()):
                first.mul_(keep)
                second.mul_(keep)
            first.lerp_(grad, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
            weight.sub_(rate * first / ((second / bias[1]).sqrt_() + EPS))
            weight.grad = None

