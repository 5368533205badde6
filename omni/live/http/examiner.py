"""What users ask over HTTP, under the guards."""

import asyncio
import hashlib
from collections.abc import Sequence

import numpy as np

from omni.decode.parts import Audio, Part, Text
from omni.live.asked import typed
from omni.live.engine import messages
from omni.live.engine.pool import Pool
from omni.live.guard import Guards, failed
from omni.live.http.asking import FilteredError, transcribing

MOST_KNOWN = 10_000                                                     # turns of histories that the guards know


class Examiner:
    """Has the guards look at what users ask over HTTP, typed and spoken.

    Who sends a history again pays once for each of its turns: what was found is known by a digest of the turn and the
    key, so that nobody learns what others asked, and of what was asked nothing is kept.
    """

    def __init__(self, pool: Pool, guards: Guards | None, most: int = MOST_KNOWN) -> None:
        """most: turns whose verdicts are known; the one that was not needed for longest makes room."""
        self._pool, self._guards, self._most = pool, guards, most
        self._known: dict[bytes, str | None] = {}

    async def __call__(self, parts: Sequence[Part], language: str | None, key: str) -> None:
        """Raises FilteredError where a guard objects to what is asked with these parts, or fails, and any other
        RefusedRequestError where not all of what is spoken can be written down, so that no guard could look at it.
        """
        if self._guards is None or self._guards.question is None:
            return
        about = _digest(parts, language, key)
        if about in self._known:
            reason = self._known.pop(about)
        else:
            text = await self._written(parts, language)
            try:
                reason = await asyncio.to_thread(self._guards.question, text) if text else None
            except Exception as error:                                  # it may do better next time
                raise FilteredError(failed(error)) from error
        self._known[about] = reason
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        if reason is not None:
            raise FilteredError(reason)

    async def _written(self, parts: Sequence[Part], language: str | None) -> str:
        said = [typed(parts)]
        for part in parts:
            if isinstance(part, Audio):
                told = transcribing(self._pool, part, language, "messages")
                said.append("".join([one.text or "" async for one in told if isinstance(one, messages.Said)]))
        return "\n".join(said).strip()


def _digest(parts: Sequence[Part], language: str | None, key: str) -> bytes:
    """Of all that the guards' word depends on."""
    whole = hashlib.sha256(repr((key, language)).encode())
    for part in parts:
        if isinstance(part, Text):
            whole.update(repr(part).encode())
        elif isinstance(part, Audio):
            wave = np.asarray(part.source)
            whole.update(repr((part.role, part.sample_rate, wave.dtype, wave.shape)).encode())
            whole.update(wave.tobytes())
    return whole.digest()
