import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.decode.generate import draw_many, generate_batch
from omni.decode.payload import _Writer, longest, payload
from omni.decode.samplers import GREEDY, Sampler
from omni.decode.say import answer, begin, say
from omni.decode.score import log_likelihoods
from omni.decode.step import fast_step
from omni.decode.stream import Stream, catch_up
from omni.decode.want import Want
from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, Sequence, parse, prompt
from omni.vocab import LAYOUTS, Vocabulary


def vocabulary(layout: str = "flat", codebooks: int = 3) -> Vocabulary:
    return Vocabulary(
        text=9, codebooks=codebooks, codebook_size=5, image=8, picture_tokens=4, frames=2,
        languages=("en", "fr"), voices=("anna",), layout=layout, tags=2, picture_tags=1,
    )  # fmt: skip


def built(vocab: Vocabulary, prefix: bool = False, **shape: Any) -> OmniTransformer:
    torch.manual_seed(0)
    shape = {"d_model": 24, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 32, "max_steps": 200, **shape}
    model = OmniTransformer(ModelConfig(**shape, prefix=prefix).for_vocabulary(vocab)).eval()
    for parameter in model.parameters():                                # spread, so that answers differ and end early
        torch.nn.init.normal_(parameter, std=0.3)
    return model


MODELS = {
    (layout, codebooks, prefix): (built(vocabulary(layout, codebooks), prefix), vocabulary(layout, codebooks))
    for layout in LAYOUTS
    for codebooks in (1, 3)
    for prefix in (False, True)
}
WHICH = st.sampled_from(sorted(MODELS))
WANTS = st.permutations(["text", "audio", "image"]).flatmap(lambda order: st.integers(1, 3).map(lambda n: order[:n]))
ASKED = [Segment("text", np.array([1, 2, 3])), Segment("image", np.array([7, 1, 2, 3]))]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=50)
@given(WHICH, WANTS, st.integers(1, 6), st.integers(0, 99))
def test_whatever_is_drawn_is_a_well_formed_answer_of_what_was_wanted(
    which: tuple[str, int, bool], order: list[str], limit: int, seed: int
) -> None:
    model, vocab = MODELS[which]
    wants = [Want(modality, "fr" if modality != "image" else None, limit=limit) for modality in order]
    stream = begin(model, vocab, ASKED, wants)
    segments = answer(stream, vocab, wants, Sampler(), generator(seed))
    assert [(segment.modality, segment.language, segment.role) for segment in segments] == [
        (want.modality, want.language, "assistant") for want in wants
    ]
    for segment in segments:
        assert len(segment.codes) <= (4 if segment.modality == "image" else limit)
        assert segment.modality != "audio" or len(segment.codes) >= 1
        assert segment.modality != "image" or (segment.codes >= 6).tolist() == [True, False, False, False]
    laid = Sequence.of([*ASKED, *segments], vocab)
    assert parse(laid.ids, vocab) == [*ASKED, *segments]
    assert len(stream) == len(laid) - 2                                 # all but the last <turn> and <eos> has been fed


@torch.no_grad()
@settings(deadline=None, max_examples=25)
@given(WHICH, WANTS, st.integers(0, 99))
def test_the_stream_ends_in_the_state_of_the_whole_conversation(
    which: tuple[str, int, bool], order: list[str], seed: int
) -> None:
    """What was fed, and when, is what the layout says: the state equals the one computed from the finished sequence."""
    model, vocab = MODELS[which]
    wants = [Want(modality, limit=4) for modality in order]
    stream = begin(model, vocab, ASKED, wants)
    segments = answer(stream, vocab, wants, Sampler(), generator(seed))
    laid = Sequence.of([*ASKED, *segments], vocab)
    afresh = Stream(model)
    afresh.feed(laid.ids[None, : laid.prefix])
    afresh.state()
    afresh.feed(laid.ids[None, laid.prefix : -2])
    torch.testing.assert_close(stream.state(), afresh.state(), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(WHICH, st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 99))
def test_a_prompt_may_be_fed_in_any_pieces(which: tuple[str, int, bool], pieces: list[int], seed: int) -> None:
    model, vocab = MODELS[which]
    ids = torch.randint(1, len(vocab), (2, sum(pieces), vocab.channels), generator=generator(seed))
    whole, parts = Stream(model, batch=2), Stream(model, batch=2)
    whole.feed(ids)
    for number, piece in enumerate(ids.split(pieces, dim=1)):
        parts.feed(piece)
        if not which[2] and (seed >> number) & 1:                       # computed now, or with what follows
            parts.state()
    assert len(parts) == len(whole) and parts.room == 200 - sum(pieces)
    torch.testing.assert_close(parts.state(), whole.state(), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(WHICH, st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=4), st.integers(0, 99))
def test_streams_that_catch_up_together_are_those_of_each_alone(
    which: tuple[str, int, bool], fed: list[list[int]], seed: int
) -> None:
    model, vocab = MODELS[which]
    step = fast_step(model)
    streams, alone = ([Stream(model, step=step) for _ in fed] for _ in range(2))
    draws = generator(seed)
    for number in range(max(map(len, fed))):
        for mine, other, pieces in zip(streams, alone, fed, strict=True):
            if number < len(pieces):
                ids = torch.randint(1, len(vocab), (1, pieces[number], vocab.channels), generator=draws)
                mine.feed(ids)
                other.feed(ids)
        catch_up(streams)
    for mine, other, pieces in zip(streams, alone, fed, strict=True):
        if sum(pieces):
            torch.testing.assert_close(mine.state(), other.state(), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(WHICH, WANTS, st.lists(st.integers(0, 8), min_size=1, max_size=5))
def test_a_batch_of_unequal_prompts_answers_like_each_alone(
    which: tuple[str, int, bool], order: list[str], lengths: list[int]
) -> None:
    model, vocab = MODELS[which]
    wants = [Want(modality, limit=5) for modality in order]
    asked = [[Segment("text", np.arange(length) % 9)] for length in lengths]
    together = generate_batch(model, vocab, asked, wants, GREEDY)
    alone = [answer(begin(model, vocab, segments, wants), vocab, wants, GREEDY) for segments in asked]
    assert together == alone


def test_a_large_batch_goes_through_in_groups_and_repeats_with_the_seed() -> None:
    model, vocab = MODELS["delay", 3, False]
    asked = [[Segment("text", np.arange(length % 7))] for length in range(35)]
    first, second = (
        generate_batch(model, vocab, asked, [Want("audio", limit=6)], Sampler(), generator(4)) for _ in range(2)
    )
    assert first == second and len(first) == 35
    assert len({len(segments[0].codes) for segments in first}) > 1      # rows ended at different steps


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
def test_draws_follow_the_exact_distribution_over_whole_payloads(layout: str) -> None:
    """All audio payloads of at most two frames, enumerated and scored, against how often each is drawn."""
    vocab = Vocabulary(text=2, codebooks=2, codebook_size=2, image=2, picture_tokens=1, frames=1, layout=layout)
    model = built(vocab)
    asked = [Segment("text", np.array([0, 1]))]
    opening = np.concatenate((prompt(asked, vocab), Want("audio").opening(vocab)))
    exact: dict[tuple[int, ...], float] = {}
    for frames in (1, 2):
        for codes in itertools.product(range(2), repeat=2 * frames):
            exact[codes] = _probability(model, vocab, asked, np.array(codes).reshape(frames, 2))
    assert sum(exact.values()) == pytest.approx(1, abs=1e-5)
    rows = 4000
    stream = Stream(model, batch=rows, max_steps=len(opening) + longest(vocab, "audio", 2))
    stream.feed(np.repeat(opening[None], rows, axis=0))
    drawn: list[list[np.ndarray]] = [[] for _ in range(rows)]
    for numbers, ids in payload(stream, vocab, "audio", Sampler(), generator(0), limit=2):
        for number, step in zip(numbers.tolist(), ids.numpy(), strict=True):
            drawn[number].append(step)
    counts = dict.fromkeys(exact, 0)
    for steps in drawn:
        counts[tuple(Want("audio").segment(np.stack(steps), vocab).codes.reshape(-1).tolist())] += 1
    for codes, probability in exact.items():
        deviation = (probability * (1 - probability) / rows) ** 0.5
        assert abs(counts[codes] / rows - probability) < 4.5 * deviation + 1e-9, codes


def _probability(model: OmniTransformer, vocab: Vocabulary, asked: list[Segment], codes: np.ndarray) -> float:
    """Probability of an audio payload, step by step by definition: allowed ids only, renormalised."""
    ids = Sequence.of([*asked, Segment("audio", codes, "assistant")], vocab).ids
    start = len(prompt(asked, vocab)) + 1
    closing, wait = vocab.control("</audio>"), vocab.control("<wait>")
    total, table = 0.0, model.embedding.weight
    for step in range(start, len(ids) - 2):                             # the payload and its closing token
        stream = Stream(model)
        stream.feed(ids[None, :step])
        state, at = stream.state(), step - start
        first = int(ids[step, 0])
        if vocab.layout == "flat":
            allowed = list(range(vocab.codebook(at % 2).start, vocab.codebook(at % 2).stop))
            allowed += [closing] if at == 2 else []
            allowed = [closing] if at == 4 else allowed                 # the limit of two frames
        else:
            end = wait if vocab.layout == "delay" else closing
            allowed = [*range(vocab.codebook(0).start, vocab.codebook(0).stop), *([end] if at == 1 else [])]
            allowed = [end] if at == 2 else allowed
            allowed = [closing] if first == closing and vocab.layout == "delay" else allowed
        scores = model.logits(state)[0, allowed].log_softmax(dim=-1)
        total += float(scores[allowed.index(first)])
        if vocab.channels > 1 and int(ids[step, 1]) >= vocab.codebook(1).start:
            assert model.channel_head is not None
            second = model.channel_head.logits(state, torch.from_numpy(ids[step : step + 1, :1]), table)[0]
            total += float(second.log_softmax(dim=-1)[int(ids[step, 1]) - vocab.codebook(1).start])
    return float(np.exp(total))


@torch.no_grad()
@settings(deadline=None, max_examples=20)
@given(WHICH, st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=6), min_size=1, max_size=5))
def test_log_likelihoods_equal_the_products_of_step_probabilities(
    which: tuple[str, int, bool], texts: list[list[int]]
) -> None:
    model, vocab = MODELS[which]
    streams = [Sequence.of([*ASKED, Segment("text", np.array(text), "assistant")], vocab) for text in texts]
    for stream, score in zip(streams, log_likelihoods(model, streams), strict=True):
        fed = Stream(model)
        fed.feed(stream.ids[None, : stream.prefix])
        expected = 0.0
        for step in range(stream.prefix, len(stream)):
            if stream.loss[step]:
                expected += float(model.logits(fed.state())[0].log_softmax(dim=-1)[stream.ids[step, 0]])
            fed.state()
            fed.feed(stream.ids[None, step : step + 1])
        assert score == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_an_answer_is_cut_where_the_models_room_ends() -> None:
    vocab = vocabulary()
    model = built(vocab, max_steps=90)
    wants = [Want("audio", limit=1000), Want("text", limit=1000)]
    stream = begin(model, vocab, ASKED, wants)
    laid = Sequence.of([*ASKED, *answer(stream, vocab, wants, Sampler(), generator(0))], vocab)
    assert parse(laid.ids, vocab) and len(stream) <= 90


def test_a_prompt_that_leaves_no_room_is_refused_with_its_length() -> None:
    vocab = vocabulary()
    model = built(vocab, max_steps=60)
    asked = [Segment("text", np.zeros(50, np.int64))]
    for attempt in (lambda: begin(model, vocab, asked, [Want("text")]),
                    lambda: generate_batch(model, vocab, [asked], [Want("text")], GREEDY)):
        with pytest.raises(InputError, match=r"the prompt takes 56 of the model's 60 steps.*shorten"):
            attempt()


def test_a_model_whose_states_are_no_numbers_is_refused() -> None:
    vocab = vocabulary("depth")
    model = built(vocab)
    model.blocks[0].feed_forward.down.weight.data[0, 0] = float("nan")
    for want, sampler in itertools.product((Want("text"), Want("audio"), Want("image")), (Sampler(), GREEDY)):
        with pytest.raises(InputError, match="no id can be drawn"):
            answer(begin(model, vocab, ASKED, [want]), vocab, [want], sampler)
        with pytest.raises(InputError, match="no id can be drawn"):
            generate_batch(model, vocab, [ASKED] * 2, [want], sampler)
        with pytest.raises(InputError, match="no id can be drawn"):
            draw_many(model, vocab, ASKED, want, 3, sampler)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="where a GPU is waited for anyway, it is told there")
def test_a_gpus_states_that_are_no_numbers_are_refused_too() -> None:
    vocab = vocabulary()
    model = built(vocab).cuda()
    model.blocks[0].feed_forward.down.weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="no id can be drawn"):
        generate_batch(model, vocab, [ASKED] * 2, [Want("audio")], GREEDY)


@given(st.lists(st.booleans(), min_size=1, max_size=5), st.sampled_from([None, torch.nan, torch.inf]))
def test_where_a_gpu_is_waited_for_it_tells_both(live: list[bool], wrong: float | None) -> None:
    """How many rows go on, and whether the states are numbers; the GPU is played by this processor."""
    model, vocab = MODELS["flat", 1, False]
    stream = Stream(model, batch=len(live))
    stream.feed(torch.ones(len(live), 1, 1, dtype=torch.long))
    with torch.inference_mode():
        stream.state()[-1, 3] *= wrong or 1
    flags, writer = torch.tensor(live), _Writer(stream, vocab, "text", GREEDY, None, None, None)
    there = SimpleNamespace(device=torch.device("cuda"), sum=flags.sum)
    assert writer.left(flags) == sum(live)
    if wrong is None:
        assert writer.left(there) == sum(live)
    else:
        with pytest.raises(InputError, match="no id can be drawn"):
            writer.left(there)


def test_steps_come_before_the_next_one_is_computed() -> None:
    """A listener gets each step as soon as it is drawn: then it has been fed, and is still to be computed."""
    model, vocab = MODELS["flat", 3, False]
    stream = begin(model, vocab, ASKED, [Want("image")])
    before = len(stream) + 1                                            # with the opening token
    (steps,) = say(stream, vocab, [Want("image")], Sampler(), generator(0))
    for count, step in enumerate(steps):
        assert step.shape == (1,) and len(stream) == before + count + 1 and stream.behind == 1


def test_video_cannot_be_asked_for_and_an_unknown_language_is_listed() -> None:
    model, vocab = MODELS["flat", 3, False]
    with pytest.raises(ValueError, match="video cannot be generated"):
        next(payload(Stream(model), vocab, "video", GREEDY, None, 1))
    with pytest.raises(InputError, match="its languages are en, fr"):
        Want("text", "de").opening(vocab)
    with pytest.raises(InputError, match="its voices are anna"):
        Want("audio", voice="bob").opening(vocab)


def test_an_unfed_stream_predicts_nothing_and_a_full_one_refuses() -> None:
    model, vocab = MODELS["flat", 3, False]
    stream = Stream(model, max_steps=3)
    with pytest.raises(ValueError, match="nothing was fed"):
        stream.state()
    with pytest.raises(ValueError, match="4 steps do not fit the room of 3"):
        stream.feed(np.zeros((1, 4, vocab.channels), np.int64))
