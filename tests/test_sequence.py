from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni import layout
from omni.sequence import Segment, Sequence, parse, prompt, unsure
from omni.spelling import Spelling
from omni.vocab import LAYOUTS, ROLES, Vocabulary

# Letters, an umlaut in two pieces, longer pieces and bytes that are no text.
UMLAUT = "ä".encode().decode("latin-1")
PIECES = (*"abcdefg 123AB.,", *UMLAUT, UMLAUT, " the", "ab", "\xff", *"hijklmnopqrstuvwxyz-!?;:()", "zz", "yy", "xx")
SPELT = Spelling(PIECES, ("a_", "ab", "__", " _", "_a", "b ", "ä_"))


def vocabulary(layout: str, codebooks: int = 3, spelling: Spelling | None = None) -> Vocabulary:
    return Vocabulary(
        text=50, codebooks=codebooks, codebook_size=7, image=11, picture_tokens=4, frames=3,
        languages=("en", "pt-br"), voices=("anna",), layout=layout, spelling=spelling,
    )  # fmt: skip


def codes(modality: str, codebooks: int) -> st.SearchStrategy[np.ndarray]:
    rows = {"text": (0, 9), "audio": (0, 6), "image": (4, 4), "video": (1, 3)}[modality]
    width = {"text": 0, "audio": codebooks, "image": 0, "video": 4}[modality]
    top = {"text": 49, "audio": 6, "image": 10, "video": 10}[modality]
    row = st.lists(st.integers(0, top), min_size=width, max_size=width) if width else st.integers(0, top)
    shape = (-1, width) if width else (-1,)
    return st.lists(row, min_size=rows[0], max_size=rows[1]).map(lambda rows: np.array(rows, np.int64).reshape(shape))


def segments(codebooks: int) -> st.SearchStrategy[list[Segment]]:
    def one(modality: str) -> st.SearchStrategy[Segment]:
        return st.builds(
            Segment, st.just(modality), codes(modality, codebooks), st.sampled_from(ROLES),
            st.sampled_from([None, "en", "pt-br"]), st.sampled_from([None, "anna"]),
        )  # fmt: skip

    return st.lists(st.sampled_from(["text", "audio", "image", "video"]).flatmap(one), min_size=1, max_size=5)


def test_a_picture_begins_with_its_tags_in_a_video_too() -> None:
    vocab = replace(vocabulary("flat"), tags=3, picture_tags=2)
    good, wrong = np.array([8, 10, 0, 7]), np.array([8, 0, 10, 7])
    for segment in (Segment("image", good), Segment("video", np.stack([good, good]))):
        assert parse(Sequence.of([segment], vocab).ids, vocab) == [segment]
    for segment in (Segment("image", wrong), Segment("video", np.stack([good, wrong]))):
        with pytest.raises(ValueError, match="2 tags"):
            segment.payload(vocab)


@given(st.data(), st.sampled_from(LAYOUTS), st.integers(1, 3), st.sampled_from([None, SPELT]))
def test_a_conversation_comes_back_from_its_stream(
    data: st.DataObject, layout: str, codebooks: int, spelling: Spelling | None
) -> None:
    vocab = vocabulary(layout, codebooks, spelling)
    said = data.draw(segments(codebooks))
    sequence = Sequence.of(said, vocab)
    assert sequence.segments(vocab) == said
    assert sequence.ids.shape == (len(sequence), vocab.channels)
    assert sequence.ids.min() >= 0 and sequence.ids.max() < len(vocab)


@given(st.data(), st.sampled_from(LAYOUTS), st.sampled_from([None, SPELT]))
def test_only_the_assistants_payloads_and_closings_carry_loss(
    data: st.DataObject, layout: str, spelling: Spelling | None
) -> None:
    vocab = vocabulary(layout, spelling=spelling)
    sequence = Sequence.of(data.draw(segments(3)), vocab)
    speaker, inside = "", False
    for ids, loss in zip(sequence.ids[:, 0].tolist(), sequence.loss.tolist(), strict=True):
        name = vocab.controls[ids] if ids < len(vocab.controls) else ""
        if name[1:-1] in ROLES:
            speaker = name[1:-1]
        closing = name.startswith("</") or name == "<turn>"
        assert loss == (speaker == "assistant" and (closing or inside)), (name, speaker)
        if name.startswith("</"):
            inside = False
        elif name[1:-1] in ("text", "audio", "image", "video"):
            inside = True


@given(st.data(), st.sampled_from(LAYOUTS), st.integers(0, 6))
def test_what_is_certain_of_a_speaking_user_begins_what_follows(data: st.DataObject, layout: str, heard: int) -> None:
    vocab = vocabulary(layout, spelling=SPELT)
    before, whole = data.draw(segments(3)), data.draw(codes("audio", 3))
    sure = [*before, Segment("audio", whole[:heard])]
    ids = prompt(sure, vocab)
    certain = ids[: len(ids) - unsure(sure, vocab)]
    later = prompt([*before, Segment("audio", whole)], vocab)
    assert np.array_equal(later[: len(certain)], certain)


@given(st.data(), st.sampled_from(LAYOUTS))
def test_no_predicted_step_is_inside_the_visible_prefix(data: st.DataObject, layout: str) -> None:
    sequence = Sequence.of(data.draw(segments(3)), vocabulary(layout))
    assert not sequence.loss[: sequence.prefix].any()


@given(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), max_size=9), st.sampled_from(LAYOUTS))
def test_layouts_are_invertible(rows: list[list[int]], name: str) -> None:
    frames = np.array(rows, np.int64).reshape(-1, 3)
    vocab = vocabulary(name)
    steps = layout.to_steps(frames, vocab)
    assert (layout.from_steps(steps, vocab) == frames).all()
    expected = {"flat": 3 * len(frames), "depth": len(frames), "delay": len(frames) + 2 if len(frames) else 0}
    assert steps.shape == (expected[name], vocab.channels)


def test_with_one_codebook_the_layouts_coincide() -> None:
    frames = np.arange(6).reshape(-1, 1)
    steps = [layout.to_steps(frames, vocabulary(name, codebooks=1)) for name in LAYOUTS]
    assert all((step == steps[0]).all() for step in steps)


def test_delay_shifts_codebook_k_by_k_steps() -> None:
    vocab = vocabulary("delay")
    steps = layout.to_steps(np.array([[0, 1, 2], [3, 4, 5]]), vocab)
    wait = vocab.control("<wait>")
    first, second, third = (vocab.codebook(k).start for k in range(3))
    assert steps.tolist() == [
        [first + 0, wait, wait],
        [first + 3, second + 1, wait],
        [wait, second + 4, third + 2],
        [wait, wait, third + 5],
    ]


def test_a_prompt_goes_on_as_the_assistant() -> None:
    vocab = vocabulary("flat")
    ids = prompt([Segment("text", np.array([1, 2]))], vocab)
    names = [vocab.controls[i] if i < len(vocab.controls) else "·" for i in ids[:, 0]]
    assert names == ["<bos>", "<user>", "<text>", "·", "·", "</text>", "<turn>", "<assistant>"]


@pytest.mark.parametrize(
    "segment",
    [
        Segment("text", np.array([50])),
        Segment("text", np.array([-1])),
        Segment("audio", np.array([[0, 0, 7]])),
        Segment("audio", np.array([[0, 0]])),
        Segment("image", np.array([0, 1, 2])),
        Segment("video", np.zeros((4, 4), np.int64)),
    ],
)
def test_codes_out_of_range_or_of_the_wrong_shape_are_refused(segment: Segment) -> None:
    with pytest.raises(ValueError):
        Sequence.of([segment], vocabulary("flat"))


@given(st.lists(st.integers(0, 100), max_size=12))
def test_any_stream_parses_or_is_refused(ids: list[int]) -> None:
    vocab = vocabulary("flat")
    stream = np.array(ids, np.int64).reshape(-1, 1)
    try:
        parsed = parse(stream, vocab)
    except ValueError:
        return
    assert parsed == [] or (Sequence.of(parsed, vocab).ids[-2:] == stream[-2:]).all()


def test_nothing_is_no_conversation() -> None:
    for lay in (lambda: Sequence.of([], vocabulary("flat")), lambda: prompt([], vocabulary("flat", spelling=SPELT))):
        with pytest.raises(ValueError, match="needs at least one segment"):
            lay()
