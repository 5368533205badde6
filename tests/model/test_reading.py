"""The spelling loss against all alignments, one by one, in float64."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.model.config import ModelConfig
from omni.model.reading import Reading, ctc_loss
from omni.model.transformer import Batch, OmniTransformer
from omni.vocab import LAYOUTS, Vocabulary


def by_enumeration(scores: torch.Tensor, said: list[int]) -> float:
    """Nats of `said` over every path through scores [steps, 1 + letters] that collapses to it."""
    logs = scores.log_softmax(-1)
    total = []
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        collapsed = [letter for letter, _ in itertools.groupby(path) if letter]
        if collapsed == said:
            total.append(sum(logs[step, letter] for step, letter in enumerate(path)))
    return -float(torch.logsumexp(torch.stack(total), 0))


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(st.lists(st.integers(1, 2), min_size=1, max_size=2), st.integers(3, 5)), min_size=1, max_size=3),
    st.integers(0, 99),
)
def test_spelling_sums_over_all_alignments(said: list[tuple[list[int], int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    longest = max(steps for _, steps in said)
    states = torch.randn(len(said), longest, 4, generator=generator, dtype=torch.float64)
    reading = Reading(
        1.0,
        1,
        torch.tensor([0, 3, 5]),
        torch.zeros(len(said), longest, dtype=torch.long),
        torch.tensor([steps for _, steps in said]),
        torch.tensor([letter for letters, _ in said for letter in letters]),
        torch.tensor([len(letters) for letters, _ in said]),
    )
    expected = sum(
        by_enumeration(states[row, :steps] @ table[[0, 3, 5]].T, letters) for row, (letters, steps) in enumerate(said)
    )
    assert float(reading.loss(states.flatten(0, 1), table)) == pytest.approx(expected, rel=1e-5)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_loss_that_has_second_derivatives_is_torchs(seed: int) -> None:
    torch.manual_seed(seed)
    lengths = torch.randint(1, 5, (3,))
    steps = 2 * lengths + torch.randint(0, 3, (3,))
    scores = torch.randn(int(steps.max()), 3, 4, dtype=torch.float64, requires_grad=True)
    letters = torch.randint(1, 4, (int(lengths.sum()),))

    def ours(scores: torch.Tensor) -> torch.Tensor:
        return ctc_loss(scores.log_softmax(-1), letters, steps, lengths)

    torchs = torch.nn.functional.ctc_loss(scores.log_softmax(-1), letters, steps, lengths, reduction="sum")
    torch.testing.assert_close(ours(scores), torchs)
    both = [torch.autograd.grad(loss, scores)[0] for loss in (ours(scores), torchs)]
    torch.testing.assert_close(*both)
    assert torch.autograd.gradgradcheck(ours, (scores,))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("layer", [1, 2])
def test_reading_adds_its_weight_and_changes_no_other_loss(layout: str, prefix: bool, layer: int) -> None:
    vocab = Vocabulary(text=20, codebooks=2, codebook_size=8, image=8, picture_tokens=4, layout=layout)
    shape = ModelConfig(d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=16, prefix=prefix)
    torch.manual_seed(0)
    model = OmniTransformer(shape.for_vocabulary(vocab)).double()
    ids = torch.randint(1, 20, (2, 12, vocab.channels))
    document = torch.tensor([[1] * 7 + [2] * 4 + [0], [1] * 12])
    visible = torch.zeros(2, 12, dtype=torch.bool)
    batch = Batch(ids, document > 0, document, visible)
    place = torch.tensor([[7, 8, 9, 10, 0], [14, 15, 16, 17, 18]])      # flat: document 2 of row 0, part of row 1
    letters = torch.tensor([1, 2, 1]), torch.tensor([2, 1])
    reading = Reading(0.5, layer, torch.tensor([0, 30, 31]), place, torch.tensor([4, 5]), *letters)
    with torch.no_grad():
        plain, read = model(batch), model(Batch(ids, document > 0, document, visible, reading))
        nats = reading.loss(model.hidden(batch, layer).flatten(0, 1)[place.flatten()], model.table)
    assert torch.equal(plain.each, read.each)
    assert float(read.total) == pytest.approx(float(plain.total + 0.5 * nats), rel=1e-6)
    assert read.spelt.tolist() == pytest.approx([float(nats), 3], rel=1e-6)
    assert plain.spelt.tolist() == [0, 0]


@pytest.mark.parametrize("prefix", [False, True])
def test_the_states_of_a_layer_are_those_of_a_model_that_ends_there(prefix: bool) -> None:
    shape = ModelConfig(d_model=16, n_layers=3, n_heads=2, n_kv_heads=1, d_ff=16, prefix=prefix, vocab_size=20)
    torch.manual_seed(0)
    whole, ids = OmniTransformer(shape), torch.randint(1, 20, (2, 9, 1))
    document = torch.tensor([[1] * 5 + [2] * 4, [1] * 7 + [0, 0]])
    batch = Batch(ids, document > 0, document, torch.zeros(2, 9, dtype=torch.bool))
    lower = OmniTransformer(replace(shape, n_layers=2))
    lower.load_state_dict({name: one for name, one in whole.state_dict().items() if not name.startswith("blocks.2.")})
    torch.testing.assert_close(whole.hidden(batch, layer=2), lower.hidden(batch))
