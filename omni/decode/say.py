"""The assistant's answer in one conversation, segment by segment; where speech follows its text, by sentences.

Speech would wait for the whole text otherwise. So the text is written as far as a pause (omni.decode.sentences), that
is said, and the past goes back to where the text was broken off; once more of it is written, the past is again as in
training: a text, and its speech as far as it was said, which goes on.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from torch import Generator

from omni.decode.samplers import Sampler
from omni.decode.stream import Stream
from omni.decode.together import Step
from omni.decode.want import Want, check_room, drawn, fitting, stacked
from omni.layout import waiting
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, prompt
from omni.vocab import Vocabulary

Steps = Iterator[np.ndarray]                                            # each [channels]


class Drawn:
    """A payload, or a part of one, while it is drawn.

    number: of its want; limit: how many units it has at most where it is not whole; said: its steps [channels] so far,
    of earlier parts, too; more: the first step of the text's next part, drawn already, where this one is not the last
    """

    def __init__(
        self, number: int, want: Want, limit: int, steps: Steps, said: Sequence[np.ndarray] = (),
        pause: Callable[[Sequence[np.ndarray]], bool] | None = None,
    ) -> None:  # fmt: skip
        """pause: whether the last of these steps is to begin the next part"""
        self.number, self.want, self.limit = number, want, limit
        self.said, self.more = [*said], list[np.ndarray]()
        self._steps, self._pause = steps, pause

    def __iter__(self) -> Steps:
        for step in self._steps:
            if self._pause is not None and self._pause([*self.said, step]):
                self.more = [step]
                return
            self.said.append(step)
            yield step


def begin(
    model: OmniTransformer,
    vocab: Vocabulary,
    segments: Sequence[Segment],
    wants: Sequence[Want],
    step: Step | None = None,
    room: int | None = None,
) -> Stream:
    """A stream that has heard the conversation so far. Raises InputError when no room is left for what is wanted.

    room: for how many steps more it has buffers (all that the model has room for)
    """
    ids = prompt(segments, vocab)
    check_room(len(ids), wants, model, vocab)
    most = model.config.max_steps
    stream = Stream(model, max_steps=most if room is None else min(most, len(ids) + room), step=step)
    stream.feed(ids[None])
    return stream


def say(
    stream: Stream,
    vocab: Vocabulary,
    wants: Sequence[Want],
    sampler: Sampler,
    generator: Generator | None = None,
    before: Segment | None = None,
) -> Iterator[Drawn]:
    """The answer of one conversation, want by want: the steps [channels] of its payload, each as soon as it is drawn.

    A text that is then said aloud comes in parts, between those of its speech. Take each to its end before the next
    one. A segment is cut where the model's room for steps ends. Afterwards the stream has heard the closed segments
    too. before: the last segment that the stream has heard
    """
    saying, number = _Saying(stream, vocab, sampler, generator), 0
    while number < len(wants):
        want, aloud = wants[number], _aloud(wants[number:])
        after = number + (2 if aloud else 1)
        later = sum(want.least(vocab) for want in wants[after:])
        parts = saying.aloud(number, want, aloud, later, before) if aloud else saying.one(number, want, later, before)
        for part in parts:
            yield part
        before, number = part.want.segment(part.said, vocab), after


def answer(
    stream: Stream,
    vocab: Vocabulary,
    wants: Sequence[Want],
    sampler: Sampler,
    generator: Generator | None = None,
    before: Segment | None = None,
) -> list[Segment]:
    """The whole answer of one conversation. before: the last segment that the stream has heard"""
    said: dict[int, Segment] = {}
    for part in say(stream, vocab, wants, sampler, generator, before):
        for _ in part:
            pass
        said[part.number] = part.want.segment(part.said, vocab)
    return [*said.values()]


def _aloud(wants: Sequence[Want]) -> Want | None:
    """The speech that follows the first of these, which is written for it."""
    said = len(wants) > 1 and wants[0].sentences is not None
    return wants[1] if said and [want.modality for want in wants[:2]] == ["text", "audio"] else None


@dataclass(frozen=True)
class _Saying:
    """What all parts of an answer are drawn with."""

    stream: Stream
    vocab: Vocabulary
    sampler: Sampler
    generator: Generator | None

    def one(self, number: int, want: Want, later: int, before: Segment | None) -> Iterator[Drawn]:
        """A want as a whole. later: steps that must be left for those after it"""
        self.stream.feed(want.opening(self.vocab, before, self.stream.room - later)[None])
        limit = fitting(want, self.vocab, self.stream.room - later)
        yield Drawn(number, want, limit, self._steps(want, limit, before))

    def aloud(self, number: int, text: Want, audio: Want, later: int, before: Segment | None) -> Iterator[Drawn]:
        """A text and its speech, a part of each in turn."""
        stream, vocab = self.stream, self.vocab
        stream.feed(text.opening(vocab, before)[None])
        start, most = len(stream), stream.room - later                  # most: steps for all that follows the opening
        written, more, spoken, full = list[np.ndarray](), list[np.ndarray](), list[np.ndarray](), False
        while True:
            limit = fitting(text, vocab, most - audio.least(vocab) - len(spoken))
            if more and len(written) >= limit:                          # there is no room for it
                yield Drawn(number, text, limit, iter(()), written)
                return
            if more:
                self._go_on(start + len(written), more)
            steps = chain(more, self._steps(text, limit, before, [*written, *more]))
            part = Drawn(number, text, limit, steps, written, None if full else self._pause(text, len(written)))
            yield part
            written, more = part.said, part.more
            if more:                                                    # it did not end by itself
                self._go_on(start + len(written), text.closing(vocab))
            sentence, room = text.segment(written, vocab), most - len(written) - 1
            header = audio.opening(vocab, sentence, room - len(spoken))
            limit = fitting(audio, vocab, room - len(header))
            known = spoken[: len(spoken) - waiting(vocab)] if spoken else []
            self.stream.feed(stacked([*header, *known], vocab)[None])
            part = Drawn(number + 1, audio, limit, self._steps(audio, limit, sentence, spoken), known)
            yield part
            if not more:
                return
            spoken = part.said
            full = full or len(audio.segment(spoken, vocab).codes) >= limit

    def _go_on(self, length: int, steps: Iterable[np.ndarray]) -> None:
        """Make the past its first `length` steps and these [channels]."""
        self.stream.back(length)
        self.stream.feed(stacked(steps, self.vocab)[None])

    def _steps(self, want: Want, limit: int, before: Segment | None, begun: Sequence[np.ndarray] = ()) -> Steps:
        steps = drawn(self.stream, self.vocab, want, self.sampler, self.generator, limit, [before], begun)
        return (ids[0].cpu().numpy() for _, ids in steps)

    def _pause(self, text: Want, spoken: int) -> Callable[[Sequence[np.ndarray]], bool]:
        span, sentences = self.vocab["text"], text.sentences
        assert sentences is not None
        return lambda steps: sentences.pause([int(step[0]) - span.start for step in steps], spoken)
