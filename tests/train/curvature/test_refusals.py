"""Losses whose curvature cannot be had, and what is said of them."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel

from omni.model.config import ModelConfig
from omni.model.loss import linear_cross_entropy
from omni.model.transformer import Batch, OmniTransformer
from omni.train import optimizers as omni_optimizers
from omni.train.curvature import (
    CurvatureError,
    FlatError,
    Hessian,
    Preconditioner,
    density,
    power_iteration,
    threshold,
    top_eigenvalue,
)


class Cubes(torch.autograd.Function):
    """Sum of cubes, whose gradient is computed from numbers alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.pow(3).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return 3 * slope * ctx.saved_tensors[0].square()


class Unrecorded(Cubes):
    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return 3 * slope.detach() * ctx.saved_tensors[0].detach().square()


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(("kind", "words"), [(Cubes, "once_differentiable"), (Unrecorded, "not recorded")])
def test_what_is_not_recorded_is_refused_and_not_taken_for_constant(kind: Any, words: str, keep: bool) -> None:
    w, v = (torch.ones(2, requires_grad=True) for _ in range(2))
    with pytest.raises(CurvatureError, match=words):
        Hessian([lambda: 100 * kind.apply(w) + v.square().sum()], [w, v], keep=keep)


def test_gradients_by_hand_refuse_to_be_recorded() -> None:
    """Where attention has second derivatives the rest would be counted as constant. `Hessian` takes the other way."""
    shape = ModelConfig(d_model=8, n_layers=1, n_heads=2, n_kv_heads=2, d_ff=8, vocab_size=16)
    model, some = OmniTransformer(shape), torch.ones(1, 4, dtype=torch.long)
    batch, parameters = Batch(some[:, :, None], some.bool(), some, some.bool()), list(model.parameters())
    assert Hessian([lambda: model(batch).total], parameters).gradient.any()
    with sdpa_kernel(SDPBackend.MATH):
        with pytest.raises(RuntimeError, match="twice_differentiable"):
            torch.autograd.grad(model(batch).total, parameters, create_graph=True)
        hidden, table = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4)
        total, _ = linear_cross_entropy(hidden, table, torch.arange(3), 0.0)
        with pytest.raises(RuntimeError, match="twice_differentiable"):
            torch.autograd.grad(total, hidden, create_graph=True)


@pytest.mark.parametrize("keep", [True, False])
def test_a_linear_part_adds_nothing(keep: bool) -> None:
    w, v = (torch.ones(2, requires_grad=True) for _ in range(2))
    parts = [lambda: 3 * w.sum(), lambda: w.square().sum(), lambda: v.square().sum()]
    assert torch.equal(Hessian(parts, [w], keep=keep) @ torch.ones(2), torch.full((2,), 2.0))


def test_what_has_no_curvature_says_so() -> None:
    weight = torch.zeros(3, requires_grad=True)
    with pytest.raises(CurvatureError, match="not finite"):
        Hessian([lambda: (weight / 0).sum()], [weight])
    with pytest.raises(CurvatureError, match="the loss has numbers that are not finite"):
        Hessian([lambda: weight.square().sum() + torch.inf], [weight])
    with pytest.raises(CurvatureError, match="no derivative here"):
        Hessian([weight.abs().sqrt().sum], [weight])
    with pytest.raises(CurvatureError, match="float has no gradient"):
        Hessian([lambda: float(weight.sum())], [weight])  # type: ignore[arg-type, return-value]
    with pytest.raises(CurvatureError, match="does not depend"):
        Hessian([lambda: torch.ones(3).sum()], [weight])
    with pytest.raises(CurvatureError, match="no parameter"):
        Hessian([lambda: weight.sum()], [weight.detach()])
    with pytest.raises(CurvatureError, match="linear"):
        top_eigenvalue(Hessian([lambda: weight.sum()], [weight]))
    for flat in (lambda: weight.relu().square().sum() * 0, lambda: (1 + weight).relu().sum()):
        with pytest.raises(FlatError, match="constant or linear, or like ReLU in pieces"):
            top_eigenvalue(Hessian([flat], [weight]))
    for keep in (True, False):
        with pytest.raises(CurvatureError, match=r"shape \[3\] is no number"):
            Hessian([weight.exp], [weight], keep=keep)
    fresh = torch.optim.Adam([weight])
    with pytest.raises(CurvatureError, match="no step yet"):
        Preconditioner.of([weight], [{"exp_avg_sq": weight.detach(), "step": 0}], fresh.param_groups)


def optimizers(*kinds: type[torch.optim.Optimizer]) -> list[torch.optim.Optimizer]:
    """Each with a step taken."""
    found = []
    for kind in kinds:
        weight = torch.ones(2, 2, requires_grad=True)
        weight.grad = torch.ones(2, 2)
        found.append(kind([weight], lr=0.1))  # type: ignore[call-arg]
        found[-1].step()
    return found


def test_optimizers_whose_preconditioner_is_not_known_are_refused() -> None:
    """Theirs would be taken for gradient descent's or for Adam's."""
    kinds = torch.optim.Adagrad, torch.optim.Adamax, torch.optim.Adadelta, torch.optim.NAdam, torch.optim.RAdam
    for optimizer in optimizers(*kinds):
        with pytest.raises(CurvatureError, match=f"{type(optimizer).__name__} divides by is not known, only: SGD"):
            Preconditioner.of_optimizer(optimizer)
    for known in optimizers(omni_optimizers.AdamW, omni_optimizers.Adafactor):
        assert Preconditioner.of_optimizer(known).threshold > 0


def test_before_its_first_step_only_gradient_descent_has_a_threshold() -> None:
    weight = torch.ones(2, 2, requires_grad=True)
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adafactor):
        with pytest.raises(CurvatureError, match="no step yet"):
            Preconditioner.of_optimizer(kind([weight], lr=0.1))
    assert Preconditioner.of_optimizer(torch.optim.SGD([weight], lr=0.1)).threshold == pytest.approx(20)


def test_muon_has_matrices_and_others() -> None:
    matrix, other = (torch.nn.Parameter(torch.randn(size)) for size in ((4, 3), (5,)))
    muon = omni_optimizers.Muon([(matrix, [4])], omni_optimizers.AdamW([other], lr=0.1), lr=0.1, weight_decay=0.0)
    for parameter in (matrix, other):
        parameter.grad = torch.randn_like(parameter)
    with pytest.raises(CurvatureError, match="no step yet"):
        Preconditioner.of_optimizer(muon)
    muon.step()
    found = Preconditioner.of_optimizer(muon)
    assert found.threshold == pytest.approx(threshold(0.1, 0.95, "nesterov-ema"))
    assert bool(found(torch.randn(17)).isfinite().all())


def test_sizes_that_cannot_be_are_refused() -> None:
    weight = torch.ones(3, requires_grad=True)
    operator = Hessian([lambda: weight.pow(4).sum()], [weight])
    for bad in ({"basis": 1}, {"most": 0}, {"start": torch.ones(2)}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            top_eigenvalue(operator, **bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="most"):
        power_iteration(operator, most=0)
    with pytest.raises(ValueError, match="samples"):
        density(operator, samples=0)


def test_a_search_that_cannot_begin_is_refused() -> None:
    """And not with the words of a run that has diverged."""
    weight = torch.ones(3, requires_grad=True)
    operator = Hessian([lambda: weight.pow(4).sum()], [weight])
    for search in (top_eigenvalue, power_iteration):
        for bad in ({"tolerance": 0.0}, {"tolerance": torch.nan}, {"start": torch.full((3,), torch.nan)},
                    {"start": torch.ones(4)}):  # fmt: skip
            with pytest.raises(ValueError, match=f"^{next(iter(bad))}: "):
                search(operator, **bad)  # type: ignore[operator]
    with pytest.raises(ValueError, match="start: must not be zero"):
        power_iteration(operator, start=torch.zeros(3))
    assert top_eigenvalue(operator, start=torch.zeros(3)).value == pytest.approx(12)


def test_complex_parameters_are_refused() -> None:
    weight = torch.ones(2, dtype=torch.complex64, requires_grad=True)
    with pytest.raises(CurvatureError, match="view_as_real"):
        Hessian([lambda: weight.abs().square().sum()], [weight])


@pytest.mark.parametrize("keep", [True, False])
def test_who_has_no_finite_loss_takes_part_in_the_sum_all_the_same(keep: bool) -> None:
    """Other processes would wait for it; what it adds is no number, so that they hear of it."""
    weight, sums, scale = torch.ones(2, requires_grad=True), list[Tensor](), [torch.nan]

    def total(vector: Tensor) -> Tensor:
        sums.append(vector.clone())
        return vector

    def loss() -> Tensor:
        return scale[0] * weight.pow(4).sum()

    with pytest.raises(CurvatureError, match="the loss has numbers that are not finite"):
        Hessian([loss], [weight], total, keep)
    assert len(sums) == 1 and bool(sums[0].isnan().all())
    scale[0] = 1.0
    operator = Hessian([loss], [weight], total, keep)
    scale[0] = torch.nan
    if not keep:                                                        # the loss is computed again
        with pytest.raises(CurvatureError, match="the loss has numbers that are not finite"):
            operator @ torch.ones(2)
        assert len(sums) == 3 and bool(sums[2].isnan().all())


def test_what_another_process_cannot_add_is_heard_of_here() -> None:
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(CurvatureError, match="the gradient has numbers that are not finite"):
        Hessian([lambda: weight.square().sum()], [weight], lambda vector: vector + torch.nan)
