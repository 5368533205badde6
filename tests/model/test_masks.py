import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omni.model.masks import packed_mask, positions_in


@st.composite
def rows(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Packed rows as the loader makes them: documents 1, 2, ... side by side with their prefixes, padding behind."""
    steps = draw(st.integers(1, 14))
    document, prefix = torch.zeros(2, steps, dtype=torch.long), torch.zeros(2, steps, dtype=torch.bool)
    for row in range(2):
        at, number = 0, 0
        while at < steps and draw(st.booleans()):
            length, number = draw(st.integers(1, steps - at)), number + 1
            document[row, at : at + length] = number
            prefix[row, at : at + draw(st.integers(0, length))] = True
            at += length
    return document, prefix


@settings(deadline=None)
@given(rows(), st.booleans())
def test_the_mask_equals_its_definition_step_by_step(packed: tuple[Tensor, Tensor], with_prefix: bool) -> None:
    document, prefix = packed
    mask = packed_mask(document, prefix if with_prefix else None)
    batch, steps = document.shape
    assert mask.shape == (batch, 1, steps, steps)
    for row in range(batch):
        for query in range(steps):
            for key in range(steps):
                same = document[row, query] == document[row, key] != 0
                both = with_prefix and prefix[row, query] and prefix[row, key]
                expected = query == key or (same and (key <= query or both))
                assert bool(mask[row, 0, query, key]) == bool(expected), (row, query, key)


@settings(deadline=None)
@given(rows())
def test_positions_count_from_the_start_of_each_document(packed: tuple[Tensor, Tensor]) -> None:
    document, _ = packed
    positions = positions_in(document)
    for ids, places in zip(document.tolist(), positions.tolist(), strict=True):
        expected: list[int] = []
        for step, number in enumerate(ids):
            expected.append(expected[-1] + 1 if step and number == ids[step - 1] else 0)
        assert places == expected
