"""Curvature against dense algebra in float64, closed forms and other libraries."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from omni.model.config import ModelConfig
from omni.model.transformer import Batch, OmniTransformer
from omni.model.twice import twice_differentiable
from omni.train.curvature import (
    Hessian,
    Preconditioner,
    Scaled,
    density,
    hutch_plus_plus,
    hutchinson,
    threshold,
    top_eigenvalue,
)


def mlp(seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    return model, torch.randn(32, 5).double(), torch.randn(32, 3).double()


def dense(operator: Hessian | Scaled) -> Tensor:
    """By products with unit vectors."""
    return torch.stack([operator @ row for row in torch.eye(operator.size, dtype=torch.float64)])


def dense_by_torch(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """torch.autograd.functional on one flat vector."""
    flat = nn.utils.parameters_to_vector(model.parameters()).detach()
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}

    def loss(vector: Tensor) -> Tensor:
        pieces = vector.split([shape.numel() for shape in shapes.values()])
        named = {name: piece.view(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)}
        return F.mse_loss(torch.func.functional_call(model, named, (x,)), y)

    return torch.autograd.functional.hessian(loss, flat)


def tiny(prefix: bool = False, kv_heads: int = 2) -> tuple[OmniTransformer, Batch]:
    torch.manual_seed(0)
    shape = ModelConfig(d_model=8, n_layers=2, n_heads=2, n_kv_heads=kv_heads, d_ff=8, vocab_size=16, prefix=prefix)
    batch = Batch(
        torch.randint(1, 16, (2, 12, 1)),
        torch.ones(2, 12, dtype=torch.bool),
        torch.tensor([[1] * 5 + [2] * 7, [1] * 8 + [0] * 4]),
        torch.zeros(2, 12, dtype=torch.bool),
    )
    model = OmniTransformer(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model, batch


def test_products_and_eigenvalue_are_those_of_the_dense_matrix() -> None:
    model, x, y = mlp()
    operator = Hessian([lambda: F.mse_loss(model(x), y)], list(model.parameters()))
    expected = dense_by_torch(model, x, y)
    assert torch.allclose(dense(operator), expected, atol=1e-12)
    values, vectors = torch.linalg.eigh(expected)
    found = top_eigenvalue(operator, tolerance=1e-7)
    assert found.value == pytest.approx(float(values[-1]), rel=1e-6)
    assert abs(float(found.vector @ vectors[:, -1])) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("prefix", "kv_heads"), [(False, 2), (False, 1), (True, 2)])
def test_products_of_an_omni_model_are_differences_of_gradients(prefix: bool, kv_heads: int) -> None:
    """In float64, where the model trains by hand-written gradients in fp32."""
    model, batch = tiny(prefix, kv_heads)
    model.double()
    parameters = list(model.parameters())
    with twice_differentiable():
        operator = Hessian([lambda: model(batch).total], parameters)
        vector = F.normalize(torch.randn(operator.size, dtype=torch.float64), dim=0)
        product = operator @ vector
    flat = nn.utils.parameters_to_vector(parameters).detach()

    def gradient(step: float) -> Tensor:
        nn.utils.vector_to_parameters(flat + step * vector, parameters)
        return torch.cat([g.flatten() for g in torch.autograd.grad(model(batch).total, parameters)])

    by_hand = (gradient(1e-2) - gradient(-1e-2)) / 2e-2                 # the loss itself is computed in fp32
    assert float((product - by_hand).norm() / by_hand.norm()) < 5e-3
    with twice_differentiable():
        exact = (gradient(1e-4) - gradient(-1e-4)) / 2e-4
    assert float((product - exact).norm() / exact.norm()) < 1e-6


def test_parts_autocast_recomputation_and_memory_change_nothing() -> None:
    model, batch = tiny()
    rows = [Batch(batch.ids[i : i + 1], batch.loss[i : i + 1], batch.document[i : i + 1], batch.prefix[i : i + 1])
            for i in range(2)]  # fmt: skip
    parameters = list(model.parameters())
    vector = torch.randn(sum(p.numel() for p in parameters))
    with twice_differentiable():
        whole = Hessian([lambda: model(batch).total], parameters) @ vector
        parts = [lambda row=row: model(row).total for row in rows]
        for keep in (True, False):
            assert torch.allclose(Hessian(parts, parameters, keep=keep) @ vector, whole, rtol=1e-4, atol=1e-3)
        model.recompute = True
        again = Hessian([lambda: model(batch).total], parameters)
        assert torch.allclose(again @ vector, whole, rtol=1e-4, atol=1e-3)
        assert torch.allclose(again @ vector, whole, rtol=1e-4, atol=1e-3)  # the graph outlives a product
        model.recompute = False
        with torch.autocast("cpu", torch.bfloat16):
            rough = Hessian([lambda: model(batch).total], parameters) @ vector
    assert float((rough - whole).norm() / whole.norm()) < 0.1
    assert torch.allclose(Hessian([lambda: model(batch).total], parameters) @ vector, whole, rtol=1e-4, atol=1e-3)


def test_peers_agree() -> None:
    """PyHessian and curvlinops on the same loss."""
    from curvlinops import HessianLinearOperator
    from pyhessian import hessian
    from scipy.sparse.linalg import eigsh

    model, x, y = mlp(1)
    operator = Hessian([lambda: F.mse_loss(model(x), y)], list(model.parameters()))
    ours = top_eigenvalue(operator, tolerance=1e-4).value
    theirs = HessianLinearOperator(model, nn.MSELoss(), list(model.parameters()), [(x, y)])
    assert eigsh(theirs.to_scipy(), k=1, which="LA")[0][0] == pytest.approx(ours, rel=1e-2)
    found, _ = hessian(model, nn.MSELoss(), data=(x, y), cuda=False).eigenvalues(maxIter=1000, tol=1e-7)
    assert found[0] == pytest.approx(ours, rel=1e-2)


def test_trace_and_density_are_those_of_the_dense_matrix() -> None:
    model, x, y = mlp()
    operator = Hessian([lambda: F.mse_loss(model(x), y)], list(model.parameters()))
    values = torch.linalg.eigvalsh(dense_by_torch(model, x, y)).numpy()
    for found in (hutchinson(operator, 400), hutch_plus_plus(operator, 60)):
        assert abs(found.value - values.sum()) < 4 * found.error + 1e-9
    plus = hutch_plus_plus(operator, 3 * operator.size)                 # the sketch spans everything: exact
    assert plus.value == pytest.approx(values.sum(), rel=1e-9)
    spectrum = density(operator, samples=60, steps=20)
    assert spectrum.weights.sum() == pytest.approx(1)
    for order in (1, 2, 3):
        assert spectrum.moment(order) == pytest.approx((values**order).mean(), rel=0.15)
    grid = np.linspace(values.min() - 1, values.max() + 1, 2000)
    assert np.trapezoid(spectrum.at(grid, 0.05), grid) == pytest.approx(1, abs=1e-3)


def test_the_error_of_a_density_is_that_of_its_samples() -> None:
    """Against the dense spectrum, with as many products that the vectors alone are left to chance."""
    model, x, y = mlp()
    operator = Hessian([lambda: F.mse_loss(model(x), y)], list(model.parameters()))
    values = torch.linalg.eigvalsh(dense_by_torch(model, x, y)).numpy()
    grid, width = np.linspace(values.min() - 0.3, values.max() + 0.3, 200), 0.1
    exact = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2).mean(axis=1) / (width * math.sqrt(2 * math.pi))
    few, many = (density(operator, samples, steps=operator.size) for samples in (8, 32))
    for found in (few, many):
        off = np.abs(found.at(grid, width) - exact) / (found.error(grid, width) + 1e-9)
        assert 0.2 < np.median(off) < 1.5 and (off < 4).all()
    assert many.error(grid, width).mean() == pytest.approx(few.error(grid, width).mean() / 2, rel=0.3)
    assert np.isinf(density(operator, 1).error(grid, width)).all()


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


def test_decay_in_the_loss_moves_no_threshold() -> None:
    state = [{"exp_avg_sq": torch.ones(1), "step": 3}]
    group: dict[str, Any] = {"lr": 0.1, "betas": (0.9, 0.99), "eps": 0.0}
    for kind, share in ((torch.optim.Adam, 1.0), (torch.optim.AdamW, 0.95)):
        made = kind([torch.zeros(1)], weight_decay=1.0).param_groups[0]
        found = Preconditioner.of([torch.zeros(1)], state, [{**made, **group}]).threshold
        assert found == pytest.approx(share * threshold(0.1, 0.9))


def stepped(kind: type[torch.optim.Optimizer], **settings: object) -> tuple[nn.Module, torch.optim.Optimizer, Hessian]:
    model, x, y = mlp()
    optimizer = kind(model.parameters(), **settings)  # type: ignore[call-arg]
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    return model, optimizer, Hessian([lambda: F.mse_loss(model(x), y)], list(model.parameters()))


def test_the_preconditioned_hessian_is_that_of_the_update() -> None:
    """The ratio from P^-1 H, P read off from what one step of torch's own optimizer does with a gradient."""
    cases: list[tuple[type[torch.optim.Optimizer], dict[str, Any], float]] = [
        (torch.optim.Adam, {"lr": 0.01, "betas": (0.0, 0.99)}, 2 / 0.01),
        (torch.optim.AdamW, {"lr": 0.01, "betas": (0.0, 0.9), "weight_decay": 0.0}, 2 / 0.01),
        (torch.optim.Adam, {"lr": 0.01, "betas": (0.0, 0.5), "amsgrad": True}, 2 / 0.01),
        (torch.optim.RMSprop, {"lr": 0.01}, 2 / 0.01),
        (torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.5, "centered": True}, 2 / 0.01),
        (torch.optim.SGD, {"lr": 0.1}, 2 / 0.1),
        (torch.optim.Adafactor, {"lr": 0.01, "weight_decay": 0.0, "d": 1e9}, 2 / 0.01),
    ]
    for kind, chosen, limit in cases:
        _, optimizer, operator = stepped(kind, **chosen)
        found = top_eigenvalue(Scaled(operator, Preconditioner.of_optimizer(optimizer)), 1e-6)
        # replay the last step's change: with P frozen, change = -lr P^-1 g
        model2, x, y = mlp()
        replay = kind(model2.parameters(), **chosen)
        for _ in range(2):
            replay.zero_grad()
            F.mse_loss(model2(x), y).backward()
            replay.step()
        before = nn.utils.parameters_to_vector(model2.parameters()).detach()
        replay.zero_grad()
        F.mse_loss(model2(x), y).backward()
        gradient = torch.cat([p.grad.flatten() for p in model2.parameters() if p.grad is not None])
        replay.step()
        inverse = (before - nn.utils.parameters_to_vector(model2.parameters()).detach()) / gradient / chosen["lr"]
        matrix = inverse[:, None] * dense(operator)
        if kind is torch.optim.Adafactor:                               # its steps scale with the parameter before them
            assert found.value == pytest.approx(float(torch.linalg.eigvals(matrix).real.max()) / limit, rel=0.05)
        else:
            assert found.value == pytest.approx(float(torch.linalg.eigvals(matrix).real.max()) / limit, rel=1e-5)


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


@pytest.mark.parametrize("keep", [True, False])
def test_the_curvature_of_a_part_is_its_diagonal_block(keep: bool) -> None:
    model, x, y = mlp()
    operator = Hessian([lambda: F.mse_loss(model(x), y)], list(model.parameters()), keep=keep)
    block = operator.block(1, 3)                                        # the first offsets and the second matrix
    assert torch.allclose(dense(block), dense_by_torch(model, x, y)[40:72, 40:72], atol=1e-12)
    assert torch.equal(block.guess(), operator.guess()[40:72])
