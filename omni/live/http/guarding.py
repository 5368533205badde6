"""The output guard over the answer of one HTTP request."""

from collections.abc import AsyncIterator

import numpy as np

from omni.live.engine import messages
from omni.live.guard import Guards
from omni.live.hearing.pcm import Resampler
from omni.live.http.asking import RefusedRequestError
from omni.live.protocol.response import GUARDED


class Watch:
    """Lets an answer through until the guard stops it."""

    def __init__(self, guards: Guards | None, voice: str | None, rate: int) -> None:
        self.guard = guards(voice) if guards else None
        self._ear = Resampler(rate or GUARDED, GUARDED)

    async def over(self, said: AsyncIterator[messages.Told]) -> AsyncIterator[messages.Told]:
        """The same messages. Raises RefusedRequestError where the guard stops the answer, or fails."""
        text = ""
        async for message in said:
            if self.guard is not None and isinstance(message, messages.Said):
                text += message.text or ""
                heard = np.zeros(0, np.float32) if message.audio is None else self._ear(message.audio)
                try:
                    reason = self.guard.feed(heard, text)
                except Exception as error:
                    reason = f"the guard failed ({type(error).__name__}), so nothing more is said"
                if reason is not None:
                    raise RefusedRequestError(reason, 403, code="content_filter")
            yield message
