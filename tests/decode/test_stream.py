import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.decode.stream import Stream
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.vocab import Vocabulary

VOCAB = Vocabulary(text=20, codebooks=3, codebook_size=8, image=8, picture_tokens=4, layout="delay")
SHAPE = ModelConfig(d_model=24, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=32, max_steps=40)


def built(prefix: bool) -> OmniTransformer:
    torch.manual_seed(0)
    config = SHAPE.for_vocabulary(VOCAB)
    model = OmniTransformer(ModelConfig(**{**vars(config), "prefix": prefix})).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def fresh(model: OmniTransformer, ids: np.ndarray, prefix: int) -> torch.Tensor:
    stream = Stream(model)
    stream.feed(ids[None, :prefix])
    if prefix:
        stream.state()
    stream.feed(ids[None, prefix:])
    return stream.state()


@settings(deadline=None, max_examples=30)
@given(st.booleans(), st.data())
def test_whatever_was_heard_before_the_state_is_that_of_what_is_heard_now(visible: bool, data: st.DataObject) -> None:
    model = built(visible)
    stream, draw = Stream(model), np.random.default_rng(data.draw(st.integers(0, 9)))
    ids, prefix = draw.integers(0, len(VOCAB), (6, VOCAB.channels)), 7
    for _ in range(data.draw(st.integers(1, 5))):
        kept = data.draw(st.integers(1, len(ids)))                      # all of it, and nothing new: the same again
        new = draw.integers(0, len(VOCAB), (data.draw(st.integers(0, 4)), VOCAB.channels))
        ids = np.concatenate((ids[:kept], new))[:40]
        if kept < prefix:                                               # else the visible part is what it was
            prefix = data.draw(st.integers(1, len(ids)))
        stream.hear(ids[None], prefix if visible else 0)
        if data.draw(st.booleans()):                                    # else it is computed later, or never
            expected = fresh(model, ids, prefix if visible else len(ids))
            torch.testing.assert_close(stream.state(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("visible", [False, True])
def test_the_same_again_is_not_computed_again(visible: bool) -> None:
    model = built(visible)
    stream, ids = Stream(model), np.random.default_rng(0).integers(0, len(VOCAB), (1, 9, VOCAB.channels))
    prefix = 4 if visible else 0
    assert stream.hear(ids, prefix) > 0
    before = stream.state()
    assert stream.hear(ids, prefix) == 0 and stream.behind == 0
    assert stream.state() is before
