"""Records of `omni data import` to streams of tokens, some at a time, in any process that sees the same folders."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from omni.decode.parts import Part, Text
from omni.errors import InputError
from omni.files import atomic_path
from omni.sequence import Segment
from omni.sequence import Sequence as Stream
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.engines import one_thread
from omni.train.data.sources.record import Bad, Record
from omni.vocab import Vocabulary

Encoded = list[tuple[str, Stream] | Bad]                                # where a stream comes from, and the stream


@dataclass(frozen=True)
class Group:
    """Records in a row, the contents of which lie in `folder`."""

    folder: Path
    records: list[Record | Bad] = field(default_factory=list)


@dataclass(frozen=True)
class Desk:
    """What a worker needs for its groups: a folder with the tokenizers, and one where what is encoded is kept."""

    tokenizers: Path
    fingerprint: str
    vocab: Vocabulary
    kept: Path


@lru_cache(maxsize=1)
def _opened(folder: Path) -> Tokenizers:
    return Tokenizers.load(folder)


def encode_group(desk: Desk, group: Group) -> tuple[Path, Encoded]:
    """The group's folder and, of each record, its stream or why there is none.

    Groups in which all is well are kept, under a hash of all that their streams depend on; others are encoded again,
    since a bad record will be mended.
    """
    kept = desk.kept / f"{_digest(desk, group)}.safetensors"
    if kept.exists():
        return group.folder, list(_read(kept))
    tokenizers = _opened(desk.tokenizers)
    with torch.inference_mode(), one_thread():
        encoded = [_encode(record, tokenizers, desk.vocab, group.folder) for record in group.records]
    good = [one for one in encoded if not isinstance(one, Bad)]
    if good and len(good) == len(encoded):
        _write(kept, good)
    return group.folder, encoded


def _encode(record: Record | Bad, tokenizers: Tokenizers, vocab: Vocabulary, folder: Path) -> tuple[str, Stream] | Bad:
    if isinstance(record, Bad):
        return record
    try:
        segments = [part.segment(tokenizers, vocab) for part in record.parts]
        return record.where, Stream.of([_tagged(segment, record, vocab) for segment in segments], vocab)
    except (InputError, ValueError) as error:
        return Bad(record.where, str(error).replace(f"{folder}/", ""))


def _tagged(segment: Segment, record: Record, vocab: Vocabulary) -> Segment:
    """What the assistant says, with what asks for its language and voice, where the token space has any."""
    if segment.role != "assistant" or segment.modality not in ("text", "audio"):
        return segment
    language = record.language if vocab.languages else None
    voice = record.voice if vocab.voices and segment.modality == "audio" else None
    return replace(segment, language=language, voice=voice)


def _digest(desk: Desk, group: Group) -> str:
    """A hash over tokenizers, token space and records, with what is in the files they name."""
    facts: list[object] = [desk.fingerprint, desk.vocab.hash]
    for record in group.records:
        if isinstance(record, Bad):
            facts.append((record.where, record.reason))
            continue
        facts.append((record.where, record.language, record.voice, [_facts(part) for part in record.parts]))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _facts(part: Part) -> dict[str, object]:
    values = dict(vars(part))
    if not isinstance(part, Text):
        path = Path(str(part.source))
        content = path.read_bytes() if path.is_file() else b""
        values["source"] = (path.suffix, hashlib.sha256(content).hexdigest())
    return {"kind": type(part).__name__, **values}


def _write(file: Path, encoded: list[tuple[str, Stream]]) -> None:
    streams = [stream for _, stream in encoded]
    about = [(where, len(stream), stream.prefix) for where, stream in encoded]
    arrays = {
        "ids": np.concatenate([stream.ids for stream in streams]),      # [steps, channels]
        "loss": np.concatenate([stream.loss for stream in streams]),    # [steps]
    }
    with atomic_path(file) as scratch:
        save_file(arrays, scratch, {"streams": json.dumps(about)})


def _read(file: Path) -> Iterator[tuple[str, Stream]]:
    with safe_open(file, "numpy") as opened:
        ids, loss = opened.get_tensor("ids"), opened.get_tensor("loss")
        about = json.loads(opened.metadata()["streams"])
    start = 0
    for where, length, prefix in about:
        part = slice(start, start + length)
        yield where, Stream(ids[part], loss[part], prefix)
        start += length
