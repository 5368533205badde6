"""DPO: the loss in closed form, its gradient by brute force with transformers, whole runs against a plain loop."""

import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from stopping import stopped_after

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.folder import load_model, save_model
from omni.model.interop import hugging_face_twin
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, Sequence
from omni.train.data.pack import Packed, batch_of
from omni.train.data.shards import Shard, ShardWriter
from omni.train.engine import Trainer
from omni.train.launch import launch
from omni.train.monitor.log import read_log
from omni.train.recipe import Recipe
from omni.train.tuning.preferences import PreferenceTrainer, apart, dpo_loss, log_probabilities
from omni.vocab import Vocabulary

VOCAB = Vocabulary(60, codebooks=1, codebook_size=1, image=1, picture_tokens=1)
Answers = list[tuple[Sequence, Sequence]]


def conversation(asked: np.ndarray, said: np.ndarray) -> Sequence:
    return Sequence.of([Segment("text", asked), Segment("text", said, "assistant")], VOCAB)


def write(folder: Path, count: int, seed: int) -> Answers:
    """Pairs that prefer a copy of the prompt to a random answer."""
    rng, pairs = np.random.default_rng(seed), []
    with ShardWriter(folder, VOCAB, "preferences") as shard:
        for number in range(count):
            asked = rng.integers(0, 60, rng.integers(2, 6))
            both = conversation(asked, asked), conversation(asked, rng.integers(0, 60, rng.integers(1, 5)))
            ids, loss = (np.concatenate([getattr(one, name) for one in both]) for name in ("ids", "loss"))
            shard.add(Sequence(ids, loss, 0), f"pair {number}")
            pairs.append(both)
    return pairs


@pytest.fixture
def start(tmp_path: Path) -> Path:
    torch.manual_seed(7)
    config = ModelConfig(d_model=32, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=48, max_steps=96).for_vocabulary(VOCAB)
    save_model(tmp_path / "start", OmniTransformer(config).state_dict(), config, VOCAB)
    return tmp_path / "start"


@pytest.fixture
def recipe_file(start: Path, tmp_path: Path) -> Path:
    write(tmp_path / "train", 50, seed=0)
    write(tmp_path / "valid", 9, seed=1)
    path = tmp_path / "dpo.yaml"
    path.write_text(
        f"data: [{tmp_path}/train]\nvalid: [{tmp_path}/valid]\ninit: {start}\nsequence_length: 96\ndpo: {{beta: 0.5}}\n"
        "schedule: {kind: constant, steps: 6, warmup: 0}\nbatch: {rows: 6, micro: 2}\nvalidate: {every: 3, rows: 4}\n"
        "optimizer: {lr: 3.0e-3}\n"
    )
    return path


def train(recipe: Recipe, run: Path, kind: type[Trainer] = PreferenceTrainer) -> int | None:
    trainer = kind(recipe, run, device="cpu")
    try:
        return trainer.train()
    finally:
        trainer.close()


numbers = st.floats(-30, 30)


@given(numbers, numbers, numbers, numbers, st.floats(0.01, 2))
def test_loss_and_gradient_are_those_of_the_paper(a: float, b: float, c: float, d: float, beta: float) -> None:
    policy, reference = torch.tensor([[a, b]], dtype=torch.float64), torch.tensor([[c, d]], dtype=torch.float64)
    policy.requires_grad_(True)
    losses, rewards = dpo_loss(policy, reference, beta)
    losses.sum().backward()
    margin = beta * ((a - c) - (b - d))
    weight = beta / (1 + math.exp(margin))                              # equation 7: beta sigmoid(rejected - chosen)
    assert float(losses.detach()) == pytest.approx(math.log1p(math.exp(-margin)), rel=1e-9, abs=1e-12)
    assert policy.grad is not None and policy.grad[0].tolist() == pytest.approx([-weight, weight], rel=1e-9, abs=1e-12)
    assert rewards[0].tolist() == pytest.approx([beta * (a - c), beta * (b - d)], abs=1e-9)


def brute_force(twin: torch.nn.Module, pairs: Answers) -> torch.Tensor:
    """Log-probabilities [pairs, 2], one conversation and one step at a time."""
    rows = []
    for pair in pairs:
        sums = []
        for one in pair:
            logits = F.log_softmax(twin(torch.from_numpy(one.ids[:, 0])[None]).logits[0], dim=-1)
            steps = np.flatnonzero(one.loss).tolist()
            sums.append(torch.stack([logits[step - 1, one.ids[step, 0]] for step in steps]).sum())
        rows.append(torch.stack(sums))
    return torch.stack(rows)


@pytest.mark.parametrize("device_path", ["documents", "mask"])
def test_packed_log_probabilities_and_gradients_are_those_of_transformers(
    device_path: str, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device_path == "mask":                                           # the way that a GPU goes
        monkeypatch.setattr(OmniTransformer, "_by_document", lambda self, batch: False)
    pairs = write(tmp_path / "pairs", 12, seed=3)
    packed = Packed.of(Shard.load(tmp_path / "pairs"), 96)
    batch = batch_of([*((packed, row) for row in range(len(packed))), (packed, None)])
    model, _ = load_model(start)
    twin = hugging_face_twin(model)
    ours, theirs = log_probabilities(model, batch), brute_force(twin, [pairs[number] for number in packed.order])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    reference = theirs.detach() + torch.randn(theirs.shape)
    dpo_loss(ours, reference, 0.3)[0].sum().backward()
    dpo_loss(theirs, reference, 0.3)[0].sum().backward()
    for name, theirs_name in (("norm.weight", "model.norm.weight"), ("embedding.weight", "model.embed_tokens.weight")):
        mine, other = model.get_parameter(name).grad, twin.get_parameter(theirs_name).grad
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)
    assert apart(batch).document.max() >= 4 and not apart(batch).document[-1].any()


@pytest.mark.parametrize("zero", [0, 1, *(pytest.param(zero, marks=pytest.mark.slow) for zero in (2, 3))])
def test_a_run_is_a_plain_loop_over_the_pairs(zero: int, recipe_file: Path, start: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(recipe_file, {"zero": zero})
    trainer = PreferenceTrainer(recipe, tmp_path / "run", device="cpu")
    order, data = trainer.stages.order, trainer.data
    trainer.train()
    trainer.close()
    shard = data.parts[0].shard
    model, frozen = load_model(start)[0].train(), load_model(start)[0]
    named = dict(model.named_parameters())
    still = [parameter for name, parameter in named.items() if "norm" in name or "embedding" in name]
    moved = [parameter for name, parameter in named.items() if not ("norm" in name or "embedding" in name)]
    groups = [{"params": moved, "weight_decay": 0.1}, {"params": still, "weight_decay": 0.0}]
    optimizer, expected = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95)), []
    for step in range(6):
        tasks, rows = order.at(np.arange(6 * step, 6 * step + 6))
        found = [data.find(int(task), int(row)) for task, row in zip(tasks, rows, strict=True)]
        numbers = np.concatenate([part.order[part.starts[row] : part.starts[row + 1]] for part, row in found])
        pairs = [halves(shard.sequence(int(number))) for number in numbers]
        policy = torch.stack([torch.stack([plain(model, one) for one in pair]) for pair in pairs])
        with torch.no_grad():
            reference = torch.stack([torch.stack([plain(frozen, one) for one in pair]) for pair in pairs])
        losses, rewards = dpo_loss(policy, reference, 0.5)
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        margins = (rewards[:, 0] - rewards[:, 1]).detach()
        expected.append((float(losses.detach().mean()), float(margins.mean()), float((margins > 0).float().mean())))
    records = [record for record in read_log(tmp_path / "run") if record["kind"] == "train"]
    told = [(record["loss"], record["margin"], record["accuracy"]) for record in records]
    for number, (ours, theirs) in enumerate(zip(told, expected, strict=True)):
        assert ours[0] == pytest.approx(theirs[0], rel=1e-4) and ours[1] == pytest.approx(theirs[1], rel=1e-3, abs=1e-4)
        assert number == 0 or ours[2] == pytest.approx(theirs[2])       # at first all margins are rounding errors
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=2e-4)


def halves(sequence: Sequence) -> tuple[Sequence, Sequence]:
    cut = int(np.flatnonzero(sequence.ids[:, 0] == VOCAB.control("<bos>"))[1])
    first, second = (Sequence(sequence.ids[part], sequence.loss[part], 0) for part in (slice(cut), slice(cut, None)))
    return first, second


def plain(model: OmniTransformer, one: Sequence) -> torch.Tensor:
    """Log-probability of the trained steps of one conversation, unpacked."""
    from omni.decode.score import side_by_side

    logits = F.log_softmax(model.logits(model.hidden(side_by_side([one])))[0], dim=-1)
    steps = np.flatnonzero(one.loss)
    return logits[steps - 1, one.ids[steps, 0]].sum()


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit_and_references_are_computed_once(
    recipe_file: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.load(recipe_file, {"lora.rank": 2})
    assert train(recipe, tmp_path / "whole") is None
    assert len(list(tmp_path.glob("*/reference-*.npy"))) == 2
    monkeypatch.setattr(PreferenceTrainer, "_compute", None)            # kept beside the shards, nobody needs it again
    assert train(recipe, tmp_path / "cut", stopped_after(3, PreferenceTrainer)) == signal.SIGTERM
    assert train(recipe, tmp_path / "cut") is None
    whole, cut = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    valid = [record for record in read_log(tmp_path / "cut") if record["kind"] == "valid"]
    assert [record["step"] for record in valid] == [3, 6]
    assert {"margin", "accuracy", "chosen", "rejected"} <= set(valid[0])
    monkeypatch.undo()
    next((tmp_path / "train").glob("reference-*")).write_bytes(b"\x93NUMPY damaged")
    assert train(recipe, tmp_path / "again") is None                    # and made anew where it is damaged
    again = load_file(tmp_path / "again" / "model" / "model.safetensors")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.slow
def test_a_model_learns_what_is_preferred(recipe_file: Path, tmp_path: Path) -> None:
    train(Recipe.load(recipe_file, {"schedule.steps": 30, "optimizer.lr": 1e-2}), tmp_path / "run")
    records = [record for record in read_log(tmp_path / "run") if record["kind"] == "train"]
    assert records[0]["loss"] == pytest.approx(math.log(2), abs=0.02)
    assert records[-1]["loss"] < 0.2 and records[-1]["accuracy"] > 0.95 and records[-1]["margin"] > 2


@pytest.mark.slow
def test_two_processes_prefer_as_one_does(recipe_file: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(recipe_file)
    launch(recipe, tmp_path / "two", nproc=2)
    for path in tmp_path.glob("*/reference-*.npy"):
        path.unlink()
    launch(recipe, tmp_path / "one")
    one, two = ([r["loss"] for r in read_log(tmp_path / name) if r["kind"] == "train"] for name in ("one", "two"))
    assert one == pytest.approx(two, rel=1e-4)


def test_pairs_and_ordinary_shards_are_not_mixed_up(recipe_file: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="half of which are bad examples"):
        launch(Recipe.load(recipe_file, {"dpo.beta": 0}), tmp_path / "run")
    with pytest.raises(InputError, match="the data must be pairs"):
        launch(Recipe.load(recipe_file, {"data": [str(shards / "train")]}), tmp_path / "run")
    with pytest.raises(InputError, match="name its folder as init"):
        Recipe.load(recipe_file, {"init": None})
    with pytest.raises(InputError, match="train_on: answers"):
        Recipe.load(recipe_file, {"train_on": "everything"})
    with pytest.raises(InputError, match=r"causal models.*model\.prefix"):
        launch(Recipe.load(recipe_file, {"model.prefix": True}), tmp_path / "run")
    with pytest.raises(InputError, match=r"model\.rope_theta: dpo compares with the model of init"):
        launch(Recipe.load(recipe_file, {"model.rope_theta": 500.0}), tmp_path / "run")
