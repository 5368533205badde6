"""A model to start from: tiny, over the vocabulary of the test shards, with text tokenizers beside it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from omni.model.config import ModelConfig
from omni.model.folder import save_model
from omni.model.transformer import OmniTransformer
from omni.vocab import Vocabulary


@pytest.fixture
def start(vocab: Vocabulary, tmp_path: Path) -> Path:
    torch.manual_seed(7)
    shape = ModelConfig(d_model=32, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=48, max_steps=64, tie_embeddings=False)
    config = replace(shape, head_size=12, qkv_bias=True).for_vocabulary(vocab)
    folder = tmp_path / "start"
    save_model(folder, OmniTransformer(config).state_dict(), config, vocab)
    (folder / "tokenizers").mkdir()
    (folder / "tokenizers" / "note").write_text("inherited")
    return folder


@pytest.fixture
def tuning_file(shards: Path, start: Path, tmp_path: Path) -> Path:
    """A recipe of a few steps that starts from it."""
    path = tmp_path / "tuning.yaml"
    path.write_text(
        f"data: [{shards}/train]\ninit: {start}\nsequence_length: 64\n"
        "schedule: {kind: constant, steps: 4, warmup: 0}\n"
        "batch: {rows: 8, micro: 4}\nvalidate: {every: 0}\n"
    )
    return path
