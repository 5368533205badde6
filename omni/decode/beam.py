"""Beam search for texts: the most probable answers, not drawn ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

from omni.decode.generate import DRAWN_ROWS
from omni.decode.heard import Heard, held, last_sound
from omni.decode.payload import longest, rule, scores
from omni.decode.samplers import UNDRAWABLE
from omni.decode.stream import Stream
from omni.decode.want import Want, check_room
from omni.errors import InputError
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, prompt
from omni.vocab import Vocabulary

MOST_BEAMS = 2 * DRAWN_ROWS                                             # each keeps a past; more make no better texts


@dataclass(frozen=True)
class Found:
    """An answer, its log-probability in nats, closing token included, and that over (tokens + 1) ** penalty."""

    segment: Segment
    log_probability: float
    score: float


def most_probable(
    model: OmniTransformer, vocab: Vocabulary, conversations: Sequence[Sequence[Segment]], want: Want, beams: int = 4,
    penalty: float = 1.0, best: int = 1,
) -> list[list[Found]]:  # fmt: skip
    """Of each conversation what `beam_search` finds, many of them side by side, in order of length.

    Raises InputError as `beam_search` does, and when a conversation leaves no room for the text.
    """
    _check(want, beams, penalty, best)
    prompts = [prompt(segments, vocab) for segments in conversations]
    for ids in prompts:
        check_room(len(ids), [want], model, vocab)
    rooms = [min(model.config.max_steps - len(ids), want.most(vocab)) for ids in prompts]
    order = sorted(range(len(prompts)), key=lambda index: (-rooms[index], len(prompts[index])))
    together, found = max(1, DRAWN_ROWS // beams), [list[Found]() for _ in prompts]
    while order:
        rows = [index for index in order[:together] if rooms[index] == rooms[order[0]]]  # a text is cut as it is alone
        order = order[len(rows) :]
        stream = Stream.of_prompts(model, [prompts[index] for index in rows], rooms[rows[0]])
        before = [last_sound(conversations[index]) for index in rows]
        for index, one in zip(rows, beam_searches(stream, vocab, want, beams, penalty, best, before), strict=True):
            found[index] = one
    return found


def beam_search(
    stream: Stream, vocab: Vocabulary, want: Want, beams: int = 4, penalty: float = 1.0, best: int = 1,
    before: Segment | None = None,
) -> list[Found]:  # fmt: skip
    """The `best` answers of highest score among those that `beams` hypotheses side by side lead to, best first.

    stream: has heard the conversation, of one row, and is used up. penalty: exponent of the length by which
    log-probabilities are divided (0: not at all). before: the last segment that the stream has heard; a text that is
    to be what is heard in it is held to that (omni.decode.heard), and its log-probability is not the model's alone.
    The search ends when no hypothesis can still become one of the best.
    Raises InputError unless `want` is a text, 1 <= best <= beams <= MOST_BEAMS and penalty >= 0, and where the model's
    scores are no numbers.
    """
    return beam_searches(stream, vocab, want, beams, penalty, best, [before])[0]


@torch.inference_mode()
def beam_searches(
    stream: Stream, vocab: Vocabulary, want: Want, beams: int, penalty: float, best: int,
    before: Sequence[Segment | None],
) -> list[list[Found]]:  # fmt: skip
    """The same of a stream of many rows, a conversation each, which ends in the segment of `before`."""
    _check(want, beams, penalty, best)
    stream.feed(np.repeat(want.opening(vocab)[None], stream.batch, axis=0))
    end, limit, barred = vocab.control("</text>"), want.limit, want.barred(vocab, stream.model.table.device)
    while longest(vocab, "text", limit) > stream.room:
        limit -= 1
    every = [_Search(beams, penalty, best, limit, want.heard([one])) for one in before]
    searching = every
    for step in range(limit + 1):
        allowed = rule(vocab, "text", step, limit)
        logits = scores(stream.model, stream.state(), allowed.span, end, barred).float()  # [hypotheses, text ids + 1]
        if allowed.must_end:
            logits[:, :-1] = float("-inf")
        sizes = [len(search.said) for search in searching]
        taken = [search.take(own, allowed.must_end) for search, own in zip(searching, logits.split(sizes), strict=True)]
        starts = np.cumsum([0, *sizes[:-1]]).tolist()
        searching = [search for search in searching if search.said]
        if not searching:
            break
        stream.keep(torch.cat([rows + start for (rows, _), start in zip(taken, starts, strict=True)]))
        picks = torch.cat([picks for _, picks in taken])
        fed = picks.new_zeros(len(picks), 1, vocab.channels)
        fed[:, 0, 0] = picks + allowed.span.start
        stream.feed(fed)
    return [[Found(_segment(want, vocab, said), total, score) for said, total, score in one.found] for one in every]


@dataclass
class _Search:
    """The search for one text: codes of its hypotheses, their log-probabilities [hypotheses] (0 before the first), what
    is heard in each, and the best that have ended."""

    beams: int
    penalty: float
    best: int
    limit: int
    heard: list[Heard] | None
    said: list[list[int]] = field(default_factory=lambda: [[]])
    sums: Tensor | None = None
    found: list[tuple[list[int], float, float]] = field(default_factory=list)  # codes, log-probability, score

    def take(self, logits: Tensor, must_end: bool) -> tuple[Tensor, Tensor]:
        """Go on with the best, by scores [hypotheses, text codes and the end]: from which rows, with which codes.

        Nothing goes on when the search has ended.
        """
        own = logits.log_softmax(dim=-1) if self.heard is None or must_end else held(logits, self.heard)
        rows, picks, sums = _best(own if self.sums is None else own + self.sums[:, None], 2 * self.beams)
        ended = picks == logits.shape[1] - 1
        for row, total in zip(rows[ended].tolist(), sums[ended].tolist(), strict=True):
            self.found.append((self.said[row], total, total / (len(self.said[row]) + 1) ** self.penalty))
        self.found = sorted(self.found, key=lambda one: -one[2])[: self.best]
        rows, picks, sums = (kept[~ended][: self.beams] for kept in (rows, picks, sums))
        if len(rows) and len(self.found) == self.best:
            hopeless = float(sums.max()) / (self.limit + 1) ** self.penalty <= self.found[-1][2]
            rows, picks, sums = (kept[: 0 if hopeless else None] for kept in (rows, picks, sums))
        grown = list(zip(rows.tolist(), picks.tolist(), strict=True))
        self.said, self.sums = [[*self.said[row], code] for row, code in grown], sums
        if self.heard is not None:
            self.heard = [self.heard[row].with_code(code) for row, code in grown]
        return rows, picks


def _check(want: Want, beams: int, penalty: float, best: int) -> None:
    if want.modality != "text":
        raise InputError(f"beam search finds texts, not {want.modality}; leave out --beams or ask for text alone")
    whole = isinstance(beams, Integral) and isinstance(best, Integral) and isinstance(penalty, Real)
    if not (whole and 1 <= best <= beams <= MOST_BEAMS and 0 <= penalty < float("inf")):
        raise InputError(
            f"beams={beams!r}, best={best!r}, penalty={penalty!r}: must be 1 <= best <= beams <= {MOST_BEAMS}"
            " and penalty >= 0"
        )


def _segment(want: Want, vocab: Vocabulary, said: list[int]) -> Segment:
    steps = np.zeros((len(said), vocab.channels), np.int64)             # `<pad>` on the channels that say nothing
    steps[:, 0] = np.array(said, np.int64) + vocab["text"].start
    return want.segment(steps, vocab)


def _best(logs: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The highest of [hypotheses, choices]: their rows, choices and values, each [count or fewer], best first."""
    values, flat = logs.flatten().topk(min(count, logs.numel()))        # a NaN is higher than any number
    if values.isnan().any():
        raise InputError(UNDRAWABLE)
    real = values > float("-inf")
    return flat[real] // logs.shape[1], flat[real] % logs.shape[1], values[real]
