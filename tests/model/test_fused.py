import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from omni.model.attention import Rope
from omni.model.fused import RMSNorm, rotate


@settings(max_examples=20)
@given(shape=st.lists(st.integers(1, 5), max_size=3), width=st.sampled_from([2, 8, 16]), seed=st.integers(0, 99))
def test_the_norm_and_its_gradients_are_those_of_torch(shape: list[int], width: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(*shape, 1, width, requires_grad=True)
    ours, theirs = RMSNorm(width, 1e-5), nn.RMSNorm(width, 1e-5)
    ours.weight.data.normal_()
    theirs.load_state_dict(ours.state_dict())
    wanted = torch.randn_like(x)
    found = torch.autograd.grad(ours(x), [x, ours.weight], wanted)
    expected = torch.autograd.grad(theirs(x), [x, theirs.weight], wanted)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=20)
@given(steps=st.integers(1, 6), heads=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_rotation_is_that_of_complex_numbers(steps: int, heads: int, seed: int) -> None:
    torch.manual_seed(seed)
    cos, sin = Rope(8, 64, 10_000.0)(torch.randint(0, 64, (1, steps)))  # [1, 1, steps, head_dim]
    x = torch.randn(steps, heads, 8, requires_grad=True)
    turned = rotate(x, (cos[0, 0, :, None], sin[0, 0, :, None]))
    angle = torch.complex(cos[0, 0, :, None, :4], sin[0, 0, :, None, 4:])
    expected = torch.complex(x[..., :4], x[..., 4:]) * angle
    expected = torch.cat((expected.real, expected.imag), dim=-1)
    torch.testing.assert_close(turned, expected)
    wanted = torch.randn_like(x)
    torch.testing.assert_close(torch.autograd.grad(turned, x, wanted), torch.autograd.grad(expected, x, wanted))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_gradients_it_is_the_same(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    norm, x = RMSNorm(16, 1e-5).to(dtype), torch.randn(5, 16, dtype=dtype)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), nn.RMSNorm(16, 1e-5).to(dtype)(x))
    torch.testing.assert_close(norm(x), nn.RMSNorm(16, 1e-5).to(dtype)(x))
