"""A conversation of many turns with one model, whose past is computed once."""

from collections.abc import Generator, Sequence
from itertools import chain
from typing import Unpack

import numpy as np

from omni.decode.generate import Want, check_room
from omni.decode.parts import Part
from omni.decode.pieces import Piece, tell
from omni.decode.pipeline import How, Pipeline
from omni.decode.stream import Stream
from omni.errors import InputError
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, prompt
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
        self._next += [part.segment(self.pipeline.tokenizers, self.pipeline.vocab) for part in parts]

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
        kept, ids = fitting([*self.turns, said], self._wants, self.pipeline.model, vocab)
        self.forgotten += len(self.turns) + 1 - len(kept)
        self.turns = kept
        self._stream.hear(ids[None], Laid.of(chain(*kept), vocab).prefix)
        self._answer = tell(self._stream, self._wants, tokenizers, vocab, self._sampler, self._generator, told=said)
        return self._answer

    def stop(self) -> None:
        """Stop the answer that is being said, if one is."""
        if self._answer is not None:
            self._answer.close()

    def reset(self) -> None:
        """Forget all that was said, and what was added to be said next."""
        self.stop()
        self.turns, self._next = [], []


def fitting(
    turns: list[Turn], wants: Sequence[Want], model: OmniTransformer, vocab: Vocabulary
) -> tuple[list[Turn], np.ndarray]:
    """The latest of these turns that leave room for a whole answer, or for one of half the room if that is less.

    Their prompt too, [steps, channels]. Where not all of them do, so many are forgotten that half of the room is free:
    it is the exception, not the rule, that the past is computed afresh. Raises InputError when the last turn alone is
    too long.
    """
    half = model.config.max_steps // 2
    answer = min(sum(want.most(vocab) for want in wants), half)
    ids = prompt(chain(*turns), vocab)
    if len(ids) + answer > model.config.max_steps:
        while len(turns) > 1 and len(ids) > half:
            turns = turns[1:]
            ids = prompt(chain(*turns), vocab)
    check_room(len(ids), wants, model, vocab)
    return turns, ids
