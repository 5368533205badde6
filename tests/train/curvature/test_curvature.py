"""Curvature against dense algebra in float64, closed forms and other libraries."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni.model.config import ModelConfig
from omni.model.transformer import Batch, OmniTransformer
from omni.model.twice import twice_differentiable
from omni.train.curvature import (
    CurvatureError,
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


@pytest.mark.parametrize("keep", [True, False])
def test_the_curvature_of_a_part_is_its_diagonal_block(keep: bool) -> None:
    model, x, y = mlp()
    operator = Hessian([lambda: F.mse_loss(model(x), y)], list(model.parameters()), keep=keep)
    block = operator.block(1, 3)                                        # the first offsets and the second matrix
    assert torch.allclose(dense(block), dense_by_torch(model, x, y)[40:72, 40:72], atol=1e-12)
    assert torch.equal(block.guess(), operator.guess()[40:72])


@pytest.mark.parametrize("named", [True, False])
def test_groups_of_an_optimizer_are_put_in_the_order_of_the_hessian(named: bool) -> None:
    """As decay and no decay divide them: offsets last, where the model has them between its matrices."""
    model, x, y = mlp()
    model[0].requires_grad_(named)                                      # what is not trained is in neither
    matrices, offsets = ([p for p in model.parameters() if p.dim() == dim] for dim in (2, 1))
    groups = [{"params": matrices, "weight_decay": 0.5}, {"params": offsets, "weight_decay": 0.0, "lr": 0.03}]
    optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.5, 0.9))
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    operator = Hessian([lambda: F.mse_loss(model(x), y)], list(model.parameters()))
    scale = Preconditioner.of_optimizer(optimizer, list(model.parameters()))
    roots = []
    for parameter in operator.parameters:
        lr, decay = (0.01, 0.5) if parameter.dim() == 2 else (0.03, 0.0)
        root = (optimizer.state[parameter]["exp_avg_sq"] / (1 - 0.9**3)).sqrt() + 1e-8
        limit = threshold(lr, 0.5, "ema", decay)
        roots.append(((1 - 0.5**3) * root * limit).rsqrt().flatten())   # type: ignore[attr-defined]
    factor = torch.cat(roots)
    expected = torch.linalg.eigvalsh(factor[:, None] * dense(operator) * factor)[-1]
    assert top_eigenvalue(Scaled(operator, scale), 1e-7).value == pytest.approx(float(expected), rel=1e-5)
    if named:
        with pytest.raises(CurvatureError, match="in another order"):
            Scaled(operator, Preconditioner.of_optimizer(optimizer))
    with pytest.raises(CurvatureError, match=r"1 of . parameters are not the optimizer's, the first of shape \[2\]"):
        Preconditioner.of_optimizer(optimizer, [*model.parameters(), torch.ones(2, requires_grad=True)])
    with pytest.raises(CurvatureError, match="of other parameters than the Hessian"):
        Scaled(operator, Preconditioner.of_optimizer(optimizer, matrices))


@pytest.mark.parametrize("channels", [1, 2])
def test_words_that_weigh_more_have_curvature_in_float64(channels: int) -> None:
    """Where the losses are of another type than those of training; by differences of gradients."""
    torch.manual_seed(0)
    audio = {"audio_start": 8, "codebook_size": 4, "channels": channels, "layout": "delay" if channels > 1 else "flat"}
    shape = {"d_model": 8, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "d_ff": 8, "vocab_size": 16}
    model = OmniTransformer(ModelConfig(**shape, **audio, text_weight=0.5)).double()  # type: ignore[arg-type]
    ids = torch.stack([torch.randint(1, 12, (2, 12)), *[torch.randint(12, 16, (2, 12))] * (channels - 1)], dim=-1)
    whole = torch.ones(2, 12, dtype=torch.long)
    batch, parameters = Batch(ids, whole.bool(), whole, ~whole.bool()), list(model.parameters())
    operator = Hessian([lambda: model(batch).total], parameters)
    vector = F.normalize(torch.randn(operator.size, dtype=torch.float64), dim=0)
    flat = nn.utils.parameters_to_vector(parameters).detach()
    gradients = []
    for step in (1e-5, -1e-5):
        nn.utils.vector_to_parameters(flat + step * vector, parameters)
        gradients.append(Hessian([lambda: model(batch).total], parameters).gradient)
    by_hand = (gradients[0] - gradients[1]) / 2e-5
    nn.utils.vector_to_parameters(flat, parameters)
    product = Hessian([lambda: model(batch).total], parameters) @ vector
    assert product.dtype == torch.float64 and torch.allclose(product, by_hand, atol=1e-6 * float(by_hand.norm()))
