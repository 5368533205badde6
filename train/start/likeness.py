"""Embeddings that begin alike for tokens that are alike, so that what is learnt about one holds for its neighbours.

Most ids of a codebook are rarely seen, but ids are no strangers to each other: codes of finite scalar quantization are
points in a small cube, pieces of text share letters, codes of words spell some, tags are names. A row of the embedding
begins as random features of its token, whose inner products fall with the tokens' distance, instead of as pure noise.
The scale is that of the usual start.
"""

import math
from collections import defaultdict

import torch
from torch import Generator, Tensor

from omni.errors import InputError
from omni.model.init import STD
from omni.model.transformer import OmniTransformer
from omni.tokenizers.audio.words import LETTERS_A_FRAME
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.text import TextTokenizer
from omni.vocab import Vocabulary

ALIKE = 0.9                                                             # of the variance; the rest tells ids apart
WIDTH = 0.5                                                             # distance of alike codes; levels span -1..1
LONGEST = 3                                                             # bytes of the n-grams that pieces share


def start_alike(model: OmniTransformer, vocab: Vocabulary, tokenizers: Tokenizers, seed: int) -> None:
    """Rewrite the embedding (and an output table of its own) of a new model.

    Tokenizers without FSQ codes, such as pretrained ones, leave their rows as they are.
    Raises InputError when the tokenizers have other numbers of ids than the vocabulary.
    """
    _check_sizes(vocab, tokenizers)
    generator = Generator().manual_seed(seed)
    for table in model.tables:
        d_model = table.shape[1]
        if tokenizers.text is not None:
            _write(table, vocab["text"].start, piece_features(tokenizers.text, d_model, generator), generator)
        painted = vocab.picture_span(vocab.picture_tags)
        for span, tokenizer in ((vocab["audio"], tokenizers.audio), (painted, tokenizers.image)):
            quantizer = getattr(tokenizer, "quantizer", None)
            if quantizer is None:
                continue
            vectors = quantizer.vectors(torch.arange(quantizer.codebook_size)).float()  # [codebook_size, dims]
            for start in range(span.start, span.stop, len(vectors)):  # one codebook after the other
                _write(table, start, code_features(vectors, d_model, generator), generator)
    start_words(model, vocab, tokenizers, generator)
    start_tags(model, vocab, tokenizers, generator)


def start_words(model: OmniTransformer, vocab: Vocabulary, tokenizers: Tokenizers, generator: Generator) -> None:
    """Rewrite the rows of a codec's words, if it has them: a code begins near the letters that it spells, as text."""
    words = getattr(tokenizers.audio, "words", None)
    if words is None:
        return
    first = vocab["audio"].start
    for table in model.tables:
        size = LETTERS_A_FRAME, 1 + len(words.letters), table.shape[1]
        shown = torch.randn(size, generator=generator)                  # a direction for each letter, by its place
        if tokenizers.text is not None:
            text = table.detach()[vocab["text"].start : vocab["text"].stop].float().cpu()
            rows = [text[tokenizers.text.encode(letter)].mean(0) for letter in words.letters]
            shown[:, 1:] += (torch.stack(rows) - text.mean(0)) / text.std()
        sounds = table[first + len(words.centres) : vocab["audio"].stop]
        loud = float(sounds.detach().std())                             # of a trained model: no quieter than its sounds
        _write(table, first, words.centres @ shown.flatten(0, 1), generator, loud)


def start_tags(model: OmniTransformer, vocab: Vocabulary, tokenizers: Tokenizers, generator: Generator) -> None:
    """Rewrite the rows of an image tokenizer's tags, if it has them: a tag begins near its name, as text."""
    tagger = getattr(tokenizers.image, "tagger", None)
    if tagger is None:
        return
    tags, painted = vocab.picture_span(0), vocab.picture_span(vocab.picture_tags)
    for table in model.tables:
        named = torch.randn(tags.size, table.shape[1], generator=generator)
        if tokenizers.text is not None:
            text = table.detach()[vocab["text"].start : vocab["text"].stop].float().cpu()
            named = torch.stack([text[tokenizers.text.encode(f" {name}")].mean(0) for name in tagger.names])
        loud = float(table[painted.start : painted.stop].detach().std())
        _write(table, tags.start, named, generator, loud)


def _check_sizes(vocab: Vocabulary, tokenizers: Tokenizers) -> None:
    text, audio, image = tokenizers.text, tokenizers.audio, tokenizers.image
    sizes = {
        "text": None if text is None else len(text),
        "audio": None if audio is None else audio.codebooks * audio.codebook_size,
        "image": None if image is None else image.codebook_size,
    }
    for span, size in sizes.items():
        if size is not None and size != vocab[span].size:
            raise InputError(
                f"tokenizers: they have {size} {span} ids, the data {vocab[span].size};"
                " name the tokenizers that the shards were made with"
            )


def code_features(vectors: Tensor, d_model: int, generator: Generator) -> Tensor:
    """Random Fourier features (Rahimi and Recht 2007) of a Gaussian kernel: [codes, dims] to [codes, d_model]."""
    directions = torch.randn(vectors.shape[1], d_model, generator=generator) / WIDTH
    phases = 2 * math.pi * torch.rand(d_model, generator=generator)
    return torch.cos(vectors @ directions + phases)


def piece_features(tokenizer: TextTokenizer, d_model: int, generator: Generator) -> Tensor:
    """Sums of a random vector for each n-gram of the bytes of a piece, of unit length: [pieces, d_model].

    (Bojanowski et al. 2017 build word vectors so.) Case is ignored; the start of a piece is an n-gram of its own.
    """
    grams: defaultdict[bytes, Tensor] = defaultdict(lambda: torch.randn(d_model, generator=generator))
    rows = torch.zeros(len(tokenizer), d_model)
    for row, piece in zip(rows, tokenizer.pieces(), strict=True):
        text = b"^" + piece.lower()
        for size in range(1, LONGEST + 1):
            for start in range(len(text) - size + 1):
                row += grams[text[start : start + size]]
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-6)


@torch.no_grad()
def _write(table: Tensor, start: int, features: Tensor, generator: Generator, scale: float = STD) -> None:
    """Features [ids, d_model] become rows from `start`, centred, mixed with noise, of this standard deviation."""
    centred = features - features.mean(dim=0)
    alike = centred / centred.std()
    noise = torch.randn(alike.shape, generator=generator)
    rows = scale * (math.sqrt(ALIKE) * alike + math.sqrt(1 - ALIKE) * noise)
    table[start : start + len(features)] = rows.to(table.device)
