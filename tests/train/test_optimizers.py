"""Muon against the singular value decomposition and the one in torch; what Adafactor and Muon go with."""

import pytest
import torch
from torch import nn

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.train.backend import make_optimizer
from omni.train.optimizers import Muon, orthogonal
from omni.train.recipe import OptimizerRecipe, Recipe
from omni.vocab import Vocabulary


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16)])
def test_orthogonal_keeps_directions_and_evens_out_lengths(shape: tuple[int, int], half: bool) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    ours = orthogonal(matrix, half) / (0.2 * max(shape) ** 0.5)
    values = torch.linalg.svdvals(ours)
    assert 0.6 < float(values.min()) and float(values.max()) < 1.3
    core = u.T @ ours @ v.T                                             # diagonal when the directions are kept
    assert float((core - core.diag().diag()).abs().max()) < (2e-2 if half else 1e-3)


def test_a_step_is_that_of_torch() -> None:
    """torch works in bf16, so the two agree to its precision."""
    torch.manual_seed(0)
    start = torch.randn(32, 64)
    mine, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    bias = nn.Parameter(torch.zeros(3))
    ours = Muon([(mine, [32])], torch.optim.AdamW([bias], lr=0.1, weight_decay=0.0), lr=0.1, weight_decay=0.1)
    peer = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = torch.randn(32, 64)
        mine.grad, theirs.grad, bias.grad = gradient.clone(), gradient.clone(), torch.ones(3)
        ours.step()
        peer.step()
    moved = (theirs - start).detach().norm()
    assert float((mine - theirs).detach().norm() / moved) < 0.02
    assert torch.allclose(bias, torch.full((3,), -0.3), atol=1e-5)      # AdamW: a constant gradient moves by the rate


def test_stacked_matrices_are_orthogonalised_apart() -> None:
    torch.manual_seed(0)
    stacked = nn.Parameter(torch.zeros(24, 16))
    optimizer = Muon([(stacked, [16, 8])], torch.optim.AdamW([nn.Parameter(torch.zeros(1))]), lr=1.0, weight_decay=0.0)
    stacked.grad = torch.randn(24, 16)
    optimizer.step()
    parts = [orthogonal(part) for part in stacked.grad.split([16, 8])]
    assert torch.allclose(-stacked, torch.cat(parts), atol=1e-5)


@pytest.mark.parametrize("layout", ["flat", "delay", "depth"])
def test_every_matrix_of_a_model_is_moved(layout: str) -> None:
    """Grouped queries in the model, and as many keys as queries in the depth head."""
    torch.manual_seed(0)
    vocab = Vocabulary(text=20, codebooks=2, codebook_size=9, image=5, picture_tokens=2, layout=layout)
    shape = ModelConfig(d_model=32, n_layers=1, n_heads=4, n_kv_heads=2, d_ff=48)
    model = OmniTransformer(shape.for_vocabulary(vocab))
    optimizer = make_optimizer(model, Recipe(data=["."], optimizer=OptimizerRecipe(kind="muon"), zero=0))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    assert all(bool((parameter != before[name]).any()) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("kind", ["adafactor", "muon"])
def test_what_needs_whole_matrices_is_refused_with_zero(kind: str) -> None:
    with pytest.raises(InputError, match=rf"optimizer\.kind: {kind} .*; use zero: 0, not 2"):
        Recipe(data=["."], zero=2, optimizer=OptimizerRecipe(kind=kind))  # type: ignore[arg-type]
