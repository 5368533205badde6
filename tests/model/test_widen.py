"""The script that widens a model for tokenizers with words and tags."""

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
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.tokenizers.image.naming import with_tags
from omni.tokenizers.image.tags import TAGS_A_PICTURE
from omni.vocab import Vocabulary

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "widen.py"))
SMALL = CodecConfig(
    frame_rate=25.0, levels=(5, 4), codebooks=2, d_model=16, d_hop=16, encoder_layers=1, decoder_layers=1
)
PICTURES = ImageConfig(16, 8, (4, 4), width=16, fine_width=8, encoder_layers=1, decoder_layers=1, fine_layers=0)
NAMES = tuple(f"name{number}" for number in range(12))


def folders(tmp_path: Path, layout: str = "delay", image: ImageTokenizer | None = None) -> tuple[Path, Path]:
    """A model that speaks the codes of a codec, and the tokenizers with words."""
    torch.manual_seed(0)
    codec = Codec(SMALL)
    vocab = Vocabulary.of(Tokenizers(audio=codec, image=image), ["en"], layout, ["ann"])
    shape = replace(ModelConfig.preset("tiny"), d_model=32, n_layers=2, n_heads=2, n_kv_heads=2, d_ff=64)
    model = OmniTransformer(shape.for_vocabulary(vocab))
    save_model(tmp_path / "model", model.state_dict(), model.config, vocab)
    Tokenizers(audio=with_words(codec, "ab"), image=image).save(tmp_path / "words")
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


def test_tags_come_last_with_words_or_after_them(tmp_path: Path) -> None:
    model, words = folders(tmp_path, image=ImageTokenizer(PICTURES))
    SCRIPT["widen"](model, words, tmp_path / "wide")
    old, vocab = load_model(model)
    bundle = Tokenizers.load(words)
    assert isinstance(bundle.image, ImageTokenizer)
    bundle.image = with_tags(bundle.image, NAMES)
    bundle.save(tmp_path / "both")
    for given, out in ((model, "at-once"), (tmp_path / "wide", "later")):
        SCRIPT["widen"](given, tmp_path / "both", tmp_path / out)
        new, wide = load_model(tmp_path / out)
        assert (wide.tags, wide.picture_tags, wide.codebooks) == (len(NAMES), TAGS_A_PICTURE, 3)
        painted, before = wide.picture_span(TAGS_A_PICTURE), vocab["image"]
        assert torch.equal(new.table[painted.start : painted.stop], old.table[before.start : before.stop])
        assert wide.picture_span(0).stop == len(wide) and float(new.table[-1].detach().std()) > 0
    narrow = Tokenizers.load(words)
    narrow.save(tmp_path / "narrow")
    with pytest.raises(InputError, match="fewer codes"):
        SCRIPT["widen"](tmp_path / "later", tmp_path / "narrow", tmp_path / "twice")
    bundle.image = with_tags(ImageTokenizer(PICTURES), NAMES)
    bundle.save(tmp_path / "narrow")
    with pytest.raises(InputError, match="image tokenizer is another"):
        SCRIPT["widen"](tmp_path / "later", tmp_path / "narrow", tmp_path / "twice")


def test_a_better_encoder_of_words_is_taken_as_it_is_and_another_codec_is_not(tmp_path: Path) -> None:
    model, words = folders(tmp_path)
    SCRIPT["widen"](model, words, tmp_path / "wide")
    better = Tokenizers.load(words)
    assert isinstance(better.audio, Codec) and better.audio.words is not None
    torch.nn.init.normal_(better.audio.words.spell.weight)
    better.save(tmp_path / "better")
    SCRIPT["widen"](tmp_path / "wide", tmp_path / "better", tmp_path / "wiser")
    (old, _), (new, vocab) = load_model(tmp_path / "wide"), load_model(tmp_path / "wiser")
    assert vocab.tokenizers == better.fingerprint
    torch.testing.assert_close(new.state_dict(), old.state_dict(), rtol=0, atol=0, equal_nan=True)  # no centres yet
    torch.nn.init.normal_(next(better.audio.parameters()))
    better.save(tmp_path / "other")
    with pytest.raises(InputError, match="audio tokenizer is another"):
        SCRIPT["widen"](tmp_path / "wide", tmp_path / "other", tmp_path / "never")


def test_other_models_are_refused(tmp_path: Path) -> None:
    model, words = folders(tmp_path, "depth")
    with pytest.raises(InputError, match="delay"):
        SCRIPT["widen"](model, words, tmp_path / "wide")
    assert not (tmp_path / "wide").exists()
