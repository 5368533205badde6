from collections.abc import Callable
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import omni
from omni.decode.conversation import Conversation, Window
from omni.decode.pieces import Piece
from omni.decode.pipeline import Pipeline
from omni.decode.samplers import GREEDY
from omni.decode.stream import Stream
from omni.errors import InputError
from omni.sequence import Segment, Sequence, prompt
from omni.vocab import LAYOUTS

Load = Callable[..., Pipeline]
BRIEF = {"max_tokens": 6, "max_seconds": 0.1}


@pytest.fixture(scope="module")
def load(models: Callable[..., Path]) -> Load:
    return cache(lambda layout="flat", **shape: Pipeline.load(models(layout, **shape)))


def text(pieces: list[Piece]) -> str:
    return "".join(piece.text or "" for piece in pieces)


def spoken(conversation: Conversation) -> list[Segment]:
    return [segment for turn in conversation.turns for segment in turn]


def count_steps(conversation: Conversation) -> list[int]:
    """How many steps the stream is fed from now on, call by call."""
    fed: list[int] = []
    feed = conversation._stream.feed

    def counted(ids: torch.Tensor) -> None:
        fed.append(ids.shape[1])
        feed(ids)

    conversation._stream.feed = counted  # type: ignore[method-assign]
    return fed


def assert_heard(conversation: Conversation) -> None:
    """The stream is in the state that a fresh one has after the same conversation."""
    conversation.turns = [*conversation.turns, [Segment("text", np.array([5]))]]
    pipeline, segments = conversation.pipeline, spoken(conversation)
    ids, visible = prompt(segments, pipeline.vocab), Sequence.of(segments, pipeline.vocab).prefix
    conversation._stream.hear(ids[None], visible)
    fresh = Stream(pipeline.model)
    fresh.feed(ids[None, :visible])
    fresh.state()
    fresh.feed(ids[None, visible:])
    assert len(conversation._stream) == len(ids)
    torch.testing.assert_close(conversation._stream.state(), fresh.state(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prefix", [False, True])
def test_every_turn_feeds_only_what_is_new_and_the_past_is_that_of_the_whole(
    load: Load, files: Path, layout: str, prefix: bool
) -> None:
    conversation = Conversation(load(layout, prefix=prefix), ["text", "audio", "image"], language="fr", **BRIEF)
    first = list(conversation.say([omni.Text("owl"), omni.Picture(files / "p.png")]))
    assert {piece.modality for piece in first} >= {"audio", "image"}
    before, fed = len(conversation._stream), count_steps(conversation)
    list(conversation.say([omni.Text("x")]))
    assert sum(fed) == len(conversation._stream) - before               # nothing was fed twice
    assert [segment.modality for segment in conversation.turns[1]] == ["text", "text", "audio", "image"]
    assert_heard(conversation)


def test_the_first_answer_is_the_pipelines_and_a_seed_repeats_the_conversation(load: Load) -> None:
    pipeline = load()
    asked = [omni.Text("owl")]
    assert text(list(Conversation(pipeline, seed=3).say(asked))) == pipeline(asked, seed=3).text

    def conversation() -> list[str]:
        talk = Conversation(pipeline, seed=3, **BRIEF)
        return [text(list(talk.say(asked))) for _ in range(3)]

    assert conversation() == conversation()


def test_greedy_answers_are_those_of_the_whole_history_asked_afresh(load: Load) -> None:
    pipeline = load()
    talk = Conversation(pipeline, sampler=GREEDY, **BRIEF)
    for said in ("owl", "bell", "and an owl"):
        answer = text(list(talk.say([omni.Text(said)])))
        afresh = Conversation(pipeline, sampler=GREEDY, **BRIEF)
        afresh.turns = [list(turn) for turn in talk.turns[:-1]]
        assert text(list(afresh.say([omni.Text(said)]))) == answer
        assert spoken(afresh) == spoken(talk)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize(("want", "pieces"), [("text", 3), ("audio", 2), ("image", 0), ("text", 0)])
def test_an_answer_stopped_half_way_is_what_was_handed_over(
    load: Load, layout: str, prefix: bool, want: str, pieces: int
) -> None:
    pipeline = load(layout, prefix=prefix)
    talk = Conversation(pipeline, [want], max_tokens=40, max_seconds=0.4, seed=1)
    answer = talk.say([omni.Text("owl")])
    given = [next(answer) for _ in range(pieces)]
    answer.close()
    said = pipeline.render(talk.turns[0][1:])
    assert len(talk.turns[0]) == 1 + bool(pieces)
    if want == "text" and pieces:
        assert said.text == text(given)
    if want == "audio":
        assert said.audio is not None
        np.testing.assert_allclose(np.concatenate([piece.audio for piece in given]), said.audio, atol=1e-4)
    assert_heard(talk)


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("step", [0, 1, 4])
def test_an_interrupt_in_the_middle_of_a_step_does_no_harm(load: Load, prefix: bool, step: int) -> None:
    talk = Conversation(load(prefix=prefix), sampler=GREEDY, **BRIEF)
    extend, calls = talk._stream._extend, iter(range(99))

    def interrupted(ids: torch.Tensor, visible: bool = False) -> None:
        extend(ids, visible)
        if next(calls) == step:
            raise KeyboardInterrupt

    talk._stream._extend = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        list(talk.say([omni.Text("owl")]))
    assert len(talk.turns) == 1
    list(talk.say([omni.Text("bell")]))
    assert_heard(talk)


def test_saying_something_stops_the_answer_before(load: Load) -> None:
    talk = Conversation(load(), max_tokens=40)
    first = talk.say([omni.Text("owl")])
    next(first)
    list(talk.say([omni.Text("bell")]))
    assert list(first) == []
    assert [segment.role for segment in spoken(talk)] == ["user", "assistant", "user", "assistant"]
    assert_heard(talk)


@pytest.mark.parametrize("prefix", [False, True])
def test_the_oldest_turns_are_forgotten_when_the_room_is_used_up(load: Load, prefix: bool) -> None:
    talk = Conversation(load(prefix=prefix, max_steps=128), **BRIEF)
    for turn in range(12):
        list(talk.say([omni.Text("an owl and a bell", "user")]))
        assert len(talk.turns) + talk.forgotten == turn + 1 and len(talk._stream) <= 128
    assert 0 < talk.forgotten < 11
    assert_heard(talk)


def test_what_cannot_be_said_changes_nothing(load: Load, files: Path) -> None:
    talk = Conversation(load(), **BRIEF)
    list(talk.say([omni.Text("owl")]))
    before = spoken(talk)
    with pytest.raises(InputError, match="no such file"):
        talk.say([omni.Picture(files / "none.png")])
    with pytest.raises(InputError, match=r"the prompt takes .* shorten"):
        talk.say([omni.Text("x" * 900)])
    with pytest.raises(InputError, match="nothing to answer"):
        talk.say()
    with pytest.raises(InputError, match="its languages are en, fr"):
        talk.ask(["audio"], language="tlh")
    assert spoken(talk) == before and talk.forgotten == 0
    list(talk.say([omni.Text("bell")]))
    assert [segment.modality for segment in talk.turns[1]] == ["text", "text"]


def test_another_kind_of_answer_added_parts_and_a_fresh_start(load: Load, files: Path) -> None:
    talk = Conversation(load(), language="en", **BRIEF)
    talk.add(omni.Picture(files / "p.png"))
    talk.ask(["audio"], voice="anna")
    list(talk.say([omni.Text("owl")]))
    picture, said, answer = spoken(talk)
    assert (picture.modality, said.modality) == ("image", "text")
    assert (answer.modality, answer.language, answer.voice) == ("audio", "en", "anna")
    talk.reset()
    list(talk.say([omni.Text("owl")]))
    assert len(talk.turns) == 1
    assert_heard(talk)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_seen_is_laid_out_as_a_prompt_and_forgotten_for_many_turns(load: Load, data: st.DataObject) -> None:
    pipeline = load("delay", max_steps=128)
    vocab, window, wants = pipeline.vocab, Window(pipeline.model, pipeline.vocab), pipeline.asked(["text"], **BRIEF)[0]
    system = data.draw(st.sampled_from([[], [Segment("text", np.array([1, 2, 3]), "system")]]))
    turns: list[list[Segment]] = []
    for length in data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=25)):
        role = data.draw(st.sampled_from(["user", "assistant"]))
        codes = np.zeros((length, vocab.codebooks), np.int64) if length % 2 else np.arange(length)
        turns.append([Segment("audio" if length % 2 else "text", codes, role)])
        before = len(prompt([*system, *chain(*turns)], vocab)) + sum(want.most(vocab) for want in wants)
        seen = window.fit(turns, wants, system)
        turns = turns[seen.forgotten :]
        np.testing.assert_array_equal(seen.ids, prompt([*system, *chain(*turns)], vocab))
        assert bool(seen.forgotten) == (before > 128 and len(turns) + seen.forgotten > 1)
        assert not seen.forgotten or len(seen.ids) <= 64 or len(turns) == 1


def test_instructions_stay_while_turns_are_forgotten(load: Load) -> None:
    pipeline = load(max_steps=128)
    window, said = Window(pipeline.model, pipeline.vocab), [[Segment("text", np.arange(20))] for _ in range(12)]
    wants, instructions = pipeline.asked(["text"], **BRIEF)[0], [Segment("text", np.arange(10), "system")]
    seen = window.fit(said, wants, instructions)
    assert seen.forgotten and seen.segments[0] is instructions[0] and seen.segments[-1] is said[-1][0]
    long = [Segment("text", np.arange(80) % 50, "system")]
    assert window.fit([[Segment("text", np.arange(40))]], wants, long).segments[0].role == "user"
