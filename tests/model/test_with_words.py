"""The script that widens a model for a codec with words."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from omni.errors import InputError
from omni.model.cache import Cache
from omni.model.config import ModelConfig
from omni.model.folder import load_model, save_model
from omni.model.transformer import OmniTransformer
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.audio.spelling import with_words
from omni.tokenizers.bundle import Tokenizers
from omni.vocab import Vocabulary

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "with_words.py"))
SMALL = CodecConfig(
    frame_rate=25.0, levels=(5, 4), codebooks=2, d_model=16, d_hop=16, encoder_layers=1, decoder_layers=1
)


def folders(tmp_path: Path, layout: str = "delay") -> tuple[Path, Path]:
    """A model that speaks the codes of a codec, and the tokenizers with words."""
    torch.manual_seed(0)
    codec = Codec(SMALL)
    vocab = Vocabulary.of(Tokenizers(audio=codec), ["en"], layout, ["ann"])
    shape = replace(ModelConfig.preset("tiny"), d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, d_ff=64)
    model = OmniTransformer(shape.for_vocabulary(vocab))
    save_model(tmp_path / "model", model.state_dict(), model.config, vocab)
    Tokenizers(audio=with_words(codec, "ab")).save(tmp_path / "words")
    return tmp_path / "model", tmp_path / "words"


def test_without_words_the_wider_model_scores_codes_as_it_did(tmp_path: Path) -> None:
    model, words = folders(tmp_path)
    SCRIPT["widen"](model, words, tmp_path / "wide")
    (old, vocab), (new, wide) = load_model(model), load_model(tmp_path / "wide")
    assert (wide.codebooks, wide.channels) == (3, 3) and Tokenizers.load(tmp_path / "wide" / "tokenizers").audio
    codes = torch.randint(0, vocab.codebook_size, (1, 6, 2))
    steps = torch.stack([codes[..., k] + vocab.codebook(k).start for k in (0, 1)], dim=2)
    moved = [codes[..., k] + wide.codebook(k + 1).start for k in (0, 1)]
    wider = torch.stack([torch.zeros_like(moved[0]), *moved], dim=2)
    cache, longer = (Cache.empty(one.config, 1, 8, one.table) for one in (old, new))
    with torch.no_grad():
        state, same = old.extend(steps, cache), new.extend(wider, longer)
        torch.testing.assert_close(same, state)
        assert old.channel_head is not None and new.channel_head is not None
        first = state[:, -1] @ old.table[vocab.codebook(0).start : vocab.codebook(0).stop].T
        none = torch.zeros(1, 1, dtype=torch.long)
        torch.testing.assert_close(new.channel_head.logits(same[:, -1], none, new.table), first)
        later = old.channel_head.logits(state[:, -1], steps[:, 0, :1], old.table)
        torch.testing.assert_close(new.channel_head.logits(same[:, -1], wider[:, 0, :2], new.table), later)


def test_other_models_are_refused(tmp_path: Path) -> None:
    model, words = folders(tmp_path, "depth")
    with pytest.raises(InputError, match="delay"):
        SCRIPT["widen"](model, words, tmp_path / "wide")
    assert not (tmp_path / "wide").exists()
