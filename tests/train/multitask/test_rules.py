"""The rules of a run in float64 against the library's methods, which are torchjd's, and against direct ones of ours."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omni.model.init import draw, spreads
from omni.model.transformer import Batch, Losses, OmniTransformer
from omni.model.twice import twice_differentiable
from omni.train.backend import Step
from omni.train.data.loader import Dataset, GlobalBatch, Loader, Share
from omni.train.multitask import by_task, method
from omni.train.multitask.by_task import taken
from omni.train.multitask.rules import rule_of
from omni.train.multitask.running import TaskWeights
from omni.train.multitask_recipe import MultitaskRecipe
from omni.train.recipe import Recipe

TASKS = {"one": 1, "two": 2, "three": 3}
ROWS, TINY = 16, {"model.n_layers": "1", "model.d_model": "8", "model.d_ff": "8"}
SUBSETS = st.lists(st.sets(st.integers(0, 2), min_size=1), min_size=1, max_size=6)
STATEFUL = ("gradnorm", "imtl-l", "uncertainty", "gradvac")


class Run:
    """Plain descent of a tiny model in float64 on whole batches, the rule between."""

    def __init__(self, recipe: Recipe, rule: str) -> None:
        data = Dataset.load(recipe.data, recipe.sequence_length)
        self.model = OmniTransformer(recipe.model.config(data.vocab))
        for name, spread in spreads(self.model, self.model.config).items():
            draw(self.model.get_parameter(name).detach().view(-1), 0, name, spread, seed=0)
        self.step = Step(self.model.double(), False)
        engine = SimpleNamespace(module=self.step, device=torch.device("cpu"), dp_world_size=1)
        self.weigher = TaskWeights(MultitaskRecipe(rule), data.rows, engine, lambda x: x, seed=3, lr=0.1)  # type: ignore[arg-type]
        self.loader = Loader(data, data.order(1.0, {}, 0), Share(ROWS, ROWS // 2))
        self.parameters = list(self.model.parameters())

    def batches(self, count: int) -> Iterator[tuple[int, GlobalBatch]]:
        """After each, a step down whatever gradient there is."""
        for number in range(count):
            yield number, self.loader.batch(ROWS * number)
            with torch.no_grad():
                for one in self.parameters:
                    assert one.grad is not None
                    one.sub_(one.grad, alpha=0.5)
                    one.grad = None

    def forward(self, batch: Batch) -> Losses:
        return Losses(*self.step(batch.ids, batch.loss, batch.document, batch.prefix))

    def descend(self, batch: GlobalBatch, number: int) -> Tensor:
        """What the engine does with a batch: the gradient [numbers], which is left in .grad."""
        self.weigher.begin(batch, number)
        for micro, tasks in zip(batch.micro, batch.tasks, strict=True):
            (self.weigher.losses(micro, tasks, self.forward).total / batch.trained).backward()
        self.weigher.end(True, 1.0)
        return torch.cat([one.grad.flatten() for one in self.parameters if one.grad is not None])

    def losses(self, batch: GlobalBatch) -> list[Tensor]:
        """Each task's mean."""
        found = []
        for task in range(len(self.weigher.tasks)):
            each = zip(batch.micro, batch.tasks, strict=True)
            rows = [(micro, torch.from_numpy(tasks == task)) for micro, tasks in each if task in tasks]
            parts = [self.forward(taken(micro, those)) for micro, those in rows]
            total = torch.stack([part.total for part in parts]).sum()
            found.append(total / sum(len(part.each) for part in parts))
        return found


class Theirs:
    """The library's method on the same losses."""

    def __init__(self, rule: str, run: Run) -> None:
        self.combine: Any = method(rule, len(run.weigher.tasks))
        self.run, self.learnt = run, getattr(self.combine, "parameters", [])
        for one in self.learnt:
            one.data = one.data.double()
        self.optimizer = torch.optim.Adam(self.learnt, lr=0.1) if self.learnt else None

    def __call__(self, losses: list[Tensor], number: int) -> Tensor:
        for one in self.run.parameters:
            one.grad = None
        if self.optimizer:
            self.optimizer.zero_grad()
        torch.manual_seed(3 * 1_000_003 + number)
        weights = self.combine.backward(losses, self.run.parameters)
        if self.optimizer:
            self.optimizer.step()
        found = torch.cat([one.grad.flatten() for one in self.run.parameters if one.grad is not None])
        return found / float(weights.sum())


class Balance:
    """GradNorm (Chen et al. 2018, algorithm 1) from whole gradients by the last block, its weights one vector."""

    def __init__(self, rule: str, run: Run) -> None:
        self.run, self.block = run, list(run.model.blocks[-1].parameters())
        self.weights = torch.ones(3, dtype=torch.float64, requires_grad=True)
        self.optimizer, self.first = torch.optim.Adam([self.weights], lr=0.025), None

    def __call__(self, losses: list[Tensor], number: int) -> Tensor:
        used, values = self.weights.detach().clone(), torch.stack(losses).detach()
        self.first = values if self.first is None else self.first
        rows = [torch.autograd.grad(one, self.block, retain_graph=True) for one in losses]
        norms = self.weights * torch.stack([torch.cat([g.flatten() for g in row]).norm() for row in rows])
        ratio = values / self.first
        aim = norms.detach().mean() * (ratio / ratio.mean()) ** 1.5
        self.optimizer.zero_grad()
        (norms - aim).abs().sum().backward()
        self.optimizer.step()
        with torch.no_grad():
            self.weights.mul_(3 / self.weights.sum())
        whole = torch.autograd.grad((used * torch.stack(losses)).sum(), self.run.parameters)
        return torch.cat([one.flatten() for one in whole]) / 3


@pytest.mark.parametrize("rule", [*STATEFUL, "graddrop"])
def test_a_run_does_what_the_library_does(rule: str, three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step in float64, with what was learnt in those before; the gradients a few parameters at a time."""
    monkeypatch.setattr(by_task, "MOST", 3 * 2000)
    with twice_differentiable():                                        # the model's own loss is in float32
        run = Run(Recipe.load(three, TINY), rule)
        theirs = Balance(rule, run) if rule == "gradnorm" else Theirs(rule, run)
        learnt = []
        for number, batch in run.batches(3):
            expected = theirs(run.losses(batch), number)
            for one in run.parameters:
                one.grad = None
            found = run.descend(batch, number)
            assert float((found - expected).norm() / expected.norm()) < 1e-9
            learnt.append(tuple(run.weigher.rule.memory()))
    assert len(set(learnt)) == (3 if rule in STATEFUL else 1)


class Given:
    """Gradients of the tasks `here` as a Jacobian [here, numbers]."""

    def __init__(self, here: list[int], jacobian: Tensor) -> None:
        self.here, self.jacobian, self.parameters, self.last = here, jacobian, [], []

    def products(self, parameters: list[Tensor]) -> Tensor:
        return self.jacobian @ self.jacobian.T


def batches(subsets: list[set[int]], seed: int = 0) -> Iterator[tuple[list[int], Any, Tensor]]:
    """Tasks of some batches, their gradients and losses."""
    chance = torch.Generator().manual_seed(seed)
    for here in map(sorted, subsets):
        jacobian = torch.randn(len(here), 5, generator=chance, dtype=torch.float64)
        yield here, Given(here, jacobian), 0.1 + torch.rand(len(here), generator=chance, dtype=torch.float64)


@given(SUBSETS)
@settings(max_examples=15, deadline=None)
def test_scales_are_learnt_each_by_itself(subsets: list[set[int]]) -> None:
    """As if every task had run alone on the batches that have it (Kendall et al. 2018, equation 7)."""
    rule = rule_of(MultitaskRecipe("uncertainty"), TASKS, lr=0.2)
    variance = [torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in TASKS]
    optimizers = [torch.optim.Adam([one], lr=0.2) for one in variance]
    for here, tasks, losses in batches(subsets):
        expected = torch.stack([(-variance[task]).exp().detach() / 2 for task in here])
        assert torch.allclose(rule.weigh(tasks), expected, rtol=1e-12)
        rule.learn(here, losses, 0.5)
        for task, loss in zip(here, losses, strict=True):
            optimizers[task].param_groups[0]["lr"] = 0.1
            optimizers[task].zero_grad()
            ((-variance[task]).exp() * loss / 2 + variance[task] / 2).backward()
            optimizers[task].step()


@given(SUBSETS)
@settings(max_examples=15, deadline=None)
def test_vaccines_are_those_of_whole_gradients(subsets: list[set[int]]) -> None:
    """Wang et al. 2021, algorithm 1, on the gradients themselves, with a mean for every pair of all tasks."""
    rule = rule_of(MultitaskRecipe("gradvac"), TASKS, lr=0.1)
    means = torch.zeros(3, 3, dtype=torch.float64)
    for number, (here, tasks, losses) in enumerate(batches(subsets)):
        torch.manual_seed(number)
        weights = rule.weigh(tasks)
        rule.learn(here, losses, 1.0)
        torch.manual_seed(number)
        total = torch.zeros(5, dtype=torch.float64)
        for row, one in enumerate(here):
            moved, others = tasks.jacobian[row].clone(), [other for other in range(len(here)) if other != row]
            for at in torch.randperm(len(others)).tolist() if others else ():
                other, target = tasks.jacobian[others[at]], float(means[one, here[others[at]]])
                cosine = float(moved @ other / moved.norm() / other.norm())
                if cosine < target:
                    a, b = (1 - cosine**2) ** 0.5, (1 - target**2) ** 0.5
                    moved += moved.norm() * (target * a - cosine * b) / (other.norm() * b) * other
                means[one, here[others[at]]] = 0.99 * target + 0.01 * cosine
            total += moved
        assert torch.allclose(weights.double() @ tasks.jacobian, total, rtol=1e-5, atol=1e-6)
    assert torch.allclose(torch.tensor(rule.memory(), dtype=torch.float64).view(3, 3), means, atol=1e-7)


@pytest.mark.parametrize("name", STATEFUL)
def test_nothing_changes_of_a_task_that_a_batch_lacks(name: str) -> None:
    rule = rule_of(MultitaskRecipe(name), TASKS, lr=0.1)  # type: ignore[arg-type]
    every = [{0, 1, 2}] * 3
    for here, tasks, losses in batches(every):
        rule.weigh(tasks)
        rule.learn(here, losses, 1.0)
    before = of_each_task(rule.memory())
    for here, tasks, losses in batches([{0, 2}, {2}, {0, 2}], seed=1):
        rule.weigh(tasks)
        rule.learn(here, losses, 1.0)
    after = of_each_task(rule.memory())
    assert torch.equal(before[1], after[1]) and not torch.equal(before[2], after[2])
    again = rule_of(MultitaskRecipe(name), TASKS, lr=0.1)  # type: ignore[arg-type]
    again.remember(rule.memory())
    for here, tasks, losses in batches([{1, 2}, {0, 1, 2}], seed=2):    # what is remembered goes on bit for bit
        found = []
        for one in (rule, again):
            torch.manual_seed(0)
            found.append(one.weigh(tasks))
            one.learn(here, losses, 1.0)
        assert torch.equal(*found) and rule.memory() == again.memory()
    if name == "gradnorm":
        assert float(torch.tensor(rule.memory()[3:]).view(3, 4)[:, 0].sum()) == pytest.approx(3)


def of_each_task(memory: list[float]) -> Tensor:
    """What a memory has of each of three tasks: [3, more]. GradNorm's begins with the first losses."""
    if len(memory) % 5 == 0:
        return torch.cat([torch.tensor(memory[:3]).view(3, 1), torch.tensor(memory[3:]).view(3, 4)], dim=1)
    return torch.tensor(memory).view(3, -1)


@pytest.mark.parametrize("name", [*STATEFUL, "graddrop"])
def test_a_step_that_is_refused_teaches_nothing(name: str, three: Path) -> None:
    run = Run(Recipe.load(three, TINY), name)
    batch = run.loader.batch(0)
    run.descend(batch, 0)
    before = run.weigher.memory()
    for broken in (False, True):
        if broken:
            torch.nn.init.constant_(run.model.norm.weight, float("nan"))
        run.weigher.begin(batch, 1)
        parts = zip(batch.micro, batch.tasks, strict=True)
        totals = [run.weigher.losses(micro, tasks, run.forward).total for micro, tasks in parts]
        assert bool(torch.stack(totals).isnan().any()) == broken        # which is what the guard refuses
        run.weigher.end(broken, 1.0)
        assert run.weigher.memory() == before
    run.weigher.remember({"another": [1.0]})
    assert run.weigher.memory() == before and run.weigher.rule.pull == ()
