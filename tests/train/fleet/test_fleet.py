"""Fleets against their members alone, against torch's own optimizer, and what each mask may see."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omni.model.binary import binarized
from omni.train.fleet.bench import random_corpus
from omni.train.fleet.distil import distilled
from omni.train.fleet.lstm import lstm
from omni.train.fleet.model import Shape, Weights, initial, sizes_of, states_of, target_losses, training_loss
from omni.train.fleet.pairs import BOS, EOS, PAD, Corpus, Direction, Pairs, build_corpus
from omni.train.fleet.trainer import BETAS, EPS, Member, Phase, Trained, train_fleet

CORPUS = random_corpus(vocab=40, length=6, pairs=64)
KINDS = {
    "one-bit": Shape(40, 6, 32, 2, 64, "encdec", weight_bits=1, norms=True),
    "encdec": Shape(40, 6, 32, 2, 64, "encdec"),
    "uneven": Shape(40, 6, 32, 3, 64, "encdec", n_encoder=2),
    "hybrid": Shape(40, 6, 32, 4, 64, "hybrid"),
    "prefix": Shape(40, 6, 32, 2, 64, "prefix"),
    "causal": Shape(40, 6, 32, 2, 64, "causal"),
    "causal with source": Shape(40, 6, 32, 2, 64, "causal", source_loss=True),
    "top only": Shape(40, 6, 32, 2, 64, "prefix", top_only=True),
}


def batch(pairs: Pairs, members: int = 1, rows: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    source, target = (torch.from_numpy(side[:rows]) for side in (pairs.source, pairs.target))
    return source.expand(members, -1, -1), target.expand(members, -1, -1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_trains_in_a_fleet_as_it_does_alone(kind: str) -> None:
    shape = KINDS[kind]
    members = [
        Member(7, (Phase(12, (1.0,), lr=1e-2, warmup=3),)),
        Member(3, (Phase(5, (1.0,), lr=3e-3, warmup=2), Phase(7, (1.0,), lr=1e-2, warmup=2, kind="cosine"))),
        Member(1, (Phase(12, (1.0,), lr=1e9),)),                        # diverges, which is nobody else's concern
    ]
    together = train_fleet(shape, members, CORPUS, batch=4, evaluate_at=(5,))
    for number, member in enumerate(members[:2]):
        alone = train_fleet(shape, [member], CORPUS, batch=4, evaluate_at=(5,))
        for kept, other in ((together.test, alone.test), (together.train, alone.train)):
            for step in (5, 12):
                assert kept["copy"][step][number] == pytest.approx(other["copy"][step][0], abs=1e-4)


def test_one_member_is_trained_by_adam() -> None:
    """torch.optim.Adam and clip_grad_norm_ on the same batches."""
    shape, member = KINDS["prefix"], Member(5, (Phase(6, (1.0,), lr=1e-2, warmup=0, kind="constant"),))
    ours = train_fleet(shape, [member], CORPUS, batch=4)
    weights = {name: value.requires_grad_() for name, value in initial(shape, [5]).items()}
    adam = torch.optim.Adam(weights.values(), 1e-2, BETAS, EPS)
    random = np.random.default_rng(5)
    pairs = CORPUS.train["copy"]
    for _ in range(6):
        random.multinomial(4, [1.0])
        rows = random.integers(len(pairs), size=4)
        source, target = (torch.from_numpy(side[rows])[None] for side in (pairs.source, pairs.target))
        training_loss(shape, weights, source, target).sum().backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        adam.step()
        adam.zero_grad()
    for name, value in weights.items():
        torch.testing.assert_close(ours.weights[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_its_lines_by_heart(kind: str) -> None:
    shape = KINDS[kind]
    few = {"copy": Pairs(CORPUS.train["copy"].source[:6], CORPUS.train["copy"].target[:6])}
    corpus = Corpus(few, few, CORPUS.vocab, CORPUS.length, CORPUS.tokenizer)
    done = train_fleet(shape, [Member(0, (Phase(120, (1.0,), lr=2e-2, warmup=10),))], corpus, batch=6)
    assert done.final("copy")[0] < 0.3
    said = done.translate(few["copy"].source)[0]
    assert (said == few["copy"].target[:, :-1] * (few["copy"].target[:, :-1] != PAD)).mean() > 0.9


def test_each_member_has_torchs_lstm_of_its_own() -> None:
    x, inward, onward = torch.randn(3, 5, 7, 8), torch.randn(3, 8, 32), torch.randn(3, 8, 32)
    ours = lstm(x, inward, onward)
    for member in range(3):
        theirs = torch.nn.LSTM(8, 8, batch_first=True)
        with torch.no_grad():
            theirs.weight_ih_l0.copy_(inward[member].T)
            theirs.weight_hh_l0.copy_(onward[member].T)
            theirs.bias_hh_l0.zero_()
            theirs.bias_ih_l0.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(8))
            torch.testing.assert_close(ours[member], theirs(x[member])[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_only_the_feed_forward_layers_are_one_bit_where_attention_stays_float() -> None:
    shape = replace(KINDS["one-bit"], float_attention=True)
    weights = initial(shape, [0, 1])
    rounded = {name: binarized(value.mT).mT if name.endswith(("up", "down")) else value
               for name, value in weights.items()}  # fmt: skip
    sides = batch(CORPUS.train["copy"], members=2)
    expected = target_losses(replace(shape, weight_bits=32), rounded, *sides)
    torch.testing.assert_close(target_losses(shape, weights, *sides), expected)


def test_a_students_loss_is_torchs_cross_entropy_with_the_teachers_probabilities() -> None:
    shape, source, target = KINDS["encdec"], *batch(CORPUS.train["copy"], members=2)
    teacher, weights = Trained(KINDS["prefix"], initial(KINDS["prefix"], [3, 4])), initial(shape, [0, 1])
    ours = distilled(shape, teacher, share=1.0)(weights, source, target)
    for member in range(2):
        def scores(of: Shape, held: Weights, member: int = member) -> torch.Tensor:
            return (states_of(of, held, source, target[:, :, :-1]) @ held["embed"][:, None].mT)[member].flatten(0, 1)

        real = (target[member, :, 1:] != PAD).flatten()
        soft = scores(teacher.shape, teacher.weights)[real].softmax(dim=-1)
        expected = torch.nn.functional.cross_entropy(scores(shape, weights)[real], soft)
        torch.testing.assert_close(ours[member], expected)
    without = distilled(shape, teacher, share=0.0)(weights, source, target)
    torch.testing.assert_close(without, training_loss(shape, weights, source, target))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_target_never_sees_what_comes_after_it_and_padding_costs_nothing(kind: str) -> None:
    shape = KINDS[kind]
    weights = initial(shape, [0])
    source, target = (side.clone() for side in batch(CORPUS.train["copy"]))
    before = target_losses(shape, weights, source, target)
    later = target.clone()
    later[:, :, 4:] = torch.where(later[:, :, 4:] == PAD, PAD, 9)
    assert torch.allclose(target_losses(shape, weights, source, later)[:, :, :3], before[:, :, :3], atol=1e-5)
    assert (before[target[:, :, 1:] == PAD] == 0).all() and (before[target[:, :, 1:] != PAD] > 0).all()


@torch.no_grad()
@pytest.mark.parametrize(("kind", "sees"), [("prefix", True), ("causal", False)])
def test_only_a_prefix_lets_the_source_see_ahead(kind: str, sees: bool) -> None:
    shape, weights = KINDS[kind], initial(KINDS[kind], [0])
    source, target = (side.clone() for side in batch(CORPUS.train["copy"], rows=1))
    length = int((source != PAD).sum())
    before = states_of(shape, weights, source, target[:, :, :0])
    source[0, 0, length - 1] = 9 if source[0, 0, length - 1] != 9 else 10
    after = states_of(shape, weights, source, target[:, :, :0])
    assert bool((before[0, 0, 0] != after[0, 0, 0]).any()) == sees


def test_parameters_are_counted_as_they_are_made() -> None:
    for shape in KINDS.values():
        made = initial(shape, [0, 1])
        assert set(made) == set(sizes_of(shape))
        counted = sum(value[0].numel() for name, value in made.items() if name not in ("embed", "places"))
        assert counted == shape.parameters


def test_a_corpus_of_real_items_keeps_splits_apart(prepared: Path, tmp_path: Path) -> None:
    corpus = build_corpus(prepared, [Direction("en", "fr"), Direction("fr", "en", train=2)], pieces=300)
    assert len(corpus.train["en-fr"]) == 4 and len(corpus.train["fr-en"]) == 2 and len(corpus.test["en-fr"]) == 4
    said = {corpus.decode(row.tolist()) for row in corpus.train["en-fr"].target}
    assert said == {f"numéro {number}" for number in (0, 3, 6, 9)}
    first = corpus.train["en-fr"].target[0]
    assert first[0] == BOS and EOS in first
    corpus.save(tmp_path / "corpus")
    again = Corpus.load(tmp_path / "corpus")
    assert np.array_equal(again.train["fr-en"].source, corpus.train["fr-en"].source) and again.vocab == corpus.vocab


def test_an_encoder_may_be_deeper_than_its_decoder() -> None:
    even, uneven = KINDS["encdec"], KINDS["uneven"]
    assert uneven.stacks == {"encoder": 2, "decoder": 1}
    assert uneven.parameters_of("decoder") == even.parameters_of("decoder")
    layer = 4 * 32 * 32 + 2 * 32 * 64 + 2 * 32                          # attention, feed-forward, two norms
    assert uneven.parameters_of("encoder") == even.parameters_of("encoder") + layer
    for wrong in ({"n_layers": 3}, {"n_layers": 2, "n_encoder": 2}, {"n_encoder": 1, "kind": "prefix"}):
        with pytest.raises(ValueError, match=r"n_layers|n_encoder"):
            replace(even, **wrong)
