"""The assistant's answer in one conversation, segment by segment; speech of a text by sentences.

Speech of a text that it writes would wait for all of it otherwise, and a small model loses its place in a long one. So
the text is written as far as a pause (omni.decode.sentences), and that is said as if it were all; then the past goes
back to where the text was broken off. A text that was heard is read aloud likewise. In the end the past is as in
training: a text and its speech, both whole.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from torch import Generator

from omni.decode.samplers import Sampler
from omni.decode.sentences import Sentences
from omni.decode.stream import Stream
from omni.decode.together import Step
from omni.decode.want import Want, check_room, controls, fitting, payload_of, stacked
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, prompt
from omni.vocab import Vocabulary

Steps = Iterator[np.ndarray]                                            # each [channels]


class Drawn:
    """A payload, or a part of one, while it is drawn.

    number: of its want; limit: how many units the payload has at most where it is not whole; said: steps [channels] of
    this part so far; more: the first step of the text's next part, drawn already, where this one is not the last
    """

    def __init__(
        self, number: int, want: Want, vocab: Vocabulary, limit: int, steps: Steps, earlier: Segment | None = None,
        pause: Callable[[Sequence[np.ndarray]], bool] | None = None,
    ) -> None:  # fmt: skip
        """earlier: the parts before it; pause: whether the last of its steps is to begin the next part"""
        self.number, self.want, self.limit = number, want, limit
        self.said, self.more = list[np.ndarray](), list[np.ndarray]()
        self._vocab, self._steps, self._earlier, self._pause = vocab, steps, earlier, pause

    def __iter__(self) -> Steps:
        for step in self._steps:
            if self._pause is not None and self._pause([*self.said, step]):
                self.more = [step]
                return
            self.said.append(step)
            yield step

    def segment(self, count: int | None = None) -> Segment:
        """All of the payload up to the first steps of this part, or to the end of those that were drawn."""
        part = self.want.segment(self.said[:count], self._vocab)
        if self._earlier is None:
            return part
        return replace(part, codes=np.concatenate((self._earlier.codes, part.codes)))


def begin(
    model: OmniTransformer,
    vocab: Vocabulary,
    segments: Sequence[Segment],
    wants: Sequence[Want],
    step: Step | None = None,
) -> Stream:
    """A stream that has heard the conversation so far. Raises InputError when no room is left for what is wanted."""
    ids = prompt(segments, vocab)
    check_room(len(ids), wants, model, vocab)
    stream = Stream(model, step=step)
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
        want, aloud = wants[number], _speech_of(wants[number:])
        after = number + (1 if aloud is None else 2)
        later = sum(want.least(vocab) for want in wants[after:])
        if aloud is not None:
            parts = saying.aloud(number, want, aloud, later, before)
        elif not number and (text := _text_to_read(want, before)) is not None and not stream.model.config.prefix:
            parts = saying.read(number, want, later, text)
        else:
            parts = saying.one(number, want, later, before)
        for part in parts:
            yield part
        before, number = part.segment(), after


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
        said[part.number] = part.segment()
    return [*said.values()]


def _speech_of(wants: Sequence[Want]) -> Want | None:
    """The speech that follows the first of these, which is written for it."""
    said = len(wants) > 1 and wants[0].sentences is not None
    return wants[1] if said and [want.modality for want in wants[:2]] == ["text", "audio"] else None


def _text_to_read(want: Want, before: Segment | None) -> Segment | None:
    """The text that is to be read aloud, where its letters tell what is said (omni.sequence)."""
    reads = want.modality == "audio" and want.ear is not None and want.sentences is not None
    return before if reads and before is not None and (before.modality, before.role) == ("text", "user") else None


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
        yield Drawn(number, want, self.vocab, limit, self._steps(want, limit, before))

    def aloud(self, number: int, text: Want, audio: Want, later: int, before: Segment | None) -> Iterator[Drawn]:
        """A text and its speech, a part of each in turn."""
        stream, vocab, sentences = self.stream, self.vocab, text.sentences
        assert sentences is not None
        stream.feed(text.opening(vocab, before)[None])
        start, most = len(stream), stream.room - later                  # most: steps for all that follows the opening
        written, spoken, more, full = text.segment((), vocab), audio.segment((), vocab), list[np.ndarray](), False
        while True:
            limit = fitting(text, vocab, most - audio.least(vocab) - len(spoken.payload(vocab)))
            more = more if len(written.codes) < limit else []           # there may be no room for it
            if len(written.codes):
                self._go_on(start, written.payload(vocab), more)
            rest = self._steps(text, max(0, limit - len(written.codes) - len(more)), before)
            pause = None if full else self._pause(sentences)
            part = Drawn(number, text, vocab, limit, chain(more, rest), written, pause)
            yield part
            new, written, more = text.segment(part.said, vocab), part.segment(), part.more
            room = most - len(written.codes) - 1
            if not full and (not len(spoken.codes) or sentences.sayable(new.codes.tolist())):
                past = new.payload(vocab), text.closing(vocab)
                yield (part := self._spoken(number + 1, audio, new, written, spoken, room, start, *past))
                spoken = part.segment()
                full = len(spoken.codes) >= part.limit
            if not more:
                break
        self._end(audio, written, spoken, room, start, written.payload(vocab), text.closing(vocab))

    def read(self, number: int, audio: Want, later: int, text: Segment) -> Iterator[Drawn]:
        """The speech of a text that ends the prompt."""
        stream, vocab, sentences = self.stream, self.vocab, audio.sentences
        assert sentences is not None
        turn, spoken = controls(vocab, "</text>", "<turn>", "<assistant>"), audio.segment((), vocab)
        start = len(stream) - len(turn) - len(text.codes)
        room = stream.room - later                                      # steps for the speech
        for codes in sentences.split(text.codes.tolist()):
            new = replace(text, codes=np.array(codes, np.int64))
            yield (part := self._spoken(number, audio, new, text, spoken, room, start, new.payload(vocab), turn))
            spoken = part.segment()
            if len(spoken.codes) >= part.limit:
                break
        self._end(audio, text, spoken, room, start, text.payload(vocab), turn)

    def _spoken(
        self, number: int, audio: Want, new: Segment, text: Segment, spoken: Segment, room: int, start: int,
        *past: np.ndarray,
    ) -> Drawn:  # fmt: skip
        """The speech of what is new of a text, behind that of the rest, after a past that knows no more than the new.

        room: steps for the speech of all of the text; start: steps of the past that stay; past: what follows them
        """
        vocab, left = self.vocab, room - len(spoken.payload(self.vocab))
        fits = fitting(audio, vocab, left - len(audio.opening(vocab, text, left)))
        limit = min(len(spoken.codes) + fits, audio.limit)
        self._go_on(start, *past, audio.opening(vocab, new, left))
        steps = self._steps(audio, max(0, limit - len(spoken.codes)), new)
        return Drawn(number, audio, vocab, limit, steps, spoken)

    def _end(self, audio: Want, text: Segment, spoken: Segment, room: int, start: int, *past: np.ndarray) -> None:
        """Make the past that of the whole text and its speech; room, start, past: as in `_spoken`."""
        sound = np.concatenate((spoken.payload(self.vocab), audio.closing(self.vocab)))
        header = audio.opening(self.vocab, text)
        if len(header) + len(sound) > room:
            header = audio.opening(self.vocab, text, room - len(sound))
        self._go_on(start, *past, header, sound)

    def _go_on(self, start: int, *ids: np.ndarray | Sequence[np.ndarray]) -> None:
        """Make the past its first steps up to `start`, and these, each [steps, channels]."""
        self.stream.go_on(start, np.concatenate([stacked(some, self.vocab) for some in ids])[None])

    def _steps(self, want: Want, limit: int, before: Segment | None) -> Steps:
        steps = payload_of(self.stream, self.vocab, want, self.sampler, self.generator, limit, [before])
        return (ids[0].cpu().numpy() for _, ids in steps)

    def _pause(self, sentences: Sentences) -> Callable[[Sequence[np.ndarray]], bool]:
        first = self.vocab["text"].start
        return lambda steps: sentences.pause([int(step[0]) - first for step in steps])
