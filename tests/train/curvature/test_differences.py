"""Searches by differences of gradients: what they find is confirmed by an exact product, or found by exact ones."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from omni.train.curvature import CurvatureError, Eigenpair, FlatError, Hessian, UnconvergedError, top_eigenvalue
from omni.train.curvature.differences import Differences


def network(kind: type[nn.Module] = nn.Tanh, dtype: torch.dtype = torch.float32, **options: bool) -> Hessian:
    """Of a small classifier, which has been trained a little."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 24), kind(), nn.Linear(24, 24), kind(), nn.Linear(24, 3)).to(dtype)
    x, y = torch.randn(60, 5, dtype=dtype), torch.randint(3, (60,))
    descent = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(30):
        descent.zero_grad()
        F.cross_entropy(net(x), y).backward()
        descent.step()
    return Hessian([lambda: F.cross_entropy(net(x), y)], list(net.parameters()), **options)


def largest(operator: Hessian) -> float:
    """Of the dense matrix, in float64."""
    rows = [operator @ row for row in torch.eye(operator.size, dtype=operator.gradient.dtype)]
    return float(torch.linalg.eigvalsh(torch.stack(rows).double())[-1])


def check_confirmed(operator: Hessian, found: Eigenpair) -> None:
    """Value and residual are those of an exact product with the vector."""
    product = operator @ found.vector
    assert float(found.vector.norm()) == pytest.approx(1, abs=1e-5)
    assert found.value == pytest.approx(float(found.vector @ product), rel=1e-4, abs=1e-6)
    assert found.residual == pytest.approx(float((product - found.value * found.vector).norm()), rel=0.01, abs=1e-4)
    assert found.error <= found.residual


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_exact_product_confirms_what_differences_find(dtype: torch.dtype) -> None:
    operator = network(dtype=dtype)
    before = [one.detach().clone() for one in operator.parameters]
    found = top_eigenvalue(operator, 0.01, hold=4)
    assert operator.products == 1 and found.products >= 10
    assert all(torch.equal(*pair) for pair in zip(before, operator.parameters, strict=True))
    check_confirmed(operator, found)
    assert found.value == pytest.approx(largest(operator), rel=0.01)


def test_products_are_true_to_a_hundredth_of_the_largest_eigenvalue() -> None:
    for operator in (network(), network().block(2, 4)):
        torch.manual_seed(1)
        by_differences, highest = Differences(operator), largest(operator)
        for _ in range(5):
            vector = F.normalize(torch.randn(operator.size) + operator.gradient, dim=0)
            error = float((by_differences @ vector - operator @ vector).norm())
            assert error < 0.01 * highest
        assert error < 0.005 * highest                                  # the step has found its length


@given(st.integers(0, 10_000), st.integers(2, 40), st.sampled_from(["near", "negative", "any"]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_random_quadratic_losses(seed: int, size: int, kind: str, aside: bool) -> None:
    """Largest eigenvalues that almost coincide, all below zero, or a gradient without the largest in it."""
    torch.manual_seed(seed)
    values = torch.randn(size, dtype=torch.float64).sort().values
    if kind == "near":
        values[-2] = values[-1] - 1e-3 * values[-1].abs()
    if kind == "negative":
        values = -0.1 - values.abs().sort(descending=True).values
    vectors = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))[0]
    matrix = (vectors * values) @ vectors.T
    weight = vectors @ (torch.randn(size, dtype=torch.float64) * (torch.arange(size) < size - aside))
    weight.requires_grad_()
    operator = Hessian([lambda: weight @ matrix @ weight / 2 + 1], [weight])
    found = top_eigenvalue(operator, 0.01, most=300, seed=seed)
    check_confirmed(operator, found)
    assert found.error <= 0.01 * abs(found.value) + 1e-9
    assert float((values - found.value).abs().min()) <= found.residual + 1e-6
    assert found.value <= float(values[-1]) + 1e-6


@pytest.mark.parametrize("seed", range(20))
def test_a_planted_lead_is_found_though_the_gradient_lacks_it(seed: int) -> None:
    torch.manual_seed(seed)
    values, weight = torch.rand(400, dtype=torch.float64) * 2 - 1, torch.randn(400, dtype=torch.float64)
    values[-1], weight[-1] = 3.0, 0.0
    weight.requires_grad_()
    operator = Hessian([lambda: (values * weight**2).sum() / 2], [weight])
    assert top_eigenvalue(operator, 0.01, seed=seed).value == pytest.approx(3.0, rel=0.01)


class Signs(torch.autograd.Function):
    """Signs with a gradient as if there were none, as weights of one bit have: differences see a loss in steps."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return grads[0]


def test_where_differences_see_another_matrix_exact_products_decide() -> None:
    torch.manual_seed(0)
    factor, weight = torch.randn(30, 30), torch.randn(30, requires_grad=True)

    def loss() -> Tensor:
        return (factor @ Signs.apply(weight)).square().sum()

    for surrogate in (Hessian([loss], [weight]), network(nn.ReLU)):
        found = top_eigenvalue(surrogate, 0.01, most=200)
        check_confirmed(surrogate, found)
        assert found.value == pytest.approx(largest(surrogate), rel=0.01)


def test_a_loss_that_chance_decides_is_searched_exactly() -> None:
    """Dropout drawn anew for each gradient; the record has one mask."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 30), nn.Tanh(), nn.Dropout(0.5), nn.Linear(30, 1))
    x, y = torch.randn(40, 8), torch.randn(40, 1)
    operator = Hessian([lambda: F.mse_loss(net(x), y)], list(net.parameters()))
    found = top_eigenvalue(operator, 0.01)
    assert operator.products > 3
    check_confirmed(operator, found)
    assert found.value == pytest.approx(largest(operator), rel=0.01)


def test_under_autocast_the_eigenvalue_is_that_of_exact_products() -> None:
    torch.manual_seed(0)
    net, x, y = nn.Sequential(nn.Linear(8, 30), nn.Tanh(), nn.Linear(30, 3)), torch.randn(40, 8), torch.arange(40) % 3

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return F.cross_entropy(net(x), y)

    found, exact = (top_eigenvalue(Hessian([loss], list(net.parameters()), movable=way), 0.02) for way in (True, False))
    assert found.value == pytest.approx(exact.value, rel=0.03)


def test_a_failing_loss_leaves_the_weights_as_they_were() -> None:
    torch.manual_seed(0)
    weight, calls = torch.randn(50, requires_grad=True), list[int]()
    before = weight.detach().clone()

    def loss() -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return weight.pow(4).sum()

    with pytest.raises(KeyboardInterrupt):
        top_eigenvalue(Hessian([loss], [weight]), 0.01)
    assert len(calls) == 3 and torch.equal(weight, before)


def test_a_gradient_that_ends_nearby_is_searched_exactly() -> None:
    weight = torch.ones(40, requires_grad=True)
    scale, calls = torch.linspace(1, 3, 40), list[int]()

    def loss() -> Tensor:
        calls.append(1)
        return (scale * weight**2).sum() * (1.0 if len(calls) == 1 else float("nan"))

    found = top_eigenvalue(Hessian([loss], [weight]), 0.01)
    assert found.value == pytest.approx(6, rel=0.02) and len(calls) == 2


@pytest.mark.parametrize("most", range(1, 8))
def test_few_products_are_not_exceeded_and_what_they_leave_is_exact(most: int) -> None:
    operator = network()
    try:
        found = top_eigenvalue(operator, 0.002, most=most)
    except UnconvergedError as error:
        found = error.best
    assert found.products <= most
    assert found.value == pytest.approx(float(found.vector @ (operator @ found.vector)), rel=1e-3)


def test_they_are_left_where_they_would_be_too_rough_or_weights_must_stay() -> None:
    for tolerance, operator in ((1e-5, network()), (0.01, network(movable=False)), (0.01, network().block(0, 1))):
        calls = operator.products
        found = top_eigenvalue(operator, tolerance)
        searched = operator.products - calls
        assert searched == (found.products if operator.size > 200 else 1)
    twice = torch.randn(30, requires_grad=True) * 2
    inner = Hessian([lambda: twice.pow(4).sum()], [twice])
    assert top_eigenvalue(inner, 0.01).products == inner.products


def test_a_flat_loss_is_flat() -> None:
    weight = torch.randn(20, requires_grad=True)
    with pytest.raises(FlatError):
        top_eigenvalue(Hessian([lambda: weight.sum()], [weight]), 0.01)
    with pytest.raises(CurvatureError):
        top_eigenvalue(Hessian([lambda: weight.abs().sum()], [weight]), 0.01)
