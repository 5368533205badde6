from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from omni.model.cache import Cache
from omni.model.config import ModelConfig
from omni.model.transformer import Batch, OmniTransformer
from omni.vocab import LAYOUTS, Vocabulary


def model(layout: str = "flat", n_kv_heads: int = 2, prefix: bool = False, **shape: Any) -> OmniTransformer:
    torch.manual_seed(0)
    vocab = Vocabulary(text=20, codebooks=3, codebook_size=8, image=8, picture_tokens=4, layout=layout)
    config = ModelConfig(d_model=24, n_layers=2, n_heads=4, n_kv_heads=n_kv_heads, d_ff=32, max_steps=64, prefix=prefix)
    small = OmniTransformer(config.for_vocabulary(vocab)).double().eval()
    for parameter in small.parameters():                                # at 0.02 every answer would look alike
        torch.nn.init.normal_(parameter, std=0.3)
    return small


MODELS = {
    (layout, n_kv_heads, prefix): model(layout, n_kv_heads, prefix)
    for layout in LAYOUTS
    for n_kv_heads in (1, 2, 4)
    for prefix in (False, True)
}


def whole(model: OmniTransformer, ids: Tensor, prefix: int) -> Tensor:
    """States of one conversation [1, steps, channels] computed at once."""
    document = torch.ones(ids.shape[:2], dtype=torch.long)
    visible = (torch.arange(ids.shape[1]) < prefix)[None]
    return model.hidden(Batch(ids, torch.zeros_like(visible), document, visible))


def random_ids(model: OmniTransformer, steps: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, model.config.vocab_size, (1, steps, model.config.channels), generator=generator)


@torch.no_grad()
@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(MODELS)), st.lists(st.integers(1, 7), min_size=1, max_size=5), st.integers(0, 12),
    st.integers(0, 99),
)  # fmt: skip
def test_any_chunking_through_the_cache_equals_the_whole(
    which: tuple[str, int, bool], chunks: list[int], prefix: int, seed: int
) -> None:
    small = MODELS[which]
    prefix = prefix if small.config.prefix else 0
    ids = random_ids(small, prefix + sum(chunks), seed)
    cache = Cache.empty(small.config, 1, 64, small.table)
    states = [small.extend(ids[:, :prefix], cache, visible=True)] if prefix else []
    states += [small.extend(part, cache) for part in ids[:, prefix:].split(chunks, dim=1)]
    expected = whole(small, ids, prefix)
    torch.testing.assert_close(torch.cat(states, dim=1), expected)
    torch.testing.assert_close(small.logits(states[-1]), small.logits(expected[:, -chunks[-1] :]))


@torch.no_grad()
@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(MODELS)), st.lists(st.integers(1, 9), min_size=2, max_size=4), st.data())
def test_rows_padded_on_the_left_equal_the_rows_alone(
    which: tuple[str, int, bool], lengths: list[int], data: st.DataObject
) -> None:
    small, longest, more = MODELS[which], max(lengths), 3
    rows = [random_ids(small, length + more, seed) for seed, length in enumerate(lengths)]
    ids = torch.zeros(len(rows), longest + more, small.config.channels, dtype=torch.long)
    for row, alone in enumerate(rows):
        ids[row, -alone.shape[1] :] = alone[0]
    cache = Cache.empty(small.config, len(rows), 64, small.table)
    cache.padding = torch.tensor([longest - length for length in lengths])
    visible = small.config.prefix
    if visible:
        small.extend(ids[:, :longest], cache, visible=True)
    else:
        cut = data.draw(st.integers(0, longest))
        for part in (ids[:, :cut], ids[:, cut:longest]):
            if part.shape[1]:
                small.extend(part, cache)
    states = torch.cat([small.extend(ids[:, step : step + 1], cache) for step in range(longest, longest + more)], dim=1)
    for row, (alone, length) in enumerate(zip(rows, lengths, strict=True)):
        torch.testing.assert_close(states[row], whole(small, alone, length if visible else 0)[0, length:])


@torch.no_grad()
def test_a_rewound_cache_goes_on_as_if_nothing_had_followed() -> None:
    small = MODELS["flat", 2, False]
    ids = random_ids(small, 9, seed=1)
    cache = Cache.empty(small.config, 1, 64, small.table)
    small.extend(ids[:, :5], cache)
    small.extend(random_ids(small, 6, seed=2), cache)
    cache.rewind(5)
    torch.testing.assert_close(small.extend(ids[:, 5:], cache), whole(small, ids, 0)[:, 5:])
    with pytest.raises(ValueError, match="rewind"):
        cache.rewind(10)


@torch.no_grad()
def test_rows_of_a_cache_go_on_alone() -> None:
    small = MODELS["depth", 2, False]
    ids = torch.cat([random_ids(small, 6, seed) for seed in range(3)])
    cache = Cache.empty(small.config, 3, 64, small.table)
    small.extend(ids[:, :5], cache)
    fewer = cache.rows(torch.tensor([2, 0]))
    expected = torch.cat([whole(small, ids[row : row + 1], 0)[:, 5:] for row in (2, 0)])
    torch.testing.assert_close(small.extend(ids[[2, 0], 5:], fewer), expected)


def test_a_full_cache_refuses_more() -> None:
    small = MODELS["flat", 2, False]
    cache = Cache.empty(small.config, 1, 4, small.table)
    small.extend(random_ids(small, 3, 0), cache)
    with pytest.raises(ValueError, match="5 steps do not fit the cache of 4"):
        small.extend(random_ids(small, 2, 0), cache)
