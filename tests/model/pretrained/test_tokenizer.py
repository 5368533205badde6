"""The tokenizer of an exported model, read by transformers alone, writes conversations as ours does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from omni.model.config import ModelConfig
from omni.model.folder import save_model
from omni.model.pretrained.folders import Source, export_model, import_model
from omni.model.shape import load_shape
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, Sequence, prompt
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.text import TextTokenizer
from omni.vocab import Vocabulary

SHAPE = ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=24)


def save_ours(folder: Path, text: TextTokenizer) -> None:
    vocab = Vocabulary.of(Tokenizers(text), ["en"])
    config = SHAPE.for_vocabulary(vocab)
    save_model(folder, OmniTransformer(config).state_dict(), config, vocab)
    Tokenizers(text).save(folder / "tokenizers")


@pytest.mark.parametrize("style", ["Llama", "Qwen3", "ours"])
def test_conversations_get_the_same_ids(style: str, checkpoint: Callable[..., Any], tmp_path: Path) -> None:
    model = tmp_path / "model"
    if style == "ours":
        save_ours(model, TextTokenizer.train(["an owl and a bell"], 265))
    else:
        checkpoint(style)
        import_model(Source(tmp_path / "checkpoint"), model)
    export_model(model, tmp_path / "exported")
    _, vocab = load_shape(model)
    known = Tokenizers.load(model / "tokenizers").text
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "exported")
    assert known is not None
    said = [("system", "be brief"), ("user", "the owl\n and é, 1234?"), ("assistant", "a bell")]
    segments = [Segment("text", np.array(known.encode(text)), role) for role, text in said]
    messages = [{"role": role, "content": text} for role, text in said]

    def ids(messages: list[dict[str, str]], asked: bool) -> list[int]:
        text = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=asked)
        return list(theirs(text, add_special_tokens=False).input_ids)

    assert ids(messages, False) == Sequence.of(segments, vocab).ids[:, 0].tolist()
    assert ids(messages[:2], True) == [*prompt(segments[:2], vocab)[:, 0], vocab.control("<text>")]
    assert theirs.decode(ids(messages[2:], False), skip_special_tokens=True) == "a bell"
    assert theirs.eos_token_id == vocab.control("<eos>") and theirs.pad_token_id == vocab.control("<pad>")


def test_a_piece_spelt_like_a_control_token_stands_in_the_way(tmp_path: Path) -> None:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # `<eos>` becomes one piece
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(["<eos>"] * 9, trainer)
    text = TextTokenizer(core)
    assert len(text.encode("<eos>")) == 1
    save_ours(tmp_path / "model", text)
    assert export_model(tmp_path / "model", tmp_path / "exported") == "Qwen3ForCausalLM"
    assert not list((tmp_path / "exported").glob("tokenizer*"))
