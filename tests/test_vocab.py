import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni.errors import InputError
from omni.vocab import Vocabulary

VOCAB = Vocabulary(text=300, codebooks=2, codebook_size=16, image=32, picture_tokens=4, languages=("en", "fr"))


@given(
    st.integers(1, 500), st.integers(1, 4), st.integers(1, 64), st.integers(1, 64), st.sampled_from(["flat", "delay"])
)
def test_spans_cover_every_id_once(text: int, books: int, size: int, image: int, layout: str) -> None:
    vocab = Vocabulary(text, books, size, image, picture_tokens=4, layout=layout)
    ids = np.concatenate([np.arange(span.start, span.stop) for span in vocab.spans.values()])
    assert (ids == np.arange(len(vocab))).all()
    assert (np.diff(vocab.modality(ids)) >= 0).all()
    assert vocab.modality(np.array([vocab[name].start for name in vocab.spans])).tolist() == [0, 1, 2, 3]


@given(st.sampled_from(["text", "audio", "image"]), st.lists(st.integers(0, 31), max_size=20))
def test_every_code_comes_back(name: str, codes: list[int]) -> None:
    span = VOCAB[name]
    assert span.codes(span.ids(np.array(codes, np.int64))).tolist() == codes


def test_ids_of_another_modality_are_refused() -> None:
    with pytest.raises(ValueError, match="audio ids"):
        VOCAB["audio"].codes(np.array([VOCAB["text"].start]))


def test_codebooks_partition_the_audio_span() -> None:
    assert [VOCAB.codebook(k).start for k in range(2)] == [VOCAB["audio"].start, VOCAB["audio"].start + 16]
    assert VOCAB.codebook(1).stop == VOCAB["audio"].stop


def test_a_picture_is_tags_then_what_is_painted() -> None:
    tagged = Vocabulary(text=300, codebooks=2, codebook_size=16, image=32, picture_tokens=4, tags=10, picture_tags=2)
    tags, painted = tagged.picture_span(1), tagged.picture_span(2)
    assert (painted.start, painted.stop, tags.stop) == (tagged["image"].start, tags.start, len(tagged))
    assert (tags.size, painted.size, VOCAB.picture_span(0).size) == (10, 22, 32)
    assert tagged.hash != replace(tagged, tags=9).hash
    for wrong in ({"tags": 32}, {"picture_tags": 4}, {"tags": 0}):
        with pytest.raises(ValueError, match="tags"):
            replace(tagged, **wrong)


def test_an_unknown_language_or_voice_is_named_with_the_alternatives() -> None:
    with pytest.raises(InputError, match=r"no <2xx>; its languages are en, fr"):
        VOCAB.control("<2xx>")
    with pytest.raises(InputError, match=r"voices are none"):
        VOCAB.control("<voice:anna>")
    many = replace(VOCAB, languages=(*(f"a{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), "pt", "fr"))
    with pytest.raises(InputError, match=r"no <2FR>; its languages are fr, aa, .*, ao and 12 more$"):
        many.control("<2FR>")


def test_saved_and_loaded_alike(tmp_path: Path) -> None:
    VOCAB.save(tmp_path / "vocab.json")
    assert Vocabulary.load(tmp_path / "vocab.json") == VOCAB


@pytest.mark.parametrize("damage", ["truncated", "edited", "missing", "foreign"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "vocab.json"
    VOCAB.save(path)
    if damage == "truncated":
        path.write_text(path.read_text()[:40])
    elif damage == "edited":
        path.write_text(json.dumps({**json.loads(path.read_text()), "text": 301}))
    elif damage == "missing":
        path.unlink()
    else:
        path.write_text('{"a": 1}')
    with pytest.raises(InputError, match=r"vocab\.json"):
        Vocabulary.load(path)


def test_a_mismatch_names_the_field() -> None:
    other = Vocabulary(text=301, codebooks=2, codebook_size=16, image=32, picture_tokens=4, languages=("en", "fr"))
    with pytest.raises(InputError, match=r"text differs \(301 against 300\)"):
        VOCAB.check_same(other, "model", "shards")
