"""Generating the payload of one segment: every step is drawn from the ids that the grammar allows there, no others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from omni.decode.heard import Heard, held
from omni.decode.samplers import UNDRAWABLE, Sampler
from omni.decode.spoken import Spoken
from omni.decode.stream import Stream
from omni.errors import InputError
from omni.layout import waiting
from omni.model.transformer import OmniTransformer
from omni.vocab import Span, Vocabulary


@dataclass(frozen=True)
class Rule:
    """What the first channel of a step may be: a code of `span`, or the end of the payload."""

    span: Span
    may_end: bool
    must_end: bool


def rule(vocab: Vocabulary, modality: str, step: int, limit: int) -> Rule:
    """The rule at `step` of a payload of at most `limit` units (text tokens, audio frames; a picture has its own size).

    Audio ends only between frames and has at least one; a picture ends after exactly its tokens, tags first.
    Raises ValueError for a modality that is never generated.
    """
    if modality == "text":
        return Rule(vocab["text"], may_end=True, must_end=step >= limit)
    if modality == "image":
        return Rule(vocab.picture_span(step), may_end=False, must_end=step >= vocab.picture_tokens)
    if modality != "audio":
        raise ValueError(f"{modality} cannot be generated; ask for text, audio or image")
    per_frame = vocab.codebooks if vocab.layout == "flat" else 1
    frame, codebook = divmod(step, per_frame)
    between = codebook == 0
    return Rule(vocab.codebook(codebook), may_end=between and frame > 0, must_end=between and frame >= limit)


def longest(vocab: Vocabulary, modality: str, limit: int) -> int:
    """Steps that a payload of `limit` units and its closing token can take."""
    units = {"text": limit, "image": vocab.picture_tokens, "audio": limit + waiting(vocab)}[modality]
    return 1 + units * (vocab.codebooks if modality == "audio" and vocab.layout == "flat" else 1)


@torch.inference_mode()
def payload(
    stream: Stream, vocab: Vocabulary, modality: str, sampler: Sampler, generator: Generator | None, limit: int,
    barred: Tensor | None = None, held_to: Sequence[Heard | Spoken | None] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """Draw the payload that follows an opening token just fed, and its closing token, and feed both.

    Yields each step of the rows that have not ended: their numbers [n] and ids [n, channels].
    A batch leaves its stream unfit for more: rows end at different steps, and those that ended are dropped.

    barred: codes of the span that are not drawn, [codes] bool; held_to: what each row writes down (omni.decode.heard),
    or says (omni.decode.spoken), which is of a frame's first code
    Raises InputError, before the step is yielded, where the model's states are no numbers.
    """
    writer = _Writer(stream, vocab, modality, sampler, generator, barred, held_to)
    step = 0
    while len(writer.numbers):
        ids, live = writer.step(rule(vocab, modality, step, limit), step)
        left = writer.left(live)
        stream.feed(ids[:, None])                                       # computed when asked for, perhaps with others
        if left:
            yield writer.numbers[live], ids[live]
        if 2 * left <= len(live):
            writer.drop(live)
        step += 1


class _Writer:
    """Draws the steps of one payload. `ended` [rows] is the step at which the first channel ended, -1 before."""

    def __init__(
        self, stream: Stream, vocab: Vocabulary, modality: str, sampler: Sampler, generator: Generator | None,
        barred: Tensor | None, held_to: Sequence[Heard | Spoken | None] | None,
    ) -> None:  # fmt: skip
        self.stream, self.vocab, self.sampler, self.generator = stream, vocab, sampler, generator
        self.barred, self.held_to = barred, held_to
        self.closing = vocab.control(f"</{modality}>")
        self.wait = vocab.control("<wait>")
        self.tail = waiting(vocab) if modality == "audio" else 0        # steps from channel 0's end to the closing
        self.audio = modality == "audio"
        device = stream.model.table.device
        self.numbers = torch.arange(stream.batch, device=device)
        self.ended = torch.full_like(self.numbers, -1)
        self.lags = torch.arange(1, vocab.channels, device=device) * bool(self.tail)  # of channels 1 .., in steps

    def step(self, rule: Rule, step: int) -> tuple[Tensor, Tensor]:
        """Ids [rows, channels] of the next step and which rows are still inside their payload [rows] bool."""
        state = self.stream.state()                                     # [rows, d_model]
        end = self.wait if self.tail else self.closing
        first = self._first(state, rule, end)                           # [rows]
        was_open = self.ended < 0
        self.ended = torch.where(was_open & (first == end), step, self.ended)
        live = (self.ended < 0) | (step - self.ended < self.tail)
        if self.tail:
            first = torch.where(self.ended < 0, first, torch.where(live, self.wait, self.closing))
        ids = first.new_zeros(len(first), self.vocab.channels)          # `<pad>` on the channels that say nothing
        ids[:, 0] = first
        if self.audio and self.vocab.channels > 1:
            self._rest(ids, state, step, live)
        return ids, live

    def left(self, live: Tensor) -> int:
        """How many rows are still inside their payload. Raises InputError where what the step was drawn from is no
        numbers, which a sampler tells of a CPU's scores; an accelerator is waited for here, once, and tells both."""
        if live.device.type == "cpu":
            return int(live.sum())
        left, drawable = torch.stack((live.sum(), self.stream.state().isfinite().all())).tolist()
        if not drawable:
            raise InputError(UNDRAWABLE)
        return int(left)

    def drop(self, live: Tensor) -> None:
        """Forget the rows that have ended."""
        rows = live.nonzero()[:, 0]
        self.numbers, self.ended = self.numbers[rows], self.ended[rows]
        if 0 < len(rows) < len(live):
            self.stream.keep(rows)

    def _first(self, state: Tensor, rule: Rule, end: int) -> Tensor:
        """The first channel, scored over the allowed ids alone: [rows, d_model] to [rows]."""
        if rule.must_end:
            return self.numbers.new_full((len(state),), end)
        model, ends = self.stream.model, end if rule.may_end else None
        if self.held_to is None or (self.audio and rule.span != self.vocab.codebook(0)):
            return draw(model, state, rule.span, ends, self.sampler, self.generator, self.barred)
        return self._held(scores(model, state, rule.span, end, self.barred), rule, end, self.held_to)

    def _held(self, own: Tensor, rule: Rule, end: int, held_to: Sequence[Heard | Spoken | None]) -> Tensor:
        """The next letters, or codes, by the model's scores [rows, size + 1] and what they are held to: ids [rows]."""
        rows, span = [held_to[number] for number in self.numbers.tolist()], rule.span
        fitting = held(own, rows)
        if not rule.may_end:
            fitting[:, -1] = -torch.inf
        pick = self.sampler(fitting, self.generator)
        for row, code in zip(rows, pick.tolist(), strict=True):
            if row is not None:
                row.write(code)
        return torch.where(pick == span.size, end, pick + span.start)

    def _rest(self, ids: Tensor, state: Tensor, step: int, live: Tensor) -> None:
        """Fill channels 1 .. of an audio step in place; channel k of the delay layout lags k steps behind the first."""
        head, table = self.stream.model.channel_head, self.stream.model.embedding.weight
        assert head is not None
        drawn = head.draw(state, ids[:, 0], table, partial(self.sampler, generator=self.generator))
        frame, ended = step - self.lags, self.ended[:, None]            # [channels - 1], [rows, 1]
        speaks = (frame >= 0) & ((ended < 0) | (frame < ended))         # [rows, channels - 1]
        silent = torch.where(live, self.wait if self.tail else 0, 0)    # [rows]
        ids[:, 1:] = torch.where(speaks, drawn, silent[:, None])


def draw(
    model: OmniTransformer, state: Tensor, span: Span, end: int | None, sampler: Sampler, generator: Generator | None,
    barred: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Draw from a span and, where given, one id beside it (`scores`): states [rows, d_model] to ids [rows]."""
    pick = sampler(scores(model, state, span, end, barred), generator)
    return torch.where(pick == span.size, end if end is not None else 0, pick + span.start)


def scores(
    model: OmniTransformer, state: Tensor, span: Span, end: int | None, barred: Tensor | None = None
) -> Tensor:
    """Scores of a span's ids and, last and where given, of one id beside it: [rows, d_model] to [rows, size (+ 1)].

    barred: ids of the span that are not to be had, [size] bool
    """
    found = state @ model.table[span.start : span.stop].T               # [rows, size]
    if barred is not None:
        found = found.masked_fill(barred, -torch.inf)
    return found if end is None else torch.cat((found, state @ model.table[end, :, None]), dim=-1)
