import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.tokenizers.audio.quantizer import FSQ

LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(levels=LEVELS)
def test_codes_and_vectors_are_one_to_one_over_the_whole_codebook(levels: list[int]) -> None:
    fsq = FSQ(levels)
    codes = torch.arange(math.prod(levels))
    vectors = fsq.vectors(codes)
    assert torch.equal(fsq.codes(vectors), codes)
    assert len(vectors.unique(dim=0)) == len(codes) == fsq.codebook_size
    assert vectors.abs().max() <= 1


@settings(deadline=None, max_examples=40)
@given(levels=LEVELS, shape=st.lists(st.integers(1, 4), max_size=3), seed=st.integers(0, 99))
def test_any_input_is_quantized_to_a_member_of_the_codebook(levels: list[int], shape: list[int], seed: int) -> None:
    fsq = FSQ(levels)
    z = 5 * torch.randn(*shape, len(levels), generator=torch.Generator().manual_seed(seed))
    vectors, codes = fsq(z)
    assert codes.shape == tuple(shape)
    torch.testing.assert_close(vectors, fsq.vectors(codes))


@pytest.mark.parametrize("level", [2, 3, 4, 5, 8])
def test_every_level_can_be_reached_and_order_is_kept(level: int) -> None:
    vectors, codes = FSQ([level])(torch.linspace(-9, 9, 1001).unsqueeze(-1))
    assert codes.unique().tolist() == list(range(level))
    assert (vectors.diff(dim=0) >= 0).all()


def test_the_gradient_passes_the_rounding() -> None:
    z = torch.zeros(1, 3, requires_grad=True)
    FSQ([5, 5, 5])(z)[0].sum().backward()
    assert z.grad is not None and (z.grad > 0).all()


def test_a_code_outside_the_codebook_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.11"):
        FSQ([3, 4]).vectors(torch.tensor([12]))
