"""What each initialiser promises, on networks that need it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from omni.errors import InputError
from omni.train.inits import fixup, gradient_quotient, gradinit, metainit


class Residual(nn.Module):
    def __init__(self, depth: int, width: int = 16) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.head = nn.Linear(width, 4)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=(2 / width) ** 0.5 if parameter.ndim > 1 else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x)

    @property
    def layers(self) -> list[list[nn.Linear]]:
        return [[one for one in branch if isinstance(one, nn.Linear)] for branch in self.branches]  # type: ignore[attr-defined]


def moved(depth: int, fixed: bool) -> float:
    """How far the answers move in two steps of SGD."""
    torch.manual_seed(0)
    model, x, y = Residual(depth), torch.randn(64, 16), torch.randint(4, (64,))
    if fixed:
        fixup(model.layers, model.head)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = model(x).detach()
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return float((model(x) - before).norm().detach())


def test_fixup_moves_alike_at_every_depth() -> None:
    torch.manual_seed(0)
    model = Residual(8)
    x = torch.randn(3, 16)
    inner = model.layers[0][0].weight.detach().clone()
    fixup(model.layers, model.head)
    assert torch.equal(model.head(x), model(x))                         # the branches are nothing yet
    assert torch.allclose(model.layers[0][0].weight, inner * 8**-0.5)
    assert moved(32, fixed=True) < 3 * moved(2, fixed=True)
    assert not moved(32, fixed=False) < 100 * moved(2, fixed=False)     # without it, depth makes the step explode
    with pytest.raises(ValueError, match="two layers"):
        fixup([model.layers[0][:1]])


def test_the_gradient_quotient_is_that_of_a_step() -> None:
    """By the difference of two gradients, for a quadratic, where H g is exact."""
    torch.manual_seed(0)
    matrix = torch.randn(5, 5, dtype=torch.float64)
    matrix, x = matrix @ matrix.T, torch.randn(5, dtype=torch.float64, requires_grad=True)
    found = gradient_quotient(x @ matrix @ x / 2, [x])
    g = matrix @ x
    after = matrix @ (x - g)
    assert float(found) == pytest.approx(float((after / g - 1).abs().mean()), rel=1e-3)
    assert float(gradient_quotient((x * torch.arange(1.0, 6.0)).sum() + 0 * x.square().sum(), [x])) < 1e-3


def test_metainit_mends_bad_scales_and_keeps_directions() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    parameters = list(model.parameters())

    def loss() -> Tensor:
        return F.cross_entropy(model(torch.randn(32, 16)), torch.randint(4, (32,)))

    before = float(gradient_quotient(loss(), parameters))
    directions = [F.normalize(one.detach().flatten(), dim=0) for one in parameters]
    metainit(loss, parameters, steps=150, lr=0.02)
    assert float(gradient_quotient(loss(), parameters)) < 0.7 * before
    for old, parameter in zip(directions, parameters, strict=True):
        assert float(old @ F.normalize(parameter.detach().flatten(), dim=0)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("signs", [False, True])
def test_gradinit_makes_the_first_step_a_good_one(signs: bool) -> None:
    torch.manual_seed(0)
    model, x = Residual(6), torch.randn(128, 16)
    y, lr = x[:, :4].argmax(dim=1), 0.001 if signs else 0.1

    def after_a_step() -> float:
        parameters = list(model.parameters())
        gradient = torch.autograd.grad(F.cross_entropy(model(x), y), parameters)
        step = [one.sign() if signs else one for one in gradient]
        named = {n: p - lr * s for (n, p), s in zip(model.named_parameters(), step, strict=True)}
        return float(F.cross_entropy(functional_call(model, named, (x,)), y).detach())

    before = after_a_step()
    scales = gradinit(model, lambda named: F.cross_entropy(functional_call(model, dict(named), (x,)), y), lr, signs)
    assert after_a_step() < before / 2
    assert min(scales.values()) >= 0.01 and len(scales) == len(list(model.parameters()))


def test_metainit_passes_over_what_the_loss_does_not_use() -> None:
    torch.manual_seed(0)
    used, other = (torch.randn(4, 4, requires_grad=True) for _ in range(2))
    before, left = used.detach().clone(), other.detach().clone()
    assert metainit(lambda: (torch.randn(3, 4) @ used).tanh().square().mean(), [used, other], steps=3) > 0
    assert torch.equal(other, left) and not torch.equal(used, before)
    assert metainit(lambda: used.sum(), [used], steps=2) < 1e-3         # linear: nothing to mend


def test_gradinit_leaves_alone_what_the_loss_does_not_use() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"used": nn.Linear(4, 2), "other": nn.Linear(4, 2)})
    before = model["other"].weight.detach().clone()                     # type: ignore[union-attr]
    scales = gradinit(model, lambda p: (torch.ones(1, 4) @ p["used.weight"].T + 1).square().mean(), 0.1, steps=3)
    assert scales["other.weight"] == 1 and scales["used.weight"] != 1
    assert torch.equal(before, model["other"].weight)                   # type: ignore[arg-type]
    linear = nn.Linear(4, 2)
    assert set(gradinit(linear, lambda p: 100 * sum(map(torch.sum, p.values()), torch.zeros(())), 0.1, steps=2)) == {
        "weight", "bias"
    }  # fmt: skip


@pytest.mark.parametrize("when", [0, 3])
@pytest.mark.parametrize(("bad", "words"), [
    (lambda x: x.mean() * torch.nan, "not finite"),
    (lambda x: x, r"a loss of shape \[3, 2\] is no number"),
    (lambda x: x.mean().detach(), "does not depend on the parameters"),
    (lambda x: float(x.mean()), "float has no gradient"),
    (lambda x: (x * 0).square().sum().sqrt() + x.square().mean(), "not finite"),  # the loss is, its gradient is not
])  # fmt: skip
def test_a_loss_that_nothing_can_be_sought_by_changes_no_weight(bad: Any, words: str, when: int) -> None:
    """Neither from the first nor later on, when some steps have been gone."""
    torch.manual_seed(0)
    model, x, asked = nn.Linear(4, 2), torch.randn(3, 4), list[int]()
    before = [one.detach().clone() for one in model.parameters()]

    def loss(named: Any) -> Any:
        asked.append(1)
        found = functional_call(model, dict(named), (x,)).tanh()
        return bad(found) if len(asked) > when else found.square().mean()

    with pytest.raises(InputError, match=words):
        gradinit(model, loss, 0.1, steps=5)
    asked.clear()
    with pytest.raises(InputError, match=words):
        metainit(lambda: loss(dict(model.named_parameters())), list(model.parameters()), steps=5)
    assert len(asked) > when
    assert all(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))
