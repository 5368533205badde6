"""Combined gradients against torchjd's own, dense Jacobians and closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torchjd import aggregation
from torchjd.autojac import jac_to_grad, mtl_backward

from omni.errors import InputError
from omni.train.multitask import METHODS, GradNorm, RandomWeights, Scalarization, method, temperature_weights
from omni.train.multitask.gradients import Gramian, products_of

AGGREGATORS = {
    "mgda": aggregation.MGDA,
    "pcgrad": aggregation.PCGrad,
    "imtl-g": aggregation.IMTLG,
    "gradvac": aggregation.GradVac,
    "cagrad": lambda: aggregation.CAGrad(c=0.5),
}


class Two(nn.Module):
    def __init__(self, tasks: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 8), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(8, 2) for _ in range(tasks))
        self.x, self.y = torch.randn(20, 6), torch.randn(tasks, 20, 2)

    def losses(self) -> tuple[Tensor, list[Tensor]]:
        z = self.trunk(self.x)
        return z, [F.mse_loss(head(z), y) * 10**at for at, (head, y) in enumerate(zip(self.heads, self.y, strict=True))]

    def combined(self, name: str, most: int = 10**9, by_features: bool = False) -> tuple[list[Tensor], Tensor]:
        self.zero_grad()
        z, losses = self.losses()
        torch.manual_seed(1)
        shared, own = list(self.trunk.parameters()), list(self.heads.parameters())
        weights = method(name, len(losses), most=most).backward(losses, shared, own, [z] if by_features else ())
        return [p.grad.clone() for p in (*shared, *own) if p.grad is not None], weights


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("most", [10**9, 60])
def test_gradients_are_those_of_torchjd(name: str, most: int) -> None:
    model = Two()
    ours, _ = model.combined(name, most)
    model.zero_grad()
    z, losses = model.losses()
    torch.manual_seed(1)
    mtl_backward(losses, features=z)
    jac_to_grad(model.trunk.parameters(), AGGREGATORS[name]())  # type: ignore[operator]
    theirs = [p.grad for p in model.parameters() if p.grad is not None]
    for one, two in zip(ours, theirs, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-5)


def test_memory_bound_and_features_change_nothing_for_one_layer() -> None:
    """Gradients by features have other products; they agree where these are the same up to a rotation."""
    model = Two()
    for name in ("mgda", "imtl-g"):
        whole, weights = model.combined(name)
        parts, again = model.combined(name, most=30)
        assert torch.allclose(weights, again, atol=1e-5)
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(whole, parts, strict=True))
        by_features, weights = model.combined(name, by_features=True)
        z, losses = model.losses()
        total = sum((w * one for w, one in zip(weights.tolist(), losses, strict=True)), torch.zeros(()))
        expected = torch.autograd.grad(total, list(model.trunk.parameters()))
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(by_features, expected, strict=False))
        assert z.requires_grad


def test_graddrop_takes_one_sign_each() -> None:
    model = Two()
    found, _ = model.combined("graddrop", most=60)
    _, losses = model.losses()
    rows = [torch.autograd.grad(one, list(model.trunk.parameters()), retain_graph=True) for one in losses]
    for got, *column in zip(found, *rows, strict=False):
        matrix = torch.stack(column)
        up, down = (matrix * (matrix > 0)).sum(0), (matrix * (matrix < 0)).sum(0)
        assert bool((torch.isclose(got, up, atol=1e-6) | torch.isclose(got, down, atol=1e-6)).all())


def test_every_method_lowers_the_losses() -> None:
    for name in METHODS:
        combine, model = method(name, 2), Two(2)
        optimizer = torch.optim.Adam([*model.parameters(), *getattr(combine, "parameters", [])], lr=0.01)
        first = [one.item() for one in model.losses()[1]]
        for _ in range(60):
            optimizer.zero_grad()
            z, losses = model.losses()
            combine.backward(losses, list(model.trunk.parameters()), list(model.heads.parameters()), [z])
            optimizer.step()
        assert all(float(new) < old for new, old in zip(model.losses()[1], first, strict=True)), name


def test_products_stay_where_the_gradients_are() -> None:
    """By torch's own rules of what may be mixed; nothing is computed, and no GPU is needed."""
    with FakeTensorMode():
        rows = [[torch.ones(shape, device="cuda") for shape in ((3, 2), (4,))] for _ in range(2)]
        assert products_of(rows).device.type == "cuda"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="what is compared is a GPU's")
@pytest.mark.parametrize("name", sorted({*METHODS} - {"graddrop", "rlw-normal"}))  # whose chance is the device's own
@pytest.mark.parametrize("most", [10**9, 60])
def test_a_gpu_combines_as_the_cpu_does(name: str, most: int) -> None:
    here, there = Two(), Two()
    there.cuda()
    there.x, there.y = there.x.cuda(), there.y.cuda()
    (mine, weights), (theirs, others) = here.combined(name, most), there.combined(name, most)
    assert all(one.is_cuda for one in (*theirs, others))
    for one, other in zip((*mine, weights), (*theirs, others), strict=True):
        assert torch.allclose(one, other.cpu(), rtol=1e-2, atol=1e-3)


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=4))
@settings(max_examples=20, deadline=None)
def test_scalarization_is_a_weighted_sum(weights: list[float]) -> None:
    x = torch.randn(len(weights), requires_grad=True)
    used = Scalarization.fixed(weights).backward([x[at] ** 2 for at in range(len(weights))])
    assert used.tolist() == pytest.approx(weights)
    assert x.grad is not None and torch.allclose(x.grad, 2 * x.detach() * torch.tensor(weights), rtol=1e-5)


RULES = ("mgda", "pcgrad", "imtl-g", "gradvac", "cagrad", "nash-mtl")    # by products of gradients


@pytest.mark.parametrize("name", [*RULES, "graddrop", "gradnorm", "scalarization"])
@pytest.mark.parametrize("most", [10**9, 3])
def test_a_parameter_that_no_task_uses_is_left_alone(name: str, most: int) -> None:
    x, unused = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    method(name, 2, most=most).backward([x.square().sum(), x.sum()], [x], [unused])
    assert x.grad is not None and bool(x.grad.all())
    assert unused.grad is None or not bool(unused.grad.any())


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("most", [10**9, 2])
def test_a_task_without_a_gradient_does_not_hold_the_others_back(name: str, most: int) -> None:
    """They are weighed as without it, and one that is left alone counts wholly."""
    x, done = torch.tensor([1.0, -2.0], requires_grad=True), torch.zeros(2, requires_grad=True)
    weights = method(name, 3, most=most).backward([x[0] ** 2 - x[1], done.square().sum(), x.square().sum()], [x, done])
    other = method(name, 2, most=most).backward([x[0] ** 2 - x[1], x.square().sum()], [x, done])
    assert weights.tolist() == pytest.approx([float(other[0]), 1.0, float(other[1])])
    weights = method(name, 2, most=most).backward([done.square().sum(), x.square().sum()], [x, done])
    assert weights.tolist() == [1, 1]


def test_what_gradvac_has_learnt_of_pairs_outlasts_a_task_without_a_gradient() -> None:
    """Its mean of the first two tasks goes on, as if the third were never there, and theirs are not the others'."""
    x = torch.tensor([1.0, 0.5], requires_grad=True)
    silent, alone = (method("gradvac", count) for count in (3, 2))
    assert isinstance(silent, Gramian) and isinstance(alone, Gramian)

    def losses(third: float) -> list[Tensor]:
        return [x[0] ** 2, (x.sum()) ** 2, third * x[1] ** 2]

    for step in range(6):
        silent.backward(losses(float(step % 2)), [x])
        alone.backward(losses(0.0)[:2], [x])
    ours, theirs = silent.weighting.means, alone.weighting.means        # type: ignore[attr-defined]
    assert float(theirs[0, 1]) > 0.01 and torch.allclose(ours[:2, :2], theirs, rtol=0.2)
    assert 0 < float(ours[1, 2]) < float(ours[0, 1])


def test_gradnorm_gives_nothing_to_a_task_without_a_gradient() -> None:
    w = torch.ones(2, requires_grad=True)
    combine = GradNorm(3, lr=0.1)
    for _ in range(50):
        combine.backward([w.sum(), 2 * w.sum(), 0 * w.sum()], [w])
    first, second, silent = combine.weights.tolist()
    assert silent == 1 and first + second == pytest.approx(2) and first > second > 0.1


def test_gradnorm_moves_weights_against_the_norms() -> None:
    """One step by hand: Adam's first step is lr against the sign of the slope (Chen et al. 2018, algorithm 1)."""
    w = torch.ones(2, requires_grad=True)
    combine = GradNorm(2, lr=0.1)
    used = combine.backward([w.sum(), (10 * w).sum()], [w])
    assert used.tolist() == [1, 1] and w.grad is not None and torch.allclose(w.grad, torch.full((2,), 11.0))
    expected = torch.tensor([1.1, 0.9]).double()                        # the small norm is raised, the large lowered
    assert torch.allclose(combine.weights, expected, atol=1e-4)


def test_gradnorm_takes_the_norms_of_the_last_shared_weights() -> None:
    """The gradients of sum(W x + b) are 1 x^T and 1: by the bias they are of one size whatever the input."""
    layer = nn.Linear(2, 3)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    inputs = torch.tensor([[4.0, 0.0], [0.0, 0.5]])
    combine = method("gradnorm", 2)
    assert isinstance(combine, GradNorm)
    combine.backward([layer(x).sum() for x in inputs], list(layer.parameters()))
    assert combine.weights.tolist() == pytest.approx([0.975, 1.025], abs=1e-4)  # the larger gradient is lowered
    combine = method("gradnorm", 2, layer=[layer.bias], alpha=0.5, lr=0.1)
    assert isinstance(combine, GradNorm) and (combine.alpha, combine.learnt.lr) == (0.5, 0.1)
    combine.backward([layer(x).sum() for x in inputs], list(layer.parameters()))
    assert combine.weights.tolist() == [1, 1]


def test_random_weights_are_flat_on_the_simplex() -> None:
    draw = RandomWeights(0)
    found = torch.stack([torch.stack([draw(row) for row in torch.eye(3)]) for _ in range(2000)])
    first = found[:, 0]                                                 # one weight of each draw: Beta(1, 2)
    assert float(first.mean()) == pytest.approx(1 / 3, abs=0.03)
    assert float(first.var()) == pytest.approx(2 / 36, abs=0.01)


def test_temperature() -> None:
    assert temperature_weights([1, 3], 1.0) == pytest.approx([0.5, 1.5])
    assert temperature_weights([1, 100], 1e9) == pytest.approx([1, 1])
    assert math.isclose(sum(temperature_weights([5, 7, 9], 2.0)), 3)


def test_bad_input() -> None:
    for arguments in (("magic", 2), ("mgda", 2, [1.0, 1.0]), ("scalarization", 2, [1.0])):
        with pytest.raises(InputError, match="multitask"):
            method(*arguments)  # type: ignore[arg-type]
    for name, unfit in (("mgda", {"alpha": 1.0}), ("gradnorm", {"beta": 1.0})):
        with pytest.raises(InputError, match="only gradnorm has settings, which are layer, alpha and lr"):
            method(name, 2, **unfit)
    with pytest.raises(InputError, match="not all 0"):
        Scalarization.fixed([0.0, 0.0])
    with pytest.raises(InputError, match="positive"):
        temperature_weights([0, 1], 1.0)
    x = torch.zeros(1, requires_grad=True)
    with pytest.raises(InputError, match="a task's gradient is not finite"):
        method("mgda", 2).backward([(x / 0).sum(), x.sum()], [x])
    for name in ("scalarization", "uncertainty", "rlw-dirichlet"):
        with pytest.raises(InputError, match="a task's loss is not finite"):
            method(name, 2).backward([(x / 0).sum(), x.sum()], [x])


@pytest.mark.parametrize("name", METHODS)
def test_losses_that_cannot_be_combined_are_refused(name: str) -> None:
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(InputError, match="no losses"):
        method(name, 2).backward([], [x])
    with pytest.raises(InputError, match=r"a loss of shape \[3\] is no number"):
        method(name, 2).backward([x.sum(), x.square()], [x])
    losses = [x.sum(), x.sum().detach()]
    if name in ("scalarization", "rlw-normal", "rlw-dirichlet", "imtl-l", "uncertainty"):  # where one may be missing
        method(name, 2).backward(losses, [x])
        losses.pop(0)
        losses.append(losses[0])
    with pytest.raises(InputError, match=r"loss [01] depends on nothing that is trained; leave it out, or is it det"):
        method(name, 2).backward(losses, [x])
    if name in ("scalarization", "gradnorm", "imtl-l", "uncertainty"):
        with pytest.raises(InputError, match="3 losses for a method that was made for 2 tasks"):
            method(name, 2).backward([x.sum()] * 3, [x])
    if name in ("gradnorm", "graddrop", "mgda", "pcgrad", "imtl-g", "gradvac", "cagrad", "nash-mtl"):
        for shared in ([], [torch.ones(3)]):
            with pytest.raises(InputError, match="shared must be parameters"):
                method(name, 2).backward([x.sum(), x.square().sum()], shared)
    for bad in ({"alpha": -1.0}, {"alpha": math.nan}, {"lr": 0.0}):
        with pytest.raises(InputError, match="alpha must be 0 or more and lr above 0"):
            method("gradnorm", 2, **bad)
