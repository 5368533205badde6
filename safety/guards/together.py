"""The guards that a server is started with, as one: the first that objects stops the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError
from omni.live.guard import Answers, Guard, Guards
from omni.safety.guards.embedding import encoder
from omni.safety.guards.music import MusicGuard
from omni.safety.guards.text import TextGuard, check
from omni.safety.guards.voice import Answer, VoiceGuard, enrolled

KINDS = ("voice", "text", "music")


@dataclass
class Together:
    """Guards that hear the same. One that raises an error counts as one that found something: it fails closed."""

    guards: Sequence[Guard]

    def feed(self, samples: NDArray[np.float32], transcript: str) -> str | None:
        """The first reason that one of them gives."""
        for guard in self.guards:
            try:
                reason = guard.feed(samples, transcript)
            except Exception as error:
                return f"{type(guard).__name__} failed, so nothing more is said ({error})"
            if reason:
                return reason
        return None


def guards(names: Sequence[str], voices: Sequence[str]) -> Guards:
    """The guards of these names for answers in one of these voices; with the text guard, for what is asked too.

    The voice guard is one for all answers of a conversation, the others one for each.

    All that they load is loaded then: the first who is answered does not wait for it. Raises InputError for a name that
    no guard has, for a voice that the voice guard does not know, and where a package is missing.
    """
    for name in names:
        if name not in KINDS:
            raise InputError(f"guard {name!r}: there is none of that name; use {', '.join(KINDS)}")
    if "voice" in names:
        for voice in voices:
            enrolled(voice)
        encoder()
    if "text" in names:
        check("Hello")

    def conversation() -> Answers:
        voiced: dict[str, VoiceGuard] = {}

        def made(voice: str | None) -> Guard:
            found: list[Guard] = []
            if "voice" in names and voice is not None:
                if voice not in voiced:
                    voiced[voice] = VoiceGuard(voice)
                found.append(Answer(voiced[voice]))
            found += [TextGuard()] if "text" in names else []
            found += [MusicGuard()] if "music" in names else []
            return Together(found)

        return made

    return Guards(lambda voice: conversation()(voice), check if "text" in names else None, conversation)
