"""All guards as one: the first reason stops the answer, and so does a guard that fails."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from omni.safety.guards.music import MusicGuard
from omni.safety.guards.text import TextGuard
from omni.safety.guards.voice import VoiceGuard


class Guard(Protocol):
    """What listens to an answer while it is given; omni.live asks for the same."""

    def feed(self, samples: NDArray[np.float32], transcript: str) -> str | None:
        """samples: the next ones, [n] at 24 kHz; transcript: all that was said. A reason to stop, or None."""
        ...


@dataclass
class Together:
    """Guards that hear the same. One that raises an error counts as one that found something: it fails closed."""

    guards: Sequence[Guard]

    def feed(self, samples: NDArray[np.float32], transcript: str) -> str | None:
        for guard in self.guards:
            try:
                reason = guard.feed(samples, transcript)
            except Exception as error:
                return f"{type(guard).__name__} failed, so nothing more is said ({error})"
            if reason:
                return reason
        return None


def standard(voice: str) -> Together:
    """The guards of a conversation in a preset voice. Raises InputError for a voice that was not enrolled."""
    return Together((VoiceGuard(voice), TextGuard(), MusicGuard()))
