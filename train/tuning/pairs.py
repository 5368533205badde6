"""Preference pairs from JSON lines to a token shard: a chosen and a rejected answer to the same prompt.

A pair is one sequence of the shard, the chosen conversation and then the rejected one, each from <bos> to <eos>, so
that packing, order and ranks, which never divide a sequence, never part the two.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omni.decode.parts import Part
from omni.errors import InputError
from omni.progress import progress
from omni.sequence import Segment, Sequence, prompt
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.shards import ShardWriter
from omni.train.data.sources.chat import said
from omni.train.data.sources.record import BadRecordError, Files
from omni.train.tuning.recipe import PREFERENCES
from omni.vocab import Vocabulary


@dataclass(frozen=True)
class Pair:
    """Two answers to a prompt."""

    prompt: list[Part]
    chosen: list[Part]
    rejected: list[Part]


def write_pairs(path: Path, out: Path, tokenizers: Tokenizers, vocab: Vocabulary) -> int:
    """Write the pairs of a file as a shard and return their number. Raises InputError naming the line at fault."""
    count = 0
    with (
        tempfile.TemporaryDirectory(prefix="omni-pairs-") as scratch,
        ShardWriter(out, vocab, PREFERENCES) as shard,
        torch.inference_mode(),
        progress(None, "pairs", unit="pair") as bar,
    ):
        files = Files(path.parent, Path(scratch))
        for number, line in _lines(path):
            try:
                shard.add(sequence_of(pair_of(json.loads(line), files), tokenizers, vocab), f"{path.name}:{number}")
            except (ValueError, RecursionError) as error:               # not JSON, no pair, or a recording of no use
                raise InputError(f"{path}, line {number}: {error}") from None
            files.clear()
            bar.update()
            count += 1
    return count


def sequence_of(pair: Pair, tokenizers: Tokenizers, vocab: Vocabulary) -> Sequence:
    """Both conversations end to end; only the answers carry loss.

    Raises BadRecordError for spoken answers where a step of the stream is several ids.
    """
    asked, *answers = (_segments(parts, tokenizers, vocab) for parts in (pair.prompt, pair.chosen, pair.rejected))
    if vocab.channels > 1 and any(segment.modality == "audio" for answer in answers for segment in answer):
        raise BadRecordError(f"spoken answers are compared in the flat layout only, not in {vocab.layout}")
    known = len(prompt(asked, vocab))
    both = [Sequence.of([*asked, *answer], vocab) for answer in answers]
    for one in both:
        one.loss[:known] = False                                        # an answer within the prompt is not compared
    return Sequence(np.concatenate([one.ids for one in both]), np.concatenate([one.loss for one in both]), 0)


def pair_of(values: Any, files: Files) -> Pair:
    """The pair in a line: {"prompt" or "messages": .., "chosen": .., "rejected": ..}. Raises BadRecordError.

    Each is a text or a list of messages as in docs/data.md; without a prompt, what both conversations begin with is the
    prompt (the formats of TRL). {"input": {"messages": ..}, "preferred_output": .., "non_preferred_output": ..} does as
    well (OpenAI's).
    """
    if not isinstance(values, dict):
        raise BadRecordError("not a JSON object")
    asked = values.get("prompt", values.get("messages"))
    if isinstance(values.get("input"), dict):
        asked = values["input"].get("messages")
    chosen = _messages(values.get("chosen", values.get("preferred_output")), "assistant", "chosen")
    rejected = _messages(values.get("rejected", values.get("non_preferred_output")), "assistant", "rejected")
    if asked is None:
        alike = [mine == other for mine, other in zip(chosen, rejected, strict=False)]
        shared = alike.index(False) if False in alike else len(alike)
        before, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    else:
        before = _messages(asked, "user", "prompt")
    if chosen == rejected:
        raise BadRecordError("chosen and rejected are the same; leave the pair out")
    pair = Pair(*(said(messages, files) for messages in (before, chosen, rejected)))
    if not pair.prompt or pair.prompt[-1].role == "assistant":
        raise BadRecordError("there must be a prompt, and the assistant must not have the last word in it")
    for name, answer in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        if not answer or answer[0].role != "assistant":
            raise BadRecordError(f"{name}: must begin with an answer of the assistant")
    return pair


def _messages(value: Any, role: str, name: str) -> list[Any]:
    """A text or a list of messages as such a list."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list):
        raise BadRecordError(f"{name}: must be a text or a list of messages")
    return value


def _segments(parts: list[Part], tokenizers: Tokenizers, vocab: Vocabulary) -> list[Segment]:
    return [part.segment(tokenizers, vocab) for part in parts]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as lines:
        yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
