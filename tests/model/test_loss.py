from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from omni.model import loss
from omni.model.config import ModelConfig
from omni.model.loss import linear_cross_entropy
from omni.model.transformer import Batch, OmniTransformer
from omni.vocab import LAYOUTS, Vocabulary


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(2, 12), st.sampled_from([0.0, 1e-4, 0.1]), st.integers(1, 4), st.integers(0, 99))
def test_loss_and_gradients_equal_those_of_autograd(
    rows: int, vocab: int, z_loss: float, chunk: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "CHUNK", {"cpu": chunk})                    # so that few rows already make several chunks
        generator = torch.Generator().manual_seed(seed)
        hidden = torch.randn(rows, 5, dtype=torch.float64, generator=generator, requires_grad=True)
        weight = torch.randn(vocab, 5, dtype=torch.float64, generator=generator, requires_grad=True)
        targets = torch.randint(vocab, (rows,), generator=generator)
        total, each = linear_cross_entropy(hidden, weight, targets, z_loss)
        ours = torch.autograd.grad(3 * total, (hidden, weight))
        logits = hidden @ weight.T
        expected = F.cross_entropy(logits, targets, reduction="none")
        penalty = z_loss * logits.logsumexp(dim=-1).square().sum()
        theirs = torch.autograd.grad(3 * (expected.sum() + penalty), (hidden, weight))
        frozen, _ = linear_cross_entropy(hidden, weight.detach(), targets, z_loss)
        assert torch.equal(torch.autograd.grad(3 * frozen, hidden)[0], ours[0])
    torch.testing.assert_close(each, expected.detach().float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(total.double(), expected.sum() + penalty, rtol=1e-5, atol=1e-5)
    for mine, other in zip(ours, theirs, strict=True):                  # the loss works in float32 inside
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_states_in_bf16_and_a_table_in_float32_work_together() -> None:
    """As under autocast without ZeRO, where weights stay in float32."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(40, 16, generator=generator, requires_grad=True)
    hidden = torch.randn(700, 16, generator=generator, requires_grad=True)  # more than a chunk
    targets = torch.randint(40, (700,), generator=generator)
    exact = torch.autograd.grad(linear_cross_entropy(hidden, weight, targets, 1e-4)[0], (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = linear_cross_entropy(hidden.bfloat16(), weight, targets, 1e-4)
    rough = torch.autograd.grad(total, (hidden, weight))
    assert rough[1].dtype == torch.float32
    for mine, other in zip(rough, exact, strict=True):
        assert float((mine - other).norm() / other.norm()) < 0.02


def packed(documents: list[torch.Tensor], prefixes: list[int], channels: int) -> Batch:
    """Documents [steps, channels] laid in one row, with three steps of padding."""
    steps = sum(map(len, documents)) + 3
    ids, document = torch.zeros(1, steps, channels, dtype=torch.long), torch.zeros(1, steps, dtype=torch.long)
    loss_mask, prefix, at = torch.zeros(1, steps, dtype=torch.bool), torch.zeros(1, steps, dtype=torch.bool), 0
    for number, (one, visible) in enumerate(zip(documents, prefixes, strict=True), start=1):
        part = slice(at, at + len(one))
        ids[0, part], document[0, part] = one, number
        prefix[0, at : at + visible] = True
        loss_mask[0, at + max(visible, 1) : at + len(one)] = True
        at += len(one)
    return Batch(ids, loss_mask, document, prefix)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(LAYOUTS), st.booleans(), st.lists(st.integers(4, 9), min_size=1, max_size=4), st.integers(0, 99)
)
def test_packed_and_unpacked_losses_agree(layout: str, visible: bool, lengths: list[int], seed: int) -> None:
    vocab = Vocabulary(text=20, codebooks=3, codebook_size=8, image=8, picture_tokens=4, layout=layout)
    shape = ModelConfig(d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=16, max_steps=64, prefix=visible)
    torch.manual_seed(seed)
    model = OmniTransformer(shape.for_vocabulary(vocab)).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    documents = [torch.randint(1, len(vocab), (length, vocab.channels)) for length in lengths]
    for one in documents:                                               # audio in every channel of the last two steps
        for channel in range(vocab.channels):
            one[-2:, channel] = vocab.codebook(channel).start + channel
    prefixes = [length // 3 for length in lengths]
    together = model(packed(documents, prefixes, vocab.channels))
    alone = [model(packed([one], [p], vocab.channels)) for one, p in zip(documents, prefixes, strict=True)]
    torch.testing.assert_close(together.each, torch.cat([losses.each for losses in alone]), rtol=1e-5, atol=1e-5)
    total = torch.stack([losses.total for losses in alone]).sum()
    torch.testing.assert_close(together.total, total, rtol=1e-5, atol=1e-4)
    grads = torch.autograd.grad(together.total, model.blocks[0].attention.qkv.weight)
    theirs = torch.autograd.grad(total, model.blocks[0].attention.qkv.weight)
    torch.testing.assert_close(grads, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_drawn_step_by_step_has_the_probability_that_training_gives_it(layout: str) -> None:
    """The channel heads' one-by-one scores, as decoding uses them, multiply to the loss of the whole step."""
    vocab = Vocabulary(text=20, codebooks=3, codebook_size=8, image=8, picture_tokens=4, layout=layout)
    shape = ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=2, d_ff=16, max_steps=64, z_loss=0.0)
    torch.manual_seed(1)
    model = OmniTransformer(shape.for_vocabulary(vocab))
    hidden = torch.randn(4, 16)
    starts = torch.tensor([vocab.codebook(channel).start for channel in range(vocab.channels)])
    ids = starts + torch.randint(8, (4, vocab.channels))
    expected = F.cross_entropy(model.logits(hidden), ids[:, 0], reduction="none")
    _, each = linear_cross_entropy(hidden, model.table, ids[:, 0], 0.0)
    if model.channel_head is not None:
        each = each + model.channel_head.loss(hidden, ids, model.embedding.weight)[1]
        for channel in range(1, vocab.channels):
            scores = model.channel_head.logits(hidden, ids[:, :channel], model.embedding.weight)
            expected = expected + F.cross_entropy(scores, ids[:, channel] - starts[channel], reduction="none")
    torch.testing.assert_close(each, expected.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_text_weighs_as_much_as_asked_and_its_own_loss_stays(layout: str) -> None:
    vocab = Vocabulary(text=20, codebooks=3, codebook_size=8, image=8, picture_tokens=4, layout=layout)
    shape = ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=16, max_steps=64, z_loss=0.0)
    ids = torch.zeros(12, vocab.channels, dtype=torch.long)
    ids[:, 0] = torch.tensor([1, *range(40, 45), *range(vocab["audio"].start, vocab["audio"].start + 6)])
    batch, losses = packed([ids], [0], vocab.channels), []
    for weight in (1.0, 5.0):
        torch.manual_seed(0)
        losses.append(OmniTransformer(replace(shape, text_weight=weight).for_vocabulary(vocab))(batch))
    plain, weighted = losses
    torch.testing.assert_close(weighted.each, plain.each)
    text = plain.target < vocab["audio"].start
    assert 0 < text.sum() < len(text)
    torch.testing.assert_close(weighted.total, plain.total + 4 * plain.each[text].sum())


def test_without_gradients_only_the_logits_are_computed() -> None:
    hidden, table = torch.randn(7, 4, requires_grad=True), torch.randn(11, 4, requires_grad=True)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        linear_cross_entropy(hidden, table, torch.zeros(7, dtype=torch.long), 1e-4)
    assert counter.get_total_flops() == 2 * 7 * 4 * 11
