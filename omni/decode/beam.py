"""Beam search for a text: the most probable answers, not drawn ones."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from omni.decode.generate import Want
from omni.decode.heard import held
from omni.decode.payload import longest, rule, scores
from omni.decode.stream import Stream
from omni.errors import InputError
from omni.sequence import Segment
from omni.vocab import Vocabulary


@dataclass(frozen=True)
class Found:
    """An answer, its log-probability in nats, closing token included, and that over (tokens + 1) ** penalty."""

    segment: Segment
    log_probability: float
    score: float


@torch.inference_mode()
def beam_search(
    stream: Stream, vocab: Vocabulary, want: Want, beams: int = 4, penalty: float = 1.0, best: int = 1,
    before: Segment | None = None,
) -> list[Found]:  # fmt: skip
    """The `best` answers of highest score among those that `beams` hypotheses side by side lead to, best first.

    stream: has heard the conversation, of one row, and is used up. penalty: exponent of the length by which
    log-probabilities are divided (0: not at all). before: the last segment that the stream has heard; a text that is
    to be what is heard in it is held to that (omni.decode.heard), and its log-probability is not the model's alone.
    The search ends when no hypothesis can still become one of the best.
    Raises InputError unless `want` is a text, 1 <= best <= beams and penalty >= 0.
    """
    if want.modality != "text":
        raise InputError(f"beam search finds texts, not {want.modality}; leave out --beams or ask for text alone")
    if not 1 <= best <= beams or not 0 <= penalty < float("inf"):
        raise InputError(f"beams={beams}, best={best}, penalty={penalty}: must be 1 <= best <= beams and penalty >= 0")
    stream.feed(want.opening(vocab)[None])
    end, limit, barred = vocab.control("</text>"), want.limit, want.barred(vocab, stream.model.table.device)
    while longest(vocab, "text", limit) > stream.room:
        limit -= 1
    said, heard = list[list[int]]([[]]), want.heard([before])
    sums, found = stream.model.table.new_zeros(1).float(), list[Found]()  # [hypotheses] log-probabilities
    for step in range(limit + 1):
        allowed = rule(vocab, "text", step, limit)
        logits = scores(stream.model, stream.state(), allowed.span, end, barred).float()  # [hypotheses, text ids + 1]
        if allowed.must_end:
            logits[:, :-1] = float("-inf")
        own = logits.log_softmax(dim=-1) if heard is None or allowed.must_end else held(logits, heard)
        logs = own + sums[:, None]
        rows, picks, sums = _best(logs, 2 * beams)
        ended = picks == allowed.span.size
        for row, total in zip(rows[ended].tolist(), sums[ended].tolist(), strict=True):
            steps = np.zeros((len(said[row]), vocab.channels), np.int64)  # `<pad>` on the channels that say nothing
            steps[:, 0] = said[row]
            found.append(Found(want.segment(steps, vocab), total, total / (len(said[row]) + 1) ** penalty))
        found = sorted(found, key=lambda one: -one.score)[:best]
        rows, picks, sums = (kept[~ended][:beams] for kept in (rows, picks, sums))
        if not len(rows):
            break
        hopeless = len(found) == best and float(sums.max()) / (limit + 1) ** penalty <= found[-1].score
        if hopeless:
            break
        ids = picks + allowed.span.start
        said = [[*said[row], token] for row, token in zip(rows.tolist(), ids.tolist(), strict=True)]
        if heard is not None:
            heard = [heard[row].with_code(code) for row, code in zip(rows.tolist(), picks.tolist(), strict=True)]
        stream.keep(rows)
        fed = ids.new_zeros(len(ids), 1, vocab.channels)
        fed[:, 0, 0] = ids
        stream.feed(fed)
    return found


def _best(logs: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The highest of [hypotheses, choices]: their rows, choices and values, each [count or fewer], best first."""
    values, flat = logs.flatten().topk(min(count, logs.numel()))
    real = values > float("-inf")
    return flat[real] // logs.shape[1], flat[real] % logs.shape[1], values[real]
