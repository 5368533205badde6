"""Letters beside speech: as the codec reads its codes, as the text has them, in training as in answers."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omni.decode.conversation import Conversation
from omni.decode.generate import draw_many, generate_batch
from omni.decode.parts import Audio, Text
from omni.decode.pipeline import Pipeline
from omni.decode.samplers import GREEDY, Sampler
from omni.decode.stream import Stream
from omni.decode.want import Want
from omni.sequence import ROLES, Segment, Sequence, prompt, unsure
from omni.spelling import Spelling
from omni.tokenizers.audio.words import Words
from omni.tokenizers.text import TextTokenizer
from omni.vocab import Vocabulary

ALPHABET = " abcdeé1"
TEXTS = st.text(alphabet="abc déE1,.!ß\U0001f600 ", max_size=30)


@cache
def reader() -> tuple[TextTokenizer, Words, Spelling]:
    """A text tokenizer that has a piece for each letter, and words whose codes spell anything."""
    tokenizer = TextTokenizer.train(["abc de é é é dé dé 1", "ab ab cd"] * 3, 270)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = Words(16000, 321, 4, 60, ALPHABET)
        words.centres.copy_(torch.rand(60, words.centres.shape[1]))
    pieces = tuple(piece.decode("latin-1") for piece in tokenizer.pieces())
    return tokenizer, words, Spelling(pieces, words.table("_"))


@given(st.lists(st.integers(0, 59), max_size=40))
def test_heard_letters_are_those_that_the_codec_reads(codes: list[int]) -> None:
    tokenizer, words, spelling = reader()
    heard = spelling.read(np.array(codes, np.int64)[:, None])
    assert tokenizer.decode(heard.tolist()) == words.read(torch.tensor(codes, dtype=torch.long))


@given(TEXTS)
def test_a_text_is_spelt_in_small_letters(text: str) -> None:
    tokenizer, _, spelling = reader()
    plain = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    known = "".join(letter for letter in " ".join(plain.split()) if letter in spelling.letters)
    letters = spelling.spell(tokenizer.encode(text))
    assert tokenizer.decode(letters.tolist()) == " ".join(known.split())
    assert all(len(tokenizer.decode([letter])) == 1 for letter in letters.tolist())


def test_a_letter_is_a_piece_of_its_own_bytes_alone() -> None:
    spelling = Spelling(("n\xc3", "\xa9", "n", "N", "\xc3\xa9", "\xc3", "ne"), ("n_",))
    assert spelling.letters == {"n": 2, "é": 4}
    assert spelling.spell([3, 5, 1, 6]).tolist() == [2, 4, 2]           # N, é in two pieces, n; e is no piece


def test_spelling_is_part_of_a_vocabulary(tmp_path: Path) -> None:
    tokenizer, _, spelling = reader()
    plain = Vocabulary(text=len(tokenizer), codebooks=2, codebook_size=60, image=5, picture_tokens=2)
    spelt = replace(plain, spelling=spelling)
    spelt.save(tmp_path / "vocab.json")
    assert Vocabulary.load(tmp_path / "vocab.json") == spelt and spelt.hash != plain.hash
    with pytest.raises(ValueError, match="other text codes"):
        replace(spelt, codebook_size=50)


def spelling_vocabulary(layout: str = "delay") -> Vocabulary:
    """Of which a code spells one letter and a space, one a letter, and one nothing."""
    spelling = Spelling(("a", "b", " "), ("a ", "b_", "__"))
    return Vocabulary(
        text=3, codebooks=2, codebook_size=3, image=5, picture_tokens=2, layout=layout, spelling=spelling,
        languages=("en",),
    )  # fmt: skip


@given(st.data())
def test_letters_alone_are_all_but_the_frames_of_what_is_heard(data: st.DataObject) -> None:
    vocab = spelling_vocabulary(data.draw(st.sampled_from(["flat", "delay", "depth"])))
    draw = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    said = [
        Segment("audio", draw.integers(3, size=(draw.integers(1, 6), 2)), str(draw.choice(ROLES)), "en")
        if draw.random() < 0.6
        else Segment("text", draw.integers(3, size=4), str(draw.choice(ROLES)))
        for _ in range(data.draw(st.integers(1, 5)))
    ]
    alone = [replace(one, letters_alone=True) for one in said]
    whole, left = Sequence.of(said, vocab), Sequence.of(alone, vocab)
    spelling = [one for one in said if one.modality == "audio" and len(one.heard(vocab))]
    assert len(left) == len(whole) - sum(len(one.payload(vocab)) for one in spelling)
    assert left.loss.sum() == whole.loss.sum() and not left.loss[: left.prefix].any()
    words, kept = (vocab["text"].holds(stream.ids[:, 0]) for stream in (whole, left))
    assert np.array_equal(whole.ids[words], left.ids[kept])


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.integers(1, 12))
def test_what_is_certain_of_letters_alone_stays_while_somebody_goes_on(codes: list[int], heard: int) -> None:
    vocab, text = spelling_vocabulary(), Segment("text", np.array([0, 1]))
    one, other = (
        [text, Segment("audio", np.array(some)[:, None].repeat(2, 1), letters_alone=True)]
        for some in (codes[:heard], codes)
    )
    shorter, longer = prompt(one, vocab), prompt(other, vocab)
    certain = len(shorter) - unsure(one, vocab)
    assert np.array_equal(shorter[:certain], longer[:certain])
    spells = len(one[-1].heard(vocab))
    assert certain == (len(shorter) - 2 if spells else len(prompt([text], vocab)) - 2)  # letters may replace frames


Spelt = Callable[..., Pipeline]
HOW = {"sampler": GREEDY, "max_tokens": 5, "max_seconds": 0.2}
WAVE = np.sin(np.arange(8000) / 9).astype(np.float32)


@pytest.fixture
def spelt(models: Callable[..., Path]) -> Spelt:
    """Models without words, some of whose codes spell something all the same."""

    def load(layout: str, **shape: bool) -> Pipeline:
        plain = Pipeline.load(models(layout, **shape))
        assert plain.tokenizers.text is not None
        pieces = tuple(piece.decode("latin-1") for piece in plain.tokenizers.text.pieces())
        codes = [("e ", "_n", "__", "r_")[code % 4] for code in range(plain.vocab.codebook_size)]
        vocab = replace(plain.vocab, spelling=Spelling(pieces, tuple(codes)))
        return Pipeline(plain.model, vocab, plain.tokenizers)

    return load


def letters(pipeline: Pipeline, ids: np.ndarray) -> str:
    assert pipeline.tokenizers.text is not None
    return pipeline.tokenizers.text.decode(pipeline.vocab["text"].codes(ids).tolist())


@pytest.mark.parametrize("layout", ["flat", "delay", "depth"])
def test_answers_are_spelt_as_what_is_learnt_from(spelt: Spelt, layout: str) -> None:
    pipeline = spelt(layout)
    parts = (Text("number 3"), Audio(WAVE))
    fed: list[np.ndarray] = []
    feed = Stream.feed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stream, "feed", lambda self, ids: (fed.append(np.asarray(ids)), feed(self, ids))[1])
        answer = pipeline(parts, ["text", "audio"], **HOW)
    heard = pipeline.segments(parts)
    assert heard[1].heard(pipeline.vocab).size
    laid = prompt([*heard, *answer.segments], pipeline.vocab)[:-2]      # without `<turn>` and `<assistant>`
    assert np.array_equal(np.concatenate(fed, axis=1)[0], laid)         # what a shard of this conversation would hold


def test_a_text_is_read_by_its_letters_alone_and_side_by_side(spelt: Spelt) -> None:
    pipeline = spelt("delay")
    (want,), sampler, _ = pipeline.asked(["audio"], **HOW)
    text, other = pipeline.segments([Text("Number 3!")]), pipeline.segments([Text("number 10")])
    said = want.opening(pipeline.vocab, text[0])[:-1, 0]
    assert letters(pipeline, said) == "number 3"
    batch = generate_batch(pipeline.model, pipeline.vocab, [text, other], [want], sampler)
    for heard, (segment,) in zip((text, other), batch, strict=True):
        assert pipeline([Text("Number 3!" if heard is text else "number 10")], ["audio"], **HOW).segments == (segment,)
        assert draw_many(pipeline.model, pipeline.vocab, heard, want, 2, sampler) == [segment, segment]
    system = Segment("text", text[0].codes, "system")
    assert len(want.opening(pipeline.vocab, system)) == len(want.opening(pipeline.vocab)) == 1


@given(st.integers(0, 40), st.integers(1, 60))
def test_letters_leave_room_for_speech(length: int, room: int) -> None:
    tokenizer, _, spelling = reader()
    vocab = Vocabulary(text=len(tokenizer), codebooks=1, codebook_size=60, image=5, picture_tokens=2, spelling=spelling)
    want, said = Want("audio", limit=20), Segment("text", np.array(tokenizer.encode("ab de " * length), np.int64))
    opening = len(want.opening(vocab, said, room))
    assert opening == 1 or room - opening >= want.least(vocab) - 1
    assert opening <= len(want.opening(vocab, said)) <= want.most(vocab)


@pytest.mark.parametrize("prefix", [False, True])
def test_a_conversation_has_heard_its_turns_with_their_letters(spelt: Spelt, prefix: bool) -> None:
    pipeline = spelt("delay", prefix=True) if prefix else spelt("delay")
    conversation = Conversation(pipeline, ["text", "audio"], **HOW)
    list(conversation.say([Audio(WAVE)]))
    list(conversation.say([Text("and number 5"), Audio(WAVE)]))
    said = [segment for turn in conversation.turns for segment in turn]
    laid = prompt(said, pipeline.vocab)
    stream = conversation._stream
    assert np.array_equal(stream._ids[0, : len(stream)].numpy(), laid[: len(stream)]) and len(laid) - len(stream) == 2
    fresh = Stream(pipeline.model)
    if not prefix:
        fresh.feed(laid[None, : len(stream)])
        torch.testing.assert_close(fresh.state(), stream.state(), atol=1e-4, rtol=1e-4)


def test_speech_alone_is_thought_first_and_its_text_kept_back(spelt: Spelt) -> None:
    pipeline = spelt("delay")
    both = pipeline([Audio(WAVE)], ["text", "audio"], **{**HOW, "max_tokens": 256})
    alone = pipeline([Audio(WAVE)], ["audio"], **HOW)
    assert alone.text is None and alone.segments == both.segments[1:]
    (batched,) = pipeline.batch([[Audio(WAVE)]], ["audio"], **HOW)
    assert batched.text is None and batched.segments == alone.segments
    pieces = list(pipeline.stream([Audio(WAVE)], ["audio"], **HOW))
    assert {piece.modality for piece in pieces} == {"audio"} and alone.audio is not None
    assert sum(len(piece.audio) for piece in pieces if piece.audio is not None) == len(alone.audio)


@given(TEXTS)
def test_letters_of_a_text_are_never_longer_pieces(text: str) -> None:
    tokenizer, _, spelling = reader()
    assert not spelling.longer[tokenizer.encode_letters(text)].any()
    assert spelling.longer[tokenizer.encode("abc de")].any() and not spelling.longer.all()


@pytest.mark.parametrize("drawn", ["alone", "together", "many", "by beams"])
def test_what_is_written_verbatim_is_written_in_letters(spelt: Spelt, drawn: str) -> None:
    pipeline = spelt("delay")
    sampler, heard = Sampler(temperature=30.0), [Segment("text", np.array([1, 2, 3]))]
    longer = int(pipeline.vocab.spelling.longer.argmax())               # which is likelier than all others
    with torch.no_grad():
        pipeline.model.table[pipeline.vocab["text"].start + longer] *= 9.0
    found = {}
    for verbatim in (False, True):
        want = Want("text", limit=200, verbatim=verbatim)
        how = sampler, torch.Generator().manual_seed(0)
        if drawn == "alone":
            said = pipeline([Text("ab")], ["text"], sampler=sampler, max_tokens=200, verbatim=verbatim).segments
        elif drawn == "together":
            said = [one for (one,) in generate_batch(pipeline.model, pipeline.vocab, [heard, heard], [want], *how)]
        elif drawn == "by beams":
            said = [one.segments[0] for one in pipeline.most_probable([Text("ab")], max_tokens=9, verbatim=verbatim)]
        else:
            said = draw_many(pipeline.model, pipeline.vocab, heard, want, 3, *how)
        codes = np.concatenate([segment.codes for segment in said])
        assert len(codes) > 5
        found[verbatim] = pipeline.vocab.spelling.longer[codes].any()
    assert found == {False: True, True: False}
