"""Where an optimizer's steps stop being stable, against what torch's own optimizers do on a quadratic."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.train.curvature import Hessian, Preconditioner, Scaled, threshold, top_eigenvalue

KINDS = st.sampled_from(["ema", "heavy-ball", "nesterov", "nesterov-ema"])


@given(st.floats(1e-4, 10), st.floats(0, 0.99), st.floats(0, 0.5), KINDS)
@settings(max_examples=60, deadline=None)
def test_beyond_the_threshold_a_quadratic_diverges(lr: float, b: float, decay: float, kind: str) -> None:
    """The spectral radius of one step on a x^2 / 2, state (x, m), crosses one exactly there."""
    limit = threshold(lr, b, kind, decay / lr)  # type: ignore[arg-type]
    for share, stable in ((0.999, True), (1.001, False)):
        a, new = share * limit, 1 - b if kind in ("ema", "nesterov-ema") else 1.0
        mean = np.array([new * a, b])                                   # m' in terms of (x, m)
        step = new * np.array([a, 0]) + b * mean if kind in ("nesterov", "nesterov-ema") else mean
        moved = np.stack([np.array([1 - decay, 0]) - lr * step, mean])
        balanced = np.diag([1, lr]) @ moved @ np.diag([1, 1 / lr])
        assert (max(abs(np.linalg.eigvals(balanced))) <= 1 + 1e-12) == stable


def test_threshold_of_adam_is_38() -> None:
    assert threshold(1.0, 0.9) == pytest.approx(38) and threshold(0.1) == pytest.approx(20)


def test_what_does_not_move_has_no_threshold() -> None:
    """And what moves beside it is felt as if it were alone."""
    weights = [torch.ones(2, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": weights[:1], "lr": 0.0}, {"params": weights[1:]}], lr=0.1)
    scale = Preconditioner.of_optimizer(optimizer)
    assert threshold(0.0, 0.9) == math.inf and scale.threshold == pytest.approx(20)
    assert scale(torch.ones(4)).tolist() == pytest.approx([0, 0, 20**-0.5, 20**-0.5])
    with pytest.raises(ValueError, match="0 or more"):
        threshold(-0.1)


@pytest.mark.parametrize(
    "more", [{}, {"dampening": 0.9}, {"dampening": 0.5}, {"nesterov": True}, {"momentum": 0.0, "dampening": 0.5}]
)
def test_sgd_of_torch_is_stable_up_to_its_threshold(more: dict[str, Any]) -> None:
    """On a x^2 / 2 at a little less and a little more."""
    for share, stable in ((0.9, True), (1.1, False)):
        x = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([x], lr=0.1, **{"momentum": 0.9, **more})
        bend = share * Preconditioner.of_optimizer(optimizer).threshold
        for _ in range(100):
            x.grad = bend * x.detach()
            optimizer.step()
        assert (float(x.detach().abs()) < 1) == stable


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("b1", [0.5, 0.9])
def test_adam_of_torch_is_stable_up_to_its_threshold(kind: Any, step: int, b1: float) -> None:
    """On a x^2 / 2 at a little less and a little more, if all steps were like step `step`: so near to x = 0, P is eps
    but for the bias of the momentum.
    """
    for share, stable in ((0.98, True), (1.02, False)):
        x = torch.full((1,), 1e-20, dtype=torch.float64, requires_grad=True)
        optimizer = kind([x], lr=0.1, betas=(b1, 0.9), eps=1.0, weight_decay=0.0)
        x.grad = torch.zeros_like(x)
        optimizer.step()                                                # goes nowhere
        count = optimizer.state[x]["step"].fill_(step)
        scale = Preconditioner.of_optimizer(optimizer)
        bend = share / float(scale(scale(torch.ones(1, dtype=torch.float64))))
        for _ in range(200):
            x.grad = bend * x.detach()
            count.fill_(step - 1)
            optimizer.step()
        assert (float(x.detach().abs()) < 1e-20) == stable


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        (torch.optim.SGD, {}),
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}),
        (torch.optim.RMSprop, {"eps": 1.0}),
        (torch.optim.RMSprop, {"eps": 1.0, "momentum": 0.9}),
        (torch.optim.Adam, {"eps": 1.0}),
    ],
)
def test_decay_that_is_added_to_the_gradient_bends_as_the_loss_does(kind: Any, chosen: dict[str, Any]) -> None:
    """On a x^2 / 2 for which both together are a little less and a little more than is stable."""
    for share, stable in ((0.97, True), (1.03, False)):
        x = torch.full((1,), 1e-20, dtype=torch.float64, requires_grad=True)
        optimizer = kind([x], lr=0.1, weight_decay=4.0, **chosen)
        for _ in range(200 if kind is torch.optim.Adam else 1):         # until the bias of Adam's momentum is gone
            x.grad = torch.zeros_like(x)
            optimizer.step()
        with torch.no_grad():
            x.fill_(1e-20)
        scale = Preconditioner.of_optimizer(optimizer)
        bend = share / float(scale(scale(torch.ones(1, dtype=torch.float64)))) - 4.0
        ratio = top_eigenvalue(Scaled(Hessian([lambda x=x, bend=bend: (bend * x**2 / 2).sum()], [x]), scale)).value
        assert ratio == pytest.approx(share)
        for _ in range(300):
            x.grad = bend * x.detach()
            optimizer.step()
        assert (float(x.detach().abs()) < 1e-20) == stable


def test_clipping_lessens_the_curvature_and_not_the_decay() -> None:
    """A quarter of 10, and 4, times the rate of 0.1, over 2."""
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    (group,) = torch.optim.SGD([x], lr=0.1, weight_decay=4.0).param_groups
    scaled = Scaled(Hessian([lambda: 5 * (x**2).sum()], [x]), Preconditioner.of([x], [{}], [group], kept=0.25))
    assert top_eigenvalue(scaled).value == pytest.approx((0.25 * 10 + 4) * 0.1 / 2)


def test_decay_beside_the_gradient_lowers_the_threshold() -> None:
    x = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.AdamW([x], lr=0.1, weight_decay=1.0)
    x.grad = torch.ones(1)
    optimizer.step()
    assert Preconditioner.of_optimizer(optimizer).threshold == pytest.approx(0.95 * threshold(0.1, 0.9))


@pytest.mark.parametrize(("decay", "step"), [(0.0, 1), (0.9, 3)])
def test_muon_is_preconditioned_as_it_steps(decay: float, step: int) -> None:
    """P^-1 m is the orthogonalised m, by singular value decomposition, of the average m that momentum is."""
    torch.manual_seed(0)
    momentum = torch.randn(10, 6, dtype=torch.float64)
    group = {"lr": 1.0, "momentum": decay, "weight_decay": 0.0}
    state = {"momentum": momentum, "rows": [4, 6], "step": step}
    scale = Preconditioner.of([momentum], [state], [group])
    average = momentum.flatten() / (1 - decay**step)
    twice = (scale(scale(average)) * threshold(1.0, decay, "nesterov-ema")).view(10, 6)
    for part, found in zip(momentum.split([4, 6]), twice.split([4, 6]), strict=True):
        u, _, v = torch.linalg.svd(part, full_matrices=False)
        assert torch.allclose(found, u @ v * 0.2 * math.sqrt(max(part.shape)), atol=1e-6)
