"""Tokenizers of other checkpoints: the same ids, every text back, and no way to their special tokens."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from omni.errors import InputError
from omni.tokenizers.foreign import adopt
from omni.tokenizers.text import TextTokenizer

SIZE = 410
SPECIAL = ["<|begin_of_text|>", "<|im_start|>"]
WORDS = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEXTS = st.lists(st.one_of(st.text(), st.sampled_from([*SPECIAL, "<think>", "é", "e\u0301", "owl "]))).map("".join)


def train(ignore_merges: bool) -> Tokenizer:
    core = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator(["the owl and the bell", "le château du hibou", "im_start think <think"] * 9, trainer)
    return core


@pytest.fixture(scope="module", params=["llama", "qwen", "tekken"])
def theirs(request: pytest.FixtureRequest) -> Tokenizer:
    """Llama 3 looks words up whole and puts a token first, Qwen writes in NFC, Tekken has its special tokens first."""
    core = train(request.param == "llama")
    if request.param == "tekken":
        fields = json.loads(core.to_str())
        fields["model"]["vocab"] = {token: number + 2 for token, number in fields["model"]["vocab"].items()}
        fields["model"]["vocab"] |= {token: number for number, token in enumerate(SPECIAL)}
        core = Tokenizer.from_str(json.dumps(fields))
    core.add_special_tokens(SPECIAL)
    core.add_tokens(["<think>"])
    if request.param == "qwen":
        core.normalizer = normalizers.NFC()
    if request.param == "llama":
        pair = [(SPECIAL[0], core.token_to_id(SPECIAL[0]))]
        core.post_processor = processors.TemplateProcessing(single=f"{SPECIAL[0]} $A", special_tokens=pair)
    return core


@pytest.fixture(scope="module")
def ours(theirs: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """Adopted, saved and loaded again."""
    folder = tmp_path_factory.mktemp("tokenizer")
    theirs.save(str(folder / "tokenizer.json"))
    adopt(folder / "tokenizer.json", SIZE).save(folder)
    return TextTokenizer.load(folder)


@given(text=TEXTS)
def test_every_text_comes_back_and_holds_no_special_token(
    text: str, theirs: Tokenizer, ours: TextTokenizer
) -> None:
    ids, pieces = ours.encode(text), ours.pieces()
    assert ours.decode(ids) == text
    assert not set(ids) & set(theirs.get_added_tokens_decoder()) and all(0 <= number < 400 + 2 for number in ids)
    assert b"".join(pieces[number] for number in ids) == text.encode()


@given(text=st.text())
def test_ids_are_theirs(text: str, theirs: Tokenizer, ours: TextTokenizer) -> None:
    text = unicodedata.normalize("NFC", text)
    assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


def test_special_and_spare_ids_stand_for_nothing(theirs: Tokenizer, ours: TextTokenizer) -> None:
    assert len(ours) == SIZE
    silent = [*theirs.get_added_tokens_decoder(), SIZE - 1]
    assert ours.decode(silent) == "" and all(ours.pieces()[number] == b"" for number in silent)
    word = ours.encode("château")
    assert ours.decode([silent[0], *word, silent[1]]) == "château"


def sentencepiece(fields: dict) -> None:
    fields["model"]["byte_fallback"] = True
    fields["normalizer"] = {"type": "Prepend", "prepend": "▁"}


def spaced(fields: dict) -> None:
    fields["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = True


def lower(fields: dict) -> None:
    fields["normalizer"] = {"type": "Lowercase"}


def removing(fields: dict) -> None:
    fields["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"


def no_bytes(fields: dict) -> None:
    fields["pre_tokenizer"] = {"type": "Whitespace"}


def no_z(fields: dict) -> None:
    del fields["model"]["vocab"]["z"]


def not_one(fields: dict) -> None:
    del fields["model"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (sentencepiece, "SentencePiece"), (spaced, "ByteLevel changes it"), (lower, "Lowercase changes it"),
        (removing, "Split changes it"), (no_bytes, "not work on bytes"), (no_z, "256 bytes"), (not_one, "not a tok"),
    ],
)  # fmt: skip
def test_one_that_loses_text_is_refused_in_one_line(change: object, line: str, tmp_path: Path) -> None:
    fields = json.loads(train(False).to_str())
    change(fields)  # type: ignore[operator]
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(InputError, match=line) as caught:
        adopt(tmp_path / "tokenizer.json", SIZE)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_of_a_larger_model_is_refused(tmp_path: Path) -> None:
    train(False).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="has no row among the checkpoint's 200"):
        adopt(tmp_path / "tokenizer.json", 200)
