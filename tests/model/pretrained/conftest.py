"""Checkpoints as transformers writes them, tiny and random, with tokenizers in the styles of Llama 3 and Qwen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

Checkpoint = Callable[..., Any]
ROWS = 420                                                              # of the tables, more than the tokenizers' ids
SPECIAL = {"llama": ("<|begin_of_text|>", "<|eot_id|>"), "qwen": ("<|endoftext|>", "<|im_start|>")}
COMMON = {
    "vocab_size": ROWS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-4,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 300.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
PLAIN = {"rope_type": "default", "rope_theta": 300.0}
KINDS: dict[str, dict[str, Any]] = {
    "Llama": {"head_dim": 20, "rope_parameters": LLAMA3, "tie_word_embeddings": False},
    "Mistral": {"head_dim": 8, "rope_parameters": PLAIN, "sliding_window": 64, "tie_word_embeddings": False},
    "Qwen2": {"rope_parameters": PLAIN, "tie_word_embeddings": True},
    "Qwen3": {"head_dim": 16, "rope_parameters": PLAIN, "tie_word_embeddings": True},
}


def text_tokenizer(style: str) -> Tokenizer:
    core = Tokenizer(models.BPE(ignore_merges=style == "llama"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(["the owl and the bell", "le château du hibou", "<|eot_id|> 1234"] * 9, trainer)
    core.add_special_tokens(list(SPECIAL[style]))
    if style == "qwen":
        core.normalizer = normalizers.NFC()
        core.add_tokens(["<think>"])
    else:
        start = SPECIAL["llama"][0]
        pair = [(start, core.token_to_id(start))]
        core.post_processor = processors.TemplateProcessing(single=f"{start} $A", special_tokens=pair)
    return core


def build(kind: str, **changes: Any) -> Any:
    """A transformers model with random weights everywhere, norms and biases too."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**COMMON, **KINDS[kind], **changes})
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Writes tmp_path/checkpoint and returns what transformers reads from it, in fp32."""

    def write(kind: str, dtype: torch.dtype = torch.float32, shard: str = "1GB", **changes: Any) -> Any:
        build(kind, **changes).to(dtype).save_pretrained(tmp_path / "checkpoint", max_shard_size=shard)
        text_tokenizer("qwen" if "Qwen" in kind else "llama").save(str(tmp_path / "checkpoint" / "tokenizer.json"))
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint", dtype=torch.float32)
        return model.eval()

    return write
