"""What may stand between the user, the model and the socket; omni.safety fills it and the command line hands it in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from omni.decode.parts import Audio, Part, Text
from omni.live.engine import messages
from omni.live.engine.messages import Said
from omni.live.engine.pool import Line
from omni.live.hearing.pcm import Resampler, Wave

RATE = 24_000                                                           # hertz at which a guard listens


class Guard(Protocol):
    """Watches one answer. A guard that fails stops the answer too."""

    def feed(self, samples: Wave, transcript: str) -> str | None:
        """Hear more of it: samples [n] at 24 kHz, perhaps none, and its whole text so far. Returns why it must stop.

        The same text again means that it stands: there is only sound to come, or nothing.
        """
        ...


@dataclass(frozen=True)
class Guards:
    """What a server is started with.

    answer:   makes the guard of an answer in this voice
    question: why what a user asks must not be answered, None where nothing speaks against it; none at all where
              nobody minds what is asked
    """

    answer: Callable[[str | None], Guard]
    question: Callable[[str], str | None] | None = None

    def refusal(self, text: str) -> str | None:
        """Why what a user asks must not be answered. A guard that fails refuses."""
        if self.question is None or not text:
            return None
        try:
            return self.question(text)
        except Exception as error:
            return f"the guard failed ({type(error).__name__}), so nothing is answered"


class Watch:
    """One answer under its guard, where there is one, piece by piece. What was stopped once stays so."""

    def __init__(self, guard: Guard | None, rate: int) -> None:
        """rate: of the pieces' samples, in hertz"""
        self._guard, self._ear, self._text = guard, Resampler(rate, RATE), ""
        self._reason: str | None = None

    def look(self, said: Said) -> str | None:
        """Why the answer must stop before this piece is handed over; None lets it through."""
        if self._guard is None or not (said.text or said.audio is not None):
            return self._reason
        self._text += said.text or ""
        return self._ask(self._guard, np.zeros(0, np.float32) if said.audio is None else self._ear(said.audio))

    def end(self) -> str | None:
        """Why the answer, of which there is no more, must not pass as whole; None where nothing speaks against it."""
        return None if self._guard is None else self._ask(self._guard, self._ear.finish())

    def _ask(self, guard: Guard, heard: Wave) -> str | None:
        if self._reason is None:
            try:
                self._reason = guard.feed(heard, self._text)
            except Exception as error:
                self._reason = f"the guard failed ({type(error).__name__}), so nothing more is said"
        return self._reason


class Asked:
    """What the user of a session has asked and no guard has looked at yet, typed and spoken.

    The model loses what is refused, so that it is not answered later either; its items keep their places, empty.
    """

    def __init__(self, line: Line, guards: Guards | None) -> None:
        self._line, self._guards = line, guards
        self._texts: dict[str, str] = {}                                # by item
        self._unwritten: set[str] = set()                               # items of which something was spoken
        self._failed: str | None = None                                 # why one could not be written down

    @property
    def guarded(self) -> bool:
        """Whether anybody minds."""
        return self._guards is not None and self._guards.question is not None

    @property
    def waits(self) -> bool:
        """Whether something is still to be written down."""
        return bool(self._unwritten)

    def put(self, item: str, parts: Sequence[Part]) -> bool:
        """An item of the conversation. Returns whether its transcript is needed."""
        if self.guarded:
            self._texts[item] = typed(parts)
            self._unwritten |= {item} if any(isinstance(part, Audio) for part in parts) else set()
        return item in self._unwritten

    def spoke(self, item: str) -> bool:
        """The same of what was said into the microphone."""
        if self.guarded:
            self._texts[item] = ""
            self._unwritten.add(item)
        return self.guarded

    def wrote(self, message: messages.Transcribed) -> None:
        """What was spoken in an item is written down."""
        if message.item in self._unwritten:
            self._unwritten.discard(message.item)
            self._texts[message.item] += f"\n{message.text}"
            self._failed = message.failed or self._failed

    def verdict(self) -> str | None:
        """Why what was asked must not be answered. None, too, while something is still to be written down."""
        if self._guards is None or self.waits:
            return None
        reason = self._failed and f"what was said could not be written down ({self._failed}), so it is not answered"
        reason = reason or self._guards.refusal("\n".join(self._texts.values()).strip())
        for item in self._texts if reason else ():
            self._line.tell(messages.Put(self._line.name, item, ()))
        self._texts, self._failed = {}, None
        return reason

    def given(self, parts: Sequence[Part]) -> str | None:
        """Why what is asked out of band must not be answered."""
        if self._guards is None or not self.guarded:
            return None
        if any(isinstance(part, Audio) for part in parts):
            return "a recording out of band is not written down, so it is not answered; add it to the conversation"
        return self._guards.refusal(typed(parts))


def typed(parts: Sequence[Part]) -> str:
    """What of these parts the user has written."""
    return "\n".join(part.text for part in parts if isinstance(part, Text) and part.role == "user")
