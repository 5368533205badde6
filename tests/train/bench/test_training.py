import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from omni.cli import main
from omni.figures import Report
from omni.train.bench import training
from omni.train.bench.loader import simulate
from omni.train.bench.peer import packed_examples, pad_to_longest, padded_examples, stack
from omni.train.bench.training import Way, fill, made_up, measure
from omni.train.data.loader import Dataset
from omni.train.data.shards import Shard
from omni.train.monitor.vitals import flops_per_token
from omni.train.recipe import ModelRecipe


def test_the_peer_learns_the_same_from_padded_and_packed_examples(shards: Path) -> None:
    torch.manual_seed(0)
    data = Dataset.load([shards / "train"], 64)
    shape = LlamaConfig(
        vocab_size=len(data.vocab), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        attn_implementation="sdpa", use_cache=False, initializer_range=0.5,
    )  # fmt: skip
    model = LlamaForCausalLM(shape).eval()
    totals, useful = [], []
    for examples, collate in ((padded_examples(data), pad_to_longest), (packed_examples(data), stack)):
        batch = collate(examples)
        trained = (batch["labels"][:, 1:] >= 0).sum()
        with torch.no_grad():
            totals.append(model(**batch).loss * trained)
        useful.append(sum(int(one["useful"]) for one in examples))
    torch.testing.assert_close(totals[0], totals[1])
    assert useful[0] == useful[1] == sum(int(part.shard.index["length"].sum()) for part in data.parts)


def test_ratios_are_medians_over_rounds() -> None:
    rates = {"ours": [10.0, 20.0, 90.0], "hf_trainer": [10.0, 10.0, 10.0], "hf_trainer_packed": [20.0, 10.0, 30.0]}
    report = Report("bench train")
    fill(report, [Way(name, lambda _: [], found) for name, found in rates.items()], 6)
    assert report.figures["ratio_vs_hf_trainer"].value == 2
    assert report.figures["ratio_vs_hf_trainer_packed"].value == 2
    assert report.figures["tokens_per_second"].value == 20 and report.figures["tokens_per_second"].high == 90


def test_flops_are_those_of_the_matmuls(shards: Path) -> None:
    """Against a count of every weight by hand, on one task."""
    data = Dataset.load([shards / "train" / "copy"], 64)
    config = ModelRecipe(preset="mini", d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, d_ff=48).config(data.vocab)
    lengths = data.parts[0].shard.index["length"].astype(float)
    weights = 2 * (4 * 32 * 32 + 3 * 32 * 48)
    norms = 2 * (2 * 32 + 2 * 16)
    attention = 12 * 2 * 32 * (lengths**2).sum() / 2 / lengths.sum()
    logits = 6 * len(data.vocab) * 32 * data.parts[0].shard.trained / lengths.sum()
    assert flops_per_token(config, data) == pytest.approx(6 * (weights + norms) + attention + logits)


@pytest.mark.slow
def test_all_figures_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"d_model": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "d_ff": 16}
    monkeypatch.setattr(training, "SHAPE", shape)
    monkeypatch.setattr(training, "STEPS", 128)
    monkeypatch.setattr(training, "SECONDS", 0.2)
    report = measure(None, tmp_path, rounds=1, steps=1, threads=1, compiled=False)
    for name in ("tokens_per_second", "ratio_vs_hf_trainer", "ratio_vs_hf_trainer_packed", "matmul_peak", "mfu"):
        value = report.figures[name].value
        assert value is not None and value > 0
    parts = ("loader_share", "share_forward", "share_backward", "share_optimizer")
    assert sum(report.figures[name].value or 0 for name in parts) == pytest.approx(1)


def test_a_simulated_index_is_that_of_a_shard(tmp_path: Path) -> None:
    shard = Shard.load(simulate(tmp_path / "simulated", 5000))
    ends = shard.index["offset"] + shard.index["length"]
    assert len(shard) == 5000 and len(shard.tokens) == len(shard.loss) == ends[-1] and shard.index["offset"][0] == 0
    assert (shard.index["offset"][1:] == ends[:-1]).all() and shard.trained == shard.index["trained"].sum()
    assert 95 < shard.index["length"].mean() < 115
    assert (shard.folder / "tokens.npy").stat().st_blocks * 512 < 100_000   # nothing but a header is written


@pytest.mark.slow
def test_the_loader_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "SHAPE", {"d_model": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "d_ff": 16})
    assert main(["bench", "loader", "--tokens", "1e6", "--batches", "20", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    for name in ("startup_seconds", "resume_seconds", "packing_seconds", "batch_share", "loader_share"):
        assert figures[name]["value"] > 0
    assert figures["tokens"]["value"] == pytest.approx(1e6, rel=0.1)


def test_made_up_sequences_look_like_the_real_ones(tmp_path: Path) -> None:
    data = Dataset.load([made_up(tmp_path / "shards")], 512)
    index = data.parts[0].shard.index
    assert len(data.vocab) == 8192 and 95 < index["length"].mean() < 115
    assert 0.37 < index["trained"].sum() / index["length"].sum() < 0.43
