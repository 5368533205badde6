import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omni.errors import InputError
from omni.tokenizers.text import TextTokenizer, evaluate

CORPUS = [
    "The owl sleeps by day.",
    "Eine Eule schläft am Tag.",
    "Une chouette dort le jour.",
    "Сова спит днём.",
    "उल्लू दिन में सोता है।",
    "フクロウは昼に眠る。",
    "x = 12345 + y[7]\n",
] * 20


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train(CORPUS, 600)


@settings(deadline=None, max_examples=300)
@given(text=st.text())
@example(text="<bos>")
@example(text="</audio><t0><2de>")
@example(text="\x00\x1f\x7f\u0085\u2028\u200d\ufeff")
@example(text=" \t\r\n  a  \n\n ")
@example(text="e\u0301 é नि क्षि 👩‍🚀🏳️‍🌈\U0010ffff\ufffe")
def test_any_text_comes_back_exactly(text: str, tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= i < len(tokenizer) for i in ids)


@settings(deadline=None, max_examples=300)
@given(text=st.text())
@example(text="e\u0301 é नि क्षि 👩‍🚀🏳️‍🌈\U0010ffff\ufffe")
def test_a_text_letter_by_letter_comes_back_exactly_and_no_piece_is_two_letters(
    text: str, tokenizer: TextTokenizer
) -> None:
    ids, pieces = tokenizer.encode_letters(text), tokenizer.pieces()
    assert tokenizer.decode(ids) == text
    assert all(len(pieces[number].decode(errors="ignore")) <= 1 for number in ids)


@settings(deadline=None)
@given(text=st.text(alphabet=st.characters(categories=["Cs"]), min_size=1, max_size=5))
def test_a_lone_surrogate_becomes_the_replacement_character(text: str, tokenizer: TextTokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a" + text + "b")) == "a" + "\ufffd" * len(text) + "b"


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 255), max_size=12))
def test_any_ids_are_decoded(ids: list[int], tokenizer: TextTokenizer) -> None:
    tokenizer.decode(ids).encode("utf-8")


def test_a_cut_letter_decodes_to_the_replacement_character(tokenizer: TextTokenizer) -> None:
    ids = tokenizer.encode("🦉")
    assert len(ids) > 1
    assert tokenizer.decode(ids[:-1]) == "\ufffd"


def test_names_of_control_tokens_are_ordinary_text(tokenizer: TextTokenizer) -> None:
    for name in ("<bos>", "<eos>", "<|endoftext|>", "</audio>", "<2de>", "[UNK]", "<s>"):
        assert len(tokenizer.encode(name)) > 1
    saved = json.loads(tokenizer._core.to_str())
    assert saved["added_tokens"] == []


def test_merges_shorten_what_was_seen(tokenizer: TextTokenizer) -> None:
    seen = "Сова спит днём."
    assert len(tokenizer.encode(seen)) < len(seen.encode()) / 2


def test_a_batch_is_its_texts(tokenizer: TextTokenizer) -> None:
    assert tokenizer.encode_batch(CORPUS[:7]) == [tokenizer.encode(text) for text in CORPUS[:7]]
    assert tokenizer.encode_batch([]) == []


@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_ids_outside_are_refused(wrong: int, tokenizer: TextTokenizer) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        tokenizer.decode([0, wrong])


def test_without_texts_the_bytes_remain() -> None:
    bytes_only = TextTokenizer.train([], 300)
    assert len(bytes_only) == 256
    assert len(bytes_only.encode("Eule 🦉")) == len("Eule 🦉".encode())


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="at least 256"):
        TextTokenizer.train(CORPUS, 255)


def test_training_twice_gives_the_same(tokenizer: TextTokenizer) -> None:
    again = TextTokenizer.train(CORPUS, 600)
    assert again.fingerprint == tokenizer.fingerprint
    assert TextTokenizer.train(CORPUS, 300).fingerprint != tokenizer.fingerprint


def test_saved_and_loaded_it_is_the_same(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = TextTokenizer.load(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert [loaded.encode(text) for text in CORPUS[:7]] == [tokenizer.encode(text) for text in CORPUS[:7]]


def test_missing_or_broken_files_are_refused_in_one_line(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text tokenizer there"):
        TextTokenizer.load(tmp_path)
    tokenizer.save(tmp_path)
    whole = (tmp_path / "text.json").read_text()
    for broken in (whole[: len(whole) // 2], "", "[]", "\x00"):
        (tmp_path / "text.json").write_text(broken)
        with pytest.raises(InputError, match=r"text\.json") as caught:
            TextTokenizer.load(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_tokenizer_with_special_tokens_is_refused(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    fields = json.loads((tmp_path / "text.json").read_text())
    fields["added_tokens"] = [
        {"id": 600, "content": "<bos>", "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
    ]  # fmt: skip
    (tmp_path / "text.json").write_text(json.dumps(fields))
    with pytest.raises(InputError, match="special tokens"):
        TextTokenizer.load(tmp_path)


def test_figures_of_bytes_alone_are_one_byte_a_token() -> None:
    report = evaluate(TextTokenizer.train([], 256), {"en": ["owl"] * 100, "de": ["Käuzchen"]})
    assert report.figures["bytes_per_token"].value == 1
    assert report.figures["round_trip"].value == 1
    assert report.figures["bytes_per_token_en"].n == 100
    assert "bytes_per_token_de" not in report.figures
    with pytest.raises(InputError, match="no held-out texts"):
        evaluate(TextTokenizer.train([], 256), {"en": []})
