import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.model.config import ModelConfig
from omni.model.documents import Documents
from omni.model.masks import packed_mask, positions_in
from omni.model.transformer import Batch, OmniTransformer
from omni.vocab import Vocabulary


def rows_of(lengths: list[list[int]], steps: int) -> torch.Tensor:
    document = torch.zeros(len(lengths), steps, dtype=torch.long)
    for row, sizes in enumerate(lengths):
        at = 0
        for number, size in enumerate(sizes, start=1):
            document[row, at : at + size] = number
            at += size
    return document


LENGTHS = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(lengths=LENGTHS)
def test_the_layout_holds_every_real_step_once(lengths: list[list[int]]) -> None:
    document = rows_of(lengths, 24)
    documents = Documents.of(document)
    real = document.flatten().nonzero().squeeze(1)
    assert torch.equal(documents.order.sort().values, real)
    assert torch.equal(documents.order[documents.place[real]], real)
    assert torch.equal(documents.position, positions_in(document).flatten()[documents.order])
    sizes = [size for count, size in documents.groups for _ in range(count)]
    assert sorted(sizes) == sorted(length for row in lengths for length in row)


@settings(deadline=None, max_examples=20)
@given(lengths=LENGTHS, heads=st.sampled_from([(4, 4), (4, 2)]), seed=st.integers(0, 9))
def test_losses_and_gradients_are_those_of_a_mask(lengths: list[list[int]], heads: tuple[int, int], seed: int) -> None:
    torch.manual_seed(seed)
    shape = ModelConfig(d_model=32, n_layers=2, n_heads=heads[0], n_kv_heads=heads[1], d_ff=48, vocab_size=50)
    model = OmniTransformer(shape)
    document = rows_of(lengths, 24)
    ids, loss = torch.randint(1, 50, (*document.shape, 1)), torch.rand(document.shape) < 0.5
    batch = Batch(ids, loss & (document > 0), document, torch.zeros_like(loss))
    losses = model(batch)
    losses.total.backward()
    follows = (document[:, 1:] == document[:, :-1]) & batch.loss[:, 1:]
    hidden = model.embed(ids)
    rope = model.rope(positions_in(document))
    for block in model.blocks:
        hidden = block(hidden, rope, packed_mask(document))
    logits = model.logits(model.norm(hidden))[:, :-1][follows]
    each = torch.nn.functional.cross_entropy(logits, ids[:, 1:, 0][follows], reduction="none")
    torch.testing.assert_close(losses.each, each)
    expected = each.sum() + shape.z_loss * logits.logsumexp(-1).square().sum()
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("layout", ["flat", "delay", "depth"])
def test_a_batch_of_masked_rows_teaches_nothing_and_touches_every_weight(layout: str, prefix: bool) -> None:
    """Processes that share gradients wait for each weight's, so there has to be one, of zeros."""
    torch.manual_seed(0)
    vocab = Vocabulary(text=20, codebooks=2, codebook_size=8, image=4, picture_tokens=2, layout=layout)
    shape = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48, depth_layers=1, prefix=prefix)
    model = OmniTransformer(shape.for_vocabulary(vocab))
    nothing = torch.zeros(2, 12, dtype=torch.bool)
    batch = Batch(torch.zeros(2, 12, vocab.channels, dtype=torch.long), nothing, nothing.long(), nothing)
    losses = model(batch)
    assert losses.total == 0 and losses.each.shape == losses.row.shape == losses.target.shape == (0,)
    assert not model.hidden(batch).any()
    losses.total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name
