"""Voice guard: the assistant speaks in the preset voice it was given, or it stops.

A linear classifier over the speaker embedding (safety.guards.embedding), one for each preset, says after every 80 ms
of voice how much likelier the preset is than anybody else. Its evidence is added up, never below nothing (CUSUM, Page
1954): a doubtful step is forgiven, two of them or a clear one are not. A conversation has one guard, which keeps the
evidence from answer to answer: what drifts a little in each of many short answers is found too.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from omni.errors import InputError
from omni.files import atomic_path
from omni.safety.guards.embedding import Voiceprint

FILE = Path(__file__).with_name("presets.safetensors")                  # made by safety.guards.enrol
CLIP = 3.0                                                              # nats that one step may say for or against
LIMIT = 3.0                                                             # nats against the preset at which it stops
YOUNG = 4                                                               # first steps of a sound, which say little


@dataclass
class VoiceGuard:
    """A guard at run time: `feed(samples, transcript)` gives a reason once the voice is not the preset's.

    voice: name of the preset; rate: of the samples, in hertz. Raises InputError for a voice that was not enrolled.
    """

    voice: str
    rate: int = 24_000
    _print: Voiceprint = field(init=False)
    _steps: int = 0
    _against: float = 0.0
    _stopped: bool = False

    def __post_init__(self) -> None:
        self._weights = enrolled(self.voice)
        self._print = Voiceprint(self.rate)

    def feed(self, samples: NDArray[np.float32], transcript: str = "") -> str | None:
        """samples: [n] float32, what is about to be played. Having stopped, it gives its reason again and again."""
        for score in scores(self._print.feed(samples), self._weights):
            self._steps += 1
            if self._steps > YOUNG and not self._stopped:
                self._against = max(0.0, self._against - float(np.clip(score, -CLIP, CLIP)))
                self._stopped = self._against >= LIMIT
        if not self._stopped:
            return None
        return f"unauthorised voice: no longer the preset {self.voice} ({self._against:.1f} nats against it)"

    def go_on(self) -> None:
        """Another answer of the conversation begins.

        After a stop the voice is heard anew, with all the evidence that it takes still against it: the first step that
        is not the preset's stops this answer, too.
        """
        if self._stopped:
            self._print, self._steps, self._against, self._stopped = Voiceprint(self.rate), 0, LIMIT, False


@dataclass
class Answer:
    """The guard of one answer of a conversation, by the conversation's own."""

    guard: VoiceGuard
    begun: bool = False

    def feed(self, samples: NDArray[np.float32], transcript: str = "") -> str | None:
        """Like the guard's. That the answer begins is told it here, where the one before is over."""
        if not self.begun:
            self.guard.go_on()
            self.begun = True
        return self.guard.feed(samples, transcript)


def scores(vectors: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-odds of the preset for embeddings [steps, WIDTH] by its weights [WIDTH + 1]: [steps]."""
    return np.asarray(vectors @ weights[:-1] + weights[-1], np.float32)


def enrolled(voice: str) -> NDArray[np.float32]:
    """The classifier of a preset: WIDTH weights and a bias. Raises InputError for one that there is none of."""
    known = _file()
    if voice not in known:
        raise InputError(f"voice {voice}: not enrolled with the voice guard; it knows {', '.join(sorted(known))}")
    return known[voice]


def save(weights: dict[str, NDArray[np.float32]], path: Path = FILE) -> None:
    """Write the classifiers of all presets."""
    with atomic_path(path) as scratch:
        save_file(weights, scratch)


@cache
def _file() -> dict[str, NDArray[np.float32]]:
    return dict(load_file(FILE))
