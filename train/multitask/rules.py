"""How the tasks of a run's batches are weighed. A batch may lack tasks: they take no part, and nothing of them changes.

What a rule has learnt is the same in all processes, and part of a checkpoint.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from omni.train.multitask.by_task import Gradients
from omni.train.multitask.gradients import Elementwise, Gramian, Weighting, weighed
from omni.train.multitask.learnt import Learnt
from omni.train.multitask.losses import GradNorm, dirichlet, temperature_weights
from omni.train.multitask.methods import SCALES, Vaccine, method, scale
from omni.train.multitask_recipe import MultitaskRecipe

DRAWS: dict[str, Callable[[int], Tensor]] = {                           # weights by chance (Lin et al. 2022)
    "rlw-normal": lambda count: torch.randn(count).softmax(dim=0),
    "rlw-dirichlet": dirichlet,
}
Pull = Sequence[tuple[Tensor, Tensor]]                                  # parameters, and their gradient in place of
                                                                        # that of the losses


class Rule:
    """What weighs tasks. One without a memory learns nothing."""

    pull: Pull = ()
    known: Learnt | GradNorm | None = None                              # what it has learnt, as that remembers it

    def weigh(self, tasks: Gradients) -> Tensor:
        """Weights of the tasks of a batch, [here]. Every process calls it."""
        raise NotImplementedError

    def learn(self, here: Sequence[int], losses: Tensor, factor: float) -> None:
        """From the mean losses [here] of the batch last weighed, once its step is taken. factor: of learning rates"""

    def memory(self) -> list[float]:
        """What a resumed run must know to go on alike."""
        return [] if self.known is None else self.known.memory()

    def remember(self, memory: Sequence[float]) -> None:
        """Be as when `memory` was asked."""
        if self.known is not None:
            self.known.remember(memory)


def rule_of(plan: MultitaskRecipe, rows: Mapping[str, int], lr: float) -> Rule:
    """The recipe's rule. rows: of each task in the data; lr: of the model

    Raises InputError for what is missing.
    """
    count = len(rows)
    if plan.method == "scalarization":
        weights = [plan.weights.get(task, 1.0) for task in rows]
        if plan.temperature is not None:
            weights = temperature_weights(list(rows.values()), plan.temperature)
        return Fixed(torch.tensor(weights))
    if plan.method in DRAWS:
        return Drawn(DRAWS[plan.method])
    if plan.method in SCALES:                                           # learnt at the model's own rate in the papers
        return Scales(plan.method, count, plan.lr or lr)
    if plan.method == "gradnorm":
        given = {name: value for name in ("alpha", "lr") if (value := getattr(plan, name)) is not None}
        return Balanced(GradNorm(count, **given))
    found = method(plan.method, count)
    if isinstance(found, Elementwise):
        return Dropped(found)
    assert isinstance(found, Gramian)
    return Vaccinated(found.weighting) if isinstance(found.weighting, Vaccine) else FromProducts(found.weighting)


class Fixed(Rule):
    """The same for every batch."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def weigh(self, tasks: Gradients) -> Tensor:
        return self.weights[tasks.here]


class Drawn(Rule):
    """By chance, which is that of the step."""

    def __init__(self, draw: Callable[[int], Tensor]) -> None:
        self.draw = draw

    def weigh(self, tasks: Gradients) -> Tensor:
        return self.draw(len(tasks.here))


class Scales(Rule):
    """A scale of each task's loss, learnt beside the model, each by itself: torchjd's IMTL-L and uncertainty."""

    def __init__(self, name: str, tasks: int, lr: float) -> None:
        self.combine = [scale(name, 1).double() for _ in range(tasks)]
        self.known = self.learnt = Learnt([one for each in self.combine for one in each.parameters()], lr)

    def weigh(self, tasks: Gradients) -> Tensor:
        one = torch.ones(1, dtype=torch.float64, requires_grad=True)    # the weight is the slope, whatever the loss
        return torch.cat([torch.autograd.grad(self.combine[task](one), one)[0] for task in tasks.here])

    def learn(self, here: Sequence[int], losses: Tensor, factor: float) -> None:
        parts = [self.combine[task](loss) for task, loss in zip(here, losses.double().split(1), strict=True)]
        self.learnt.descend(torch.stack(parts).sum(), factor)


class Balanced(Rule):
    """GradNorm by the last block, the last layer that all tasks share."""

    def __init__(self, method: GradNorm) -> None:
        self.known = self.method = method
        self.norms = torch.zeros(0)                                     # of the batch last weighed, [here]

    def weigh(self, tasks: Gradients) -> Tensor:
        alone = len(tasks.here) < 2
        self.norms = torch.ones(1) if alone else tasks.products(tasks.last).diagonal().sqrt()
        return self.method.weights[tasks.here]

    def learn(self, here: Sequence[int], losses: Tensor, factor: float) -> None:
        if bool(self.norms.isfinite().all()):
            self.method.move(here, self.norms, losses, factor)


class FromProducts(Rule):
    """Weights that follow from the products of the gradients by all trained parameters."""

    def __init__(self, weighting: Weighting) -> None:
        self.weighting = weighting

    def weigh(self, tasks: Gradients) -> Tensor:
        if len(tasks.here) < 2:
            return torch.ones(len(tasks.here))
        products = tasks.products(tasks.parameters)
        if not bool(products.isfinite().all()):                         # no step: the guard refuses it
            return torch.ones(len(tasks.here))
        return weighed(products, lambda among, moving: self.weighting(among, [tasks.here[at] for at in moving]))


class Vaccinated(FromProducts):
    """GradVac, whose means move when a step is taken."""

    def __init__(self, vaccine: Vaccine) -> None:
        super().__init__(vaccine)
        self.vaccine, self.means = vaccine, vaccine.means

    def weigh(self, tasks: Gradients) -> Tensor:
        self.vaccine.means = self.means
        return super().weigh(tasks)

    def learn(self, here: Sequence[int], losses: Tensor, factor: float) -> None:
        self.means = self.vaccine.means

    def memory(self) -> list[float]:
        return self.means.flatten().tolist()

    def remember(self, memory: Sequence[float]) -> None:
        self.means = torch.tensor(list(memory), dtype=torch.float64).view_as(self.means)


class Dropped(Rule):
    """GradDrop: every number of the gradient keeps one sign, so that there are no weights, but a gradient instead."""

    def __init__(self, method: Elementwise) -> None:
        self.method = method

    def weigh(self, tasks: Gradients) -> Tensor:
        found: list[tuple[Tensor, Tensor]] = []
        for group, rows in tasks.rows(tasks.parameters) if len(tasks.here) > 1 else ():
            parts = rows.split([one.numel() for one in group], dim=1)
            found += [(one, self.method.combined(part)) for one, part in zip(group, parts, strict=True)]
        self.pull = found
        return torch.ones(len(tasks.here))
