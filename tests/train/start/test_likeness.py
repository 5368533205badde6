"""Rows of tokens that are alike begin alike, at the scale of the usual start."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.audio.spelling import with_words
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.tokenizers.text import TextTokenizer
from omni.train.start.likeness import start_alike
from omni.vocab import Vocabulary

SHAPE = ModelConfig(d_model=256, n_layers=1, n_heads=4, n_kv_heads=4, d_ff=32)


@pytest.fixture(scope="module")
def tokenizers() -> Tokenizers:
    words = ["bird", "birds", "birdhouse", "castle", "castles"] * 20
    return Tokenizers(text=TextTokenizer.train(words, 280), image=ImageTokenizer(ImageConfig(levels=(8, 5, 5, 5))))


def test_neighbours_are_alike_and_the_scale_is_kept(tokenizers: Tokenizers) -> None:
    assert tokenizers.text is not None and tokenizers.image is not None
    vocab = Vocabulary(
        text=len(tokenizers.text), codebooks=1, codebook_size=9, image=tokenizers.image.codebook_size, picture_tokens=64
    )
    torch.manual_seed(0)
    model = OmniTransformer(SHAPE.for_vocabulary(vocab))
    before = model.embedding.weight.detach().clone()
    start_alike(model, vocab, tokenizers, seed=0)
    table = model.embedding.weight.detach()
    audio, image, text = vocab["audio"], vocab["image"], vocab["text"]
    assert torch.equal(table[: text.start], before[: text.start])       # control tokens have no neighbours
    assert torch.equal(table[audio.start : audio.stop], before[audio.start : audio.stop])
    assert float(table.std()) == pytest.approx(float(before.std()), rel=0.03)

    quantizer = tokenizers.image.quantizer
    vectors = quantizer.vectors(torch.arange(quantizer.codebook_size)).float()
    near = (vectors - vectors[0]).norm(dim=1) < 0.3
    far = (vectors - vectors[0]).norm(dim=1) > 1.5
    alike = F.cosine_similarity(table[image.start : image.stop], table[image.start], dim=1)
    assert float(alike[near][1:].mean()) > 0.5 and abs(float(alike[far].mean())) < 0.2

    pieces = tokenizers.text.pieces()
    bird, birds, castle = (text.start + pieces.index(word) for word in (b"bird", b"birds", b"castle"))
    assert float(F.cosine_similarity(table[bird], table[birds], dim=0)) > 0.5
    assert abs(float(F.cosine_similarity(table[bird], table[castle], dim=0))) < 0.5


def test_codes_of_words_begin_near_the_letters_that_they_spell(tokenizers: Tokenizers) -> None:
    small = CodecConfig(
        frame_rate=25.0, levels=(8, 5), codebooks=2, d_model=16, d_hop=16, encoder_layers=1, decoder_layers=1
    )
    codec = with_words(Codec(small), "abcdefgh")
    assert codec.words is not None and tokenizers.text is not None
    spelt = torch.arange(40) % 8                                        # code 0 spells a, 1 b, ...: the second time too
    codec.words.centres.zero_()
    codec.words.centres[torch.arange(40), 1 + spelt] = 1.0
    bundle = Tokenizers(text=tokenizers.text, image=tokenizers.image, audio=codec)
    vocab = Vocabulary.of(bundle, ["en"], "delay", ["ann"])
    model = OmniTransformer(SHAPE.for_vocabulary(vocab))
    start_alike(model, vocab, bundle, seed=0)
    table, first = model.embedding.weight.detach(), vocab["audio"].start
    letters = table[[vocab["text"].start + tokenizers.text.encode(letter)[0] for letter in "abcdefgh"]]
    alike = F.cosine_similarity(table[first : first + 40, None], letters - letters.mean(0), dim=2)  # [code, letter]
    assert torch.equal(alike.argmax(dim=1), spelt)
    words, sounds = table[first : first + 40], table[first + 40 : first + 80]
    assert float(words.std()) == pytest.approx(float(sounds.std()), rel=0.05)


def test_other_tokenizers_than_the_datas_are_named(tokenizers: Tokenizers) -> None:
    vocab = Vocabulary(text=50, codebooks=1, codebook_size=9, image=5, picture_tokens=2)
    model = OmniTransformer(SHAPE.for_vocabulary(vocab))
    with pytest.raises(InputError, match="271 text ids, the data 50"):
        start_alike(model, vocab, tokenizers, seed=0)


def test_pieces_are_the_bytes_of_the_ids(tmp_path: Path) -> None:
    tokenizer = TextTokenizer.train(["ou va le château ?"] * 9, 300)
    ids = tokenizer.encode("château ?")
    assert b"".join(tokenizer.pieces()[number] for number in ids).decode() == "château ?"
