"""A conversation of many turns with one model, whose past is computed once."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Unpack

import numpy as np

from omni.decode.parts import Part, coded_parts
from omni.decode.pieces import Piece, tell
from omni.decode.pipeline import How, Pipeline
from omni.decode.stream import Stream
from omni.decode.want import Want, check_room
from omni.errors import InputError
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, following, prompt, prompt_length
from omni.sequence import Sequence as Laid
from omni.vocab import Vocabulary

Turn = list[Segment]                                                    # what was said to the model, then its answer


class Conversation:
    """What was said so far, and a stream that has heard it.

    `turns` is the truth and the stream only its cache: before every answer the stream goes back to where its past
    differs from the turns and is fed the rest. Mostly the rest is what is new; after an answer that was stopped, turns
    that were forgotten or an interrupt in the middle of a step, it is whatever it has to be.

    turns: what the model still knows; forgotten: how many turns it has had to forget for want of room
    """

    def __init__(self, pipeline: Pipeline, want: Sequence[str] = ("text",), **how: Unpack[How]) -> None:
        """Raises InputError for what this model cannot give."""
        self.pipeline = pipeline
        self.turns: list[Turn] = []
        self.forgotten = 0
        self._next: Turn = []
        self._want, self._how = want, how
        self._wants, self._sampler, self._generator = pipeline.asked(want, **how)
        self._stream = Stream(pipeline.model, step=pipeline.step)
        self._window = Window(pipeline.model, pipeline.vocab)
        self._answer: Generator[Piece, None, None] | None = None

    def ask(self, want: Sequence[str] | None = None, **how: Unpack[How]) -> None:
        """Ask for another kind of answer from the next turn on; what is left out stays as it is.

        Raises InputError, and changes nothing, for what this model cannot give.
        """
        want, how = want or self._want, How(**{**self._how, **how})
        self._wants, self._sampler, _ = self.pipeline.asked(want, **how)  # draws go on where they are: one seed for all
        self._want, self._how = want, how

    def add(self, *parts: Part) -> None:
        """Make parts the beginning of what is said next. Raises InputError for one that cannot be read."""
        self._next += coded_parts(parts, self.pipeline.tokenizers, self.pipeline.vocab)

    @property
    def added(self) -> bool:
        """Whether something waits to be said."""
        return bool(self._next)

    def say(self, parts: Sequence[Part] = ()) -> Generator[Piece, None, None]:
        """Say what was added and then these parts: the answer, piece by piece while it is made.

        Closing the iterator stops the answer, and so does whatever interrupts it: the model has then said what was
        handed over until there. Raises InputError when there is nothing to say, or so much that no answer has room.
        """
        self.stop()
        self.add(*parts)
        said, self._next = self._next, []
        if not said:
            raise InputError("nothing to answer; give a text, a recording, a picture or a video")
        tokenizers, vocab = self.pipeline.tokenizers, self.pipeline.vocab
        seen = self._window.fit([*self.turns, said], self._wants)
        self.forgotten += seen.forgotten
        self.turns = [*self.turns, said][seen.forgotten :]
        self._stream.hear(seen.ids[None], seen.prefix)
        speaks = self._sampler, self._generator, said, seen.segments[-1]
        self._answer = tell(self._stream, self._wants, tokenizers, vocab, *speaks)
        return self._answer

    def stop(self) -> None:
        """Stop the answer that is being said, if one is."""
        if self._answer is not None:
            self._answer.close()

    def reset(self) -> None:
        """Forget all that was said, and what was added to be said next."""
        self.stop()
        self.turns, self._next = [], []


@dataclass(frozen=True)
class Seen:
    """What a model is shown of a conversation.

    forgotten: how many turns, of the earliest, had to go; segments: those that are left; ids: their prompt
    [steps, channels]; prefix: how many of its steps are the visible prefix, for a model that has one
    """

    forgotten: int
    segments: list[Segment]
    ids: np.ndarray
    prefix: int


class Window:
    """What a model sees of a conversation. A segment is laid out once, as long as it is seen.

    Turns are forgotten from the front, so many at once that half of the room that an answer leaves is free: it is the
    exception, not the rule, that the past is computed afresh. So who asks again leaves out what was forgotten.
    """

    def __init__(self, model: OmniTransformer, vocab: Vocabulary) -> None:
        self._model, self._vocab = model, vocab
        self._laid: dict[tuple[int, int], tuple[Segment | None, Segment, np.ndarray]] = {}  # by identity of both

    def fit(self, turns: Sequence[Turn], wants: Sequence[Want], system: Turn | None = None) -> Seen:
        """As many of the latest turns as leave room for a whole answer, or for one of half the room if that is less.

        system: instructions before all turns, which stay as long as the last turn has room beside them. Raises
        InputError when that turn alone is too long.
        """
        model, vocab, first = self._model, self._vocab, system or []
        most = model.config.max_steps
        room = most - min(sum(want.most(vocab) for want in wants), most // 2)
        forgotten, left = 0, [*first, *chain(*turns)]
        if prompt_length(left, self._lay(left)) > room:
            while forgotten < len(turns) - 1 and prompt_length(left, self._lay(left)) > room // 2:
                forgotten += 1
                left = [*first, *chain(*turns[forgotten:])]
            if turns and prompt_length(left, self._lay(left)) > room:
                left = [*chain(*turns[forgotten:])]
        ids = prompt(left, vocab, self._lay(left))
        check_room(len(ids), wants, model, vocab)
        self._laid = {key: self._laid[key] for key in map(_key, following(left))}
        return Seen(forgotten, left, ids, Laid.of(left, vocab).prefix if model.config.prefix else 0)

    def _lay(self, segments: Turn) -> list[np.ndarray]:
        pairs = following(segments)
        for before, segment in pairs:
            if (key := _key((before, segment))) not in self._laid:
                self._laid[key] = before, segment, segment.laid(self._vocab, before)
        return [self._laid[_key(pair)][2] for pair in pairs]


def _key(pair: tuple[Segment | None, Segment]) -> tuple[int, int]:
    """Which segment it is, after the one that it follows."""
    before, segment = pair
    return id(before), id(segment)
