"""What may stand between the model's voice and the socket; omni.safety fills it and the command line hands it in."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from omni.live.engine.messages import Said
from omni.live.hearing.pcm import Resampler, Wave

RATE = 24_000                                                           # hertz at which a guard listens


class Guard(Protocol):
    """Watches one answer. A guard that fails stops the answer too."""

    def feed(self, samples: Wave, transcript: str) -> str | None:
        """Hear more of it: samples [n] at 24 kHz, perhaps none, and its whole text so far. Returns why it must stop.

        The same text again means that it stands: there is only sound to come, or nothing.
        """
        ...


Guards = Callable[[str | None], Guard]                                  # a guard for an answer in this voice


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
