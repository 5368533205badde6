"""A text tokenizer that others trained, the tokenizer.json beside a checkpoint, as a `TextTokenizer` with the same ids.

Its added tokens (`<|im_start|>`, `<think>`) keep their ids but lose their spelling, so that no text can produce them.
"""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from omni.errors import InputError
from omni.files import read_json
from omni.tokenizers.text import SILENT, TextTokenizer

EXACT = ("ByteLevel", "Split", "Digits")                                # cut text and lose nothing of it


def adopt(path: Path | str, size: int) -> TextTokenizer:
    """The byte-level BPE in a tokenizer.json of Hugging Face's, with ids up to `size`, the checkpoint's rows.

    Texts in NFC get the ids that they had there; others, which Qwen's tokenizer would rewrite, keep their own letters.
    Raises InputError for one that does not give every text back, such as those of SentencePiece (Llama 2).
    """
    fields = read_json(path)
    try:
        fields["model"] = _model(fields, size, path)
        _check_exact(fields, path)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a tokenizer of Hugging Face's ({error!r}); copy it again") from None
    nothing = dict.fromkeys(("normalizer", "post_processor", "truncation", "padding"))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    try:
        core = Tokenizer.from_str(json.dumps({**fields, **nothing, "added_tokens": [], "decoder": byte_level}))
    except Exception as error:                                          # `tokenizers` raises bare Exception
        raise InputError(f"{path}: a broken tokenizer file ({error}); copy it again") from None
    try:
        return TextTokenizer(core)
    except InputError:
        raise _not_exact(path, "some of the 256 bytes have no token") from None


def _model(fields: dict[str, Any], size: int, path: Path | str) -> dict[str, Any]:
    """The BPE model with silent tokens in the place of added ones, and for every id below `size` without a token."""
    model = fields["model"]
    if model.get("type", "BPE") != "BPE" or model.get("byte_fallback"):
        raise _not_exact(path, "SentencePiece, or no byte-pair encoding")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise _not_exact(path, f"{name} is set")
    added = {int(token["id"]): str(token["content"]) for token in fields.get("added_tokens") or []}
    tokens = {int(number): token for token, number in model["vocab"].items() if number not in added}
    if (highest := max((*added, *tokens), default=0)) >= size:
        raise InputError(f"{path}: token {highest} has no row among the checkpoint's {size}; use files of one model")
    for number in range(size):
        if number not in tokens:
            tokens[number] = f"{SILENT}{number} {added.get(number, '')}".rstrip()
    known = set(tokens.values())
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    kept = [(left, right) for left, right in merges if {left, right, left + right} <= known]
    vocab = {token: number for number, token in sorted(tokens.items())}
    return {**model, "vocab": vocab, "merges": kept, "unk_token": None}


def _check_exact(fields: dict[str, Any], path: Path | str) -> None:
    """Refuse whatever changes a text for good before it becomes bytes, NFC apart, which is left out."""
    normalizer = fields.get("normalizer")
    if normalizer is not None and normalizer["type"] != "NFC":
        raise _not_exact(path, f"the normalizer {normalizer['type']} changes it")
    cutter = fields.get("pre_tokenizer") or {"type": "none"}
    cutters = cutter["pretokenizers"] if cutter["type"] == "Sequence" else [cutter]
    if "ByteLevel" not in [cutter["type"] for cutter in cutters]:
        raise _not_exact(path, "it does not work on bytes")
    for cutter in cutters:
        if cutter["type"] not in EXACT or cutter.get("behavior") == "Removed" or cutter.get("add_prefix_space"):
            raise _not_exact(path, f"the pre-tokenizer {cutter['type']} changes it")


def _not_exact(path: Path | str, why: str) -> InputError:
    return InputError(
        f"{path}: this tokenizer does not give every text back ({why});"
        " take a checkpoint with byte-level BPE, as those of Llama 3, Qwen and Mistral Nemo are"
    )
