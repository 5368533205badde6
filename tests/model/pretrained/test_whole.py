"""From a checkpoint to a trained model of three modalities and back, through the commands a user types."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from omni.cli import main
from omni.model.folder import load_model
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.train.monitor.log import read_log


def omni(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.mark.slow
def test_imported_trained_asked_and_exported(checkpoint: Callable[..., Any], prepared: Path, tmp_path: Path) -> None:
    checkpoint("Llama", max_position_embeddings=512)
    torch.manual_seed(0)
    Codec(CodecConfig.preset("quick")).eval().save(tmp_path / "codec")
    ImageTokenizer(ImageConfig.preset("quick")).eval().save(tmp_path / "pictures")
    model, shards, run = tmp_path / "model", tmp_path / "shards", tmp_path / "run"
    omni("import", tmp_path / "checkpoint", "--audio", tmp_path / "codec", "--image", tmp_path / "pictures",
         "--data", prepared, "--out", model)  # fmt: skip
    omni("data", "tokenize", "--data", prepared, "--tokenizers", model / "tokenizers", "--out", shards)
    omni("train", "mini", "--out", run, "--data", f"[{shards / 'train'}]", "--valid", "[]", "--init", model,
         "--tokenizers", model / "tokenizers", "--schedule.steps", 2, "--schedule.warmup", 1, "--batch.rows", 2,
         "--batch.micro", 1, "--optimizer.lr", 1e-3)  # fmt: skip
    assert read_log(run)[-1]["step"] == 2
    omni("generate", "--model", run / "model", "--text", "an owl", "--max-tokens", 5, "--out", tmp_path / "answer")
    assert (tmp_path / "answer" / "answer.txt").is_file()
    omni("export", run / "model", "--out", tmp_path / "exported")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "exported")
    trained, vocab = load_model(run / "model")
    assert theirs.config.vocab_size == len(vocab) == trained.config.vocab_size
    assert torch.equal(theirs.get_input_embeddings().weight, trained.embedding.weight)
