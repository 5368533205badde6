"""What may stand between the user, the model and the socket; omni.safety fills it and the command line hands it in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from omni.live.engine.messages import Said
from omni.live.hearing.pcm import Resampler, Wave

RATE = 24_000                                                           # hertz at which a guard listens
T = TypeVar("T")


class Guard(Protocol):
    """Watches one answer. A guard that fails stops the answer too.

    It is fed from one thread at a time, but not always from the same, and others of its kind work beside it.
    """

    def feed(self, samples: Wave, transcript: str) -> str | None:
        """Hear more of it: samples [n] at 24 kHz, perhaps none, and its whole text so far. Returns why it must stop.

        The same text again means that it stands so far: its sound comes next, then perhaps more of both, or nothing.
        """
        ...


class Aside(Protocol):
    """Where a session's guards work: not where the sound of all sessions passes, which would stand still meanwhile."""

    def __call__(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Have something done, and `then` what follows of it; one after another, in the order of the calls."""
        ...


def at_once(work: Callable[[], T], then: Callable[[T], None]) -> None:
    """An `Aside` for what takes no time."""
    then(work())


Answers = Callable[[str | None], Guard]                                 # makes the guard of an answer in this voice


@dataclass(frozen=True)
class Guards:
    """What a server is started with.

    answer:       makes the guard of an answer that stands by itself
    question:     why what a user asks must not be answered, None where nothing speaks against it; none at all where
                  nobody minds what is asked; called from several threads
    conversation: begins a conversation, whose answers' guards know of each other; without, each stands by itself.
                  They are made, and fed, one after the other
    """

    answer: Answers
    question: Callable[[str], str | None] | None = None
    conversation: Callable[[], Answers] | None = None

    def answers(self) -> Answers:
        """What makes the guards of one conversation's answers."""
        return self.answer if self.conversation is None else self.conversation()

    def refusal(self, text: str) -> str | None:
        """Why what a user asks must not be answered. A guard that fails refuses."""
        if self.question is None or not text:
            return None
        try:
            return self.question(text)
        except Exception as error:
            return failed(error)


def failed(error: Exception) -> str:
    """Why nothing is answered where the guard of questions fails."""
    return f"the guard failed ({type(error).__name__}), so nothing is answered"


class Watch:
    """One answer under its guard, where there is one, piece by piece. What was stopped once stays so."""

    def __init__(self, guard: Guard | None, rate: int) -> None:
        """rate: of the pieces' samples, in hertz"""
        self._guard, self._ear, self._text = guard, Resampler(rate, RATE), ""
        self._reason: str | None = None

    def look(self, pieces: Sequence[Said]) -> tuple[int, str | None]:
        """How many of these, which come next, may be handed over; and why the answer must stop there, if it must."""
        for number, said in enumerate(pieces):
            if self._guard is not None and (said.text or said.audio is not None):
                self._text += said.text or ""
                self._ask(self._guard, np.zeros(0, np.float32) if said.audio is None else self._ear(said.audio))
            if self._reason is not None:
                return number, self._reason
        return len(pieces), None

    def stands(self) -> tuple[int, str | None]:
        """Its text is whole, as far as its sound comes next: nothing to hand over, and why it must stop, if it must."""
        if self._guard is not None:
            self._ask(self._guard, np.zeros(0, np.float32))
        return 0, self._reason

    def end(self) -> str | None:
        """Why the answer, of which there is no more, must not pass as whole; None where nothing speaks against it."""
        if self._guard is not None:
            self._ask(self._guard, self._ear.finish())
        return self._reason

    def _ask(self, guard: Guard, heard: Wave) -> None:
        if self._reason is None:
            try:
                self._reason = guard.feed(heard, self._text)
            except Exception as error:
                self._reason = f"the guard failed ({type(error).__name__}), so nothing more is said"
