"""What may stand between the model's voice and the socket; omni.safety fills it and the command line hands it in."""

from collections.abc import Callable
from typing import Protocol

from omni.live.hearing.pcm import Wave


class Guard(Protocol):
    """Watches one answer. A guard that fails stops the answer too."""

    def feed(self, samples: Wave, transcript: str) -> str | None:
        """Hear more of it: samples [n] at 24 kHz, perhaps none, and its whole text so far. Returns why it must stop."""
        ...


Guards = Callable[[str | None], Guard]                                  # a guard for an answer in this voice
