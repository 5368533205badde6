from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

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


@settings(deadline=None, max_examples=40)
@given(lengths=LENGTHS)
def test_a_kernel_that_is_told_where_documents_begin_sees_what_the_mask_lets_it(lengths: list[list[int]]) -> None:
    document = rows_of(lengths, 24)
    documents = Documents.of(document)
    starts, real = documents.starts.tolist(), len(documents.order)
    assert documents.starts.dtype == torch.int32 and starts[-1] == real
    assert documents.longest == max(length for row in lengths for length in row)
    visible = torch.zeros(real, real, dtype=torch.bool)
    for start, stop in pairwise(starts):
        for step in range(start, stop):
            visible[step, start : step + 1] = True
    whole = torch.block_diag(*packed_mask(document)[:, 0].long()).bool()  # [batch * steps, batch * steps]
    assert torch.equal(visible, whole[documents.order][:, documents.order])


@pytest.mark.parametrize("kv", [4, 2])
def test_attention_is_that_of_flex_attention_over_the_same_starts(kv: int) -> None:
    torch.manual_seed(0)
    documents = Documents.of(rows_of([[3, 17, 1], [9], [24], [5, 5, 5, 5]], 24))
    real = len(documents.order)
    q, k, v = torch.randn(real, 4, 16), torch.randn(real, kv, 16), torch.randn(real, kv, 16)
    number = torch.bucketize(torch.arange(real), documents.starts, right=True)

    def sees(batch: torch.Tensor, head: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (number[one] == number[other]) & (one >= other)

    mask = create_block_mask(sees, None, None, real, real, device="cpu")
    flex = flex_attention(*(x.transpose(0, 1)[None] for x in (q, k, v)), block_mask=mask, enable_gqa=kv < 4)
    torch.testing.assert_close(documents.attend(q, k, v), flex[0].transpose(0, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel is for GPUs")
@pytest.mark.parametrize("kv", [4, 2])
def test_the_kernel_of_a_gpu_computes_what_the_cpu_does(kv: int) -> None:
    torch.manual_seed(0)
    document = rows_of([[3, 17, 1], [9], [24], [5, 5, 5, 5]], 24)
    here, there = Documents.of(document), Documents.of(document.cuda())
    parts = [torch.randn(len(here.order), heads, 32).bfloat16().float() for heads in (4, kv, kv)]
    ours = [part.clone().requires_grad_() for part in parts]
    theirs = [part.cuda().bfloat16().requires_grad_() for part in parts]
    expected, found = here.attend(*ours), there.attend(*theirs)
    torch.testing.assert_close(found.float().cpu(), expected, rtol=2e-2, atol=2e-2)
    expected.square().sum().backward()
    found.float().square().sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(other.grad.float().cpu(), one.grad, rtol=5e-2, atol=5e-2)


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
