"""Speech of a text that is still being written: the past is that of one writing and one saying, wherever it pauses."""

from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import omni
from omni.decode.conversation import Conversation
from omni.decode.heard import Ear
from omni.decode.pieces import UNSURE, Piece, tell
from omni.decode.pipeline import Pipeline
from omni.decode.samplers import GREEDY, Sampler
from omni.decode.say import answer, begin, say
from omni.decode.sentences import LONG, SHORT, Sentences
from omni.decode.stream import Stream
from omni.decode.want import Want
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment
from omni.sequence import Sequence as Laid
from omni.spelling import Spelling
from omni.tokenizers.audio.guidance import Alphabet
from omni.tokenizers.audio.words import LETTERS_A_FRAME
from omni.tokenizers.text import TextTokenizer
from omni.vocab import LAYOUTS, Vocabulary

STEPS = 160
ASKED = [Segment("text", np.array([1, 2, 3]))]
SPELT = Spelling(tuple("abcdefgh "), ("a_", "bc", "__", "d ", "e_"))    # so that letters stand before speech


class Pauses(Sentences):
    """Of a text in parts of these numbers of codes, and the rest."""

    def __init__(self, at: Sequence[int]) -> None:
        object.__setattr__(self, "at", [*at])

    def pause(self, codes: Sequence[int]) -> bool:
        if self.at and len(codes) - 1 == self.at[0]:  # type: ignore[attr-defined]
            self.at.pop(0)  # type: ignore[attr-defined]
            return True
        return False


    def sayable(self, codes: Sequence[int]) -> bool:
        return True

    def split(self, codes: Sequence[int]) -> list[Sequence[int]]:
        ends = [0, *accumulate(self.at), len(codes)]  # type: ignore[attr-defined]
        return [codes[start:stop] for start, stop in pairwise(ends) if start < len(codes)]


def built(layout: str, spelling: Spelling | None, prefix: bool) -> tuple[OmniTransformer, Vocabulary]:
    shape: dict[str, Any] = {"d_model": 24, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 32}
    vocab = Vocabulary(
        text=9, codebooks=3, codebook_size=5, image=8, picture_tokens=4, frames=2, languages=("en",), voices=("anna",),
        layout=layout, spelling=spelling,
    )  # fmt: skip
    torch.manual_seed(0)
    model = OmniTransformer(ModelConfig(**shape, max_steps=STEPS, prefix=prefix).for_vocabulary(vocab)).eval()
    for parameter in model.parameters():                                # spread, so that answers differ and end early
        torch.nn.init.normal_(parameter, std=0.3)
    return model, vocab


MODELS = [built(layout, spelt, prefix) for layout in LAYOUTS for spelt in (None, SPELT) for prefix in (False, True)]
WHICH = st.integers(0, len(MODELS) - 1)
AT = st.lists(st.integers(1, 12), max_size=4)


def asked(at: Sequence[int] | None, limits: tuple[int, int], image: bool) -> list[Want]:
    text = Want("text", limit=limits[0], sentences=None if at is None else Pauses(at))
    return [text, Want("audio", voice="anna", limit=limits[1]), *([Want("image", limit=4)] if image else [])]


def assert_past(stream: Stream, laid: Laid) -> None:
    """The stream has heard the conversation up to the end of its last turn, and predicts what comes after just that."""
    assert (stream._ids[0, : len(stream)].numpy() == laid.ids[:-2]).all()
    afresh = Stream(stream.model)
    afresh.feed(laid.ids[None, : laid.prefix])
    afresh.state()
    afresh.feed(laid.ids[None, laid.prefix : -2])
    torch.testing.assert_close(stream.state(), afresh.state(), rtol=1e-4, atol=1e-4)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
@settings(deadline=None, max_examples=80)
@given(WHICH, AT, st.tuples(st.integers(1, 14), st.integers(7, 12)), st.booleans(), st.integers(0, 99))
def test_the_past_is_that_of_one_writing_and_one_saying(
    which: int, at: list[int], limits: tuple[int, int], image: bool, seed: int
) -> None:
    model, vocab = MODELS[which]
    wants = asked(at, limits, image)
    stream = begin(model, vocab, ASKED, wants)
    segments = answer(stream, vocab, wants, Sampler(), generator(seed))
    assert [segment.modality for segment in segments] == [want.modality for want in wants]
    assert len(segments[0].codes) <= limits[0] and 1 <= len(segments[1].codes) <= limits[1]
    laid = Laid.of([*ASKED, *segments], vocab)
    assert laid.segments(vocab) == [*ASKED, *segments]
    assert_past(stream, laid)


CHANCES = np.random.default_rng(0).dirichlet(np.ones(10), (5, LETTERS_A_FRAME))
EAR = Ear(CHANCES, np.arange(1, 11) % 10, Alphabet([], "abcdefgh "))


@torch.no_grad()
@settings(deadline=None, max_examples=60)
@given(WHICH, AT, st.integers(1, 12), st.integers(7, 12), st.booleans(), st.integers(0, 99))
def test_a_text_that_is_read_aloud_by_sentences_leaves_the_past_of_one_reading(
    which: int, at: list[int], length: int, limit: int, image: bool, seed: int
) -> None:
    model, vocab = MODELS[which]
    heard = [*ASKED, Segment("image", np.arange(4)), Segment("text", np.arange(length) % 9)]
    wants = [Want("audio", voice="anna", limit=limit, ear=EAR, sentences=Pauses(at))]
    wants += [Want("image", limit=4)] if image else []
    stream = begin(model, vocab, heard, wants)
    segments = answer(stream, vocab, wants, Sampler(), generator(seed), heard[-1])
    assert 1 <= len(segments[0].codes) <= limit
    laid = Laid.of([*heard, *segments], vocab)
    assert_past(stream, laid)


def test_each_sentence_is_read_as_if_it_were_alone() -> None:
    """Greedily, so that both say the same; the eight readings likewise come one after another."""
    pipeline, texts = omni.load(), ["There is an owl in the tree.", "A bell rings in the tower."]

    def read(text: str) -> Segment:
        heard = pipeline.segments([omni.Text(text)])
        how: dict[str, Any] = {"language": "en", "voice": "clara", "sampler": GREEDY}
        wants, sampler, draws = pipeline.asked(("audio",), **how)
        stream = begin(pipeline.model, pipeline.vocab, heard, wants, pipeline.step)
        (said,) = answer(stream, pipeline.vocab, wants, sampler, draws, heard[-1])
        return said

    alone = [read(text).codes for text in texts]
    np.testing.assert_array_equal(read(" ".join(texts)).codes, np.concatenate(alone))
    how: dict[str, Any] = {"want": ("audio",), "language": "en", "voice": "clara", "seed": 1}
    both, first = pipeline([omni.Text(" ".join(texts))], **how), pipeline([omni.Text(texts[0])], **how)
    assert len(both.segments[0].codes) > len(first.segments[0].codes)
    cut = pipeline([omni.Text(" ".join(texts))], **how, max_seconds=0.4)
    assert len(cut.segments[0].codes) <= 10


@pytest.mark.parametrize("tail", ["", "\n", " 😀", " ..."])
def test_what_has_no_letters_is_not_spoken(tail: str) -> None:
    pipeline = omni.load()
    how: dict[str, Any] = {"want": ("audio",), "language": "en", "voice": "clara", "seed": 1}
    answers = [pipeline([omni.Text(f"There is an owl in the tree.{end}")], **how) for end in ("", tail)]
    plain, longer = (len(one.segments[0].codes) for one in answers)
    assert longer < 1.5 * plain < 150
    assert pipeline([omni.Text("An owl." + tail)], **how, verbatim=True).audio is not None


@settings(deadline=None, max_examples=40)
@given(WHICH, AT, st.tuples(st.integers(1, 14), st.integers(1, 12)))
def test_a_text_is_the_same_wherever_it_is_spoken(which: int, at: list[int], limits: tuple[int, int]) -> None:
    model, vocab = MODELS[which]
    texts = []
    for pauses in (at, None):
        wants = asked(pauses, limits, image=False)
        texts.append(answer(begin(model, vocab, ASKED, wants), vocab, wants, GREEDY)[0])
    assert texts[0] == texts[1]


@settings(deadline=None, max_examples=60)
@given(WHICH, AT, st.integers(0, 40), st.booleans(), st.integers(0, 99))
def test_an_answer_ends_where_no_room_is_left(which: int, at: list[int], left: int, image: bool, seed: int) -> None:
    """A prompt that leaves little: what was said stays well-formed, and fits."""
    model, vocab = MODELS[which]
    wants = asked(at, (60, 60), image)
    length = STEPS - sum(want.least(vocab) for want in wants) - 6 - left  # six are controls
    before = [Segment("text", np.arange(max(0, length)) % 9)]
    stream = begin(model, vocab, before, wants)
    segments = answer(stream, vocab, wants, Sampler(temperature=2.0), generator(seed))
    assert len(stream) <= STEPS and len(segments) == len(wants)
    for segment in segments:
        segment.laid(vocab)                                             # raises for codes of the wrong shape


@settings(deadline=None, max_examples=40)
@given(WHICH, AT, st.integers(0, 99))
def test_parts_come_in_turn_and_all_of_a_sentence_is_said_before_the_next(which: int, at: list[int], seed: int) -> None:
    model, vocab = MODELS[which]
    wants = asked(at, (14, 12), image=False)
    stream, seen = begin(model, vocab, ASKED, wants), list[tuple[int, int]]()
    for part in say(stream, vocab, wants, Sampler(), generator(seed)):
        assert sum(1 for _ in part) == len(part.said)
        seen.append((part.number, len(part.said)))
    assert [number for number, _ in seen] == ([0, 1] * len(seen))[: len(seen)]
    written = [length for number, length in seen if number == 0]
    assert written[:-1] == at[: len(written) - 1]                       # fewer where its sound may not go on


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("taken", [1, 4, 9, 14, 25, 60, 400])
def test_who_stops_an_answer_finds_what_was_handed_over(
    models: Callable[..., Path], layout: str, taken: int
) -> None:
    pipeline = Pipeline.load(models(layout))
    wants, sampler, draws = pipeline.asked(("text", "audio"), max_seconds=1.0, max_tokens=24, seed=3)
    wants[0] = Want("text", limit=24, sentences=Pauses([3, 5, 7]))
    heard = pipeline.segments([omni.Text("say something")])
    told, pieces = [*heard], list[Piece]()
    stream = begin(pipeline.model, pipeline.vocab, heard, wants, pipeline.step)
    said = tell(stream, wants, pipeline.tokenizers, pipeline.vocab, sampler, draws, told, heard[-1])
    with closing(said):
        pieces = [*islice(said, taken)]
    text, codec = pipeline.tokenizers.text, pipeline.tokenizers.audio
    assert text is not None and codec is not None
    written = text.decode(told[1].codes.tolist())
    assert written.rstrip(UNSURE).startswith("".join(one.text or "" for one in pieces).rstrip(UNSURE))
    assert sum(one.codes for one in pieces if one.audio is not None) == sum(one.codes.size for one in told[2:])
    if len(told) > 2:
        kinds = [one.modality for one in pieces]
        sound = np.concatenate([one.audio for one in pieces if one.audio is not None])
        whole, _ = codec.decode_stream(torch.from_numpy(told[2].codes)[None], codec.start(1))
        np.testing.assert_allclose(sound, whole[0].numpy(), rtol=1e-4, atol=1e-5)
        assert taken < 60 or "text" in kinds[kinds.index("audio") :]    # the text went on behind the first sound


def test_a_conversation_goes_on_from_an_answer_in_parts(models: Callable[..., Path]) -> None:
    """What is told of two turns is what the stream has heard."""
    pipeline = Pipeline.load(models("delay"))
    talk = Conversation(pipeline, ("text", "audio"), max_seconds=0.5, max_tokens=40, seed=1)
    talk._wants[0] = Want("text", limit=40, sentences=Pauses([4, 5]))
    list(talk.say([omni.Text("owl")]))
    first = [one for turn in talk.turns for one in turn]
    length = len(talk._stream)
    assert (talk._stream._ids[0, :length].numpy() == Laid.of(first, pipeline.vocab).ids[:length]).all()
    assert len(list(talk.say([omni.Text("bell")]))) > 1


TOKENIZER = TextTokenizer.train(["a small text of many words. It has sentences! Has it? e g"] * 3, 300)


def pauses(text: str, unless: str | None = None) -> list[str]:
    """What stands before each code behind which it can be spoken."""
    codes, sentences = TOKENIZER.encode(text), Sentences(TOKENIZER, unless)
    return [TOKENIZER.decode(codes[: n - 1]) for n in range(1, len(codes) + 1) if sentences.pause(codes[:n])]


def test_a_sentence_is_over_before_the_next_word() -> None:
    text = "It has sentences of some words. Many! "
    assert pauses(text)[0].strip() == "It has sentences of some words."
    assert not pauses("It has sentences of 3.14159 and then")           # a number goes on
    assert not pauses("Yes. It")                                    # too short to win the time for more
    assert pauses('"It has sentences of words?" Many ')[0].strip() == '"It has sentences of words?"'
    assert not pauses("It has sentences of words.")                     # it may be the last


def test_nothing_of_a_call_is_said_but_what_stands_before_it_is() -> None:
    text = 'It has sentences of some words. <call> {"of": "many words. It has"} It has sentences of some words. Many'
    assert {one.strip() for one in pauses(text, unless="<call>")} == {"It has sentences of some words."}


@given(st.text(alphabet="ab .!,é\U0001f600", max_size=120))
def test_no_word_is_broken_and_none_waits_for_long(text: str) -> None:
    codes, found = TOKENIZER.encode(text), pauses(text)
    for before in found:
        assert len(TOKENIZER.encode(before)) >= SHORT and text.startswith(before)
        assert before[-1:].isspace() or text[len(before) :][:1].isspace()
    late = [n for n in range(LONG + 1, len(codes) + 1) if TOKENIZER.decode(codes[n - 1 : n]).startswith(" ")]
    assert len(found) >= len(late)                                      # beyond LONG every word begins after a pause


def test_a_text_is_split_into_sentences_of_their_own() -> None:
    text, sentences = "It has sentences of some words. Many words of it! \n Has it?", Sentences(TOKENIZER)
    split = [TOKENIZER.decode(codes) for codes in sentences.split(TOKENIZER.encode(text))]
    assert split == ["It has sentences of some words.", "Many words of it!", "Has it?"]
    for tail in ("\n", " 😀", " ...", "\n\n ..."):                # nothing that can be said
        assert sentences.split(TOKENIZER.encode(text + tail))[:2] == sentences.split(TOKENIZER.encode(text))[:2]
        assert len(sentences.split(TOKENIZER.encode(text + tail))) == 3
    assert len(sentences.split(TOKENIZER.encode("It has sentences of some words, Dr. No. Many words of it!"))) == 1
    long = "a small text of many words and e and g and no end " * 3
    assert [TOKENIZER.decode(codes) for codes in sentences.split(TOKENIZER.encode(long))] == [long]


def test_scripts_without_spaces_have_sentences_too() -> None:
    found = [one for one in pauses("这是一个句子。它有几个字。") if one]
    assert found == ["这是一个句子。"]
    (quoted,) = Sentences(TOKENIZER).split(TOKENIZER.encode("他说「这是一个句子。」它有几个字。"))
    assert TOKENIZER.decode(quoted) == "他说「这是一个句子。」它有几个字。"         # what is quoted is no sentence
