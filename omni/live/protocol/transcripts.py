"""What the user said, written down by the model: for the client, where it wants that, and for the guards."""

from collections.abc import Callable

from omni.live.engine import messages
from omni.live.engine.pool import Line
from omni.live.protocol import events
from omni.live.protocol.events import Event
from omni.live.protocol.history import History
from omni.live.protocol.settings import Settings, language_of


class Transcripts:
    """Of one session's items."""

    def __init__(self, line: Line, send: Callable[[Event], None], items: History) -> None:
        self._line, self._send, self._items = line, send, items
        self._wanted: set[str] = set()                                  # items whose transcripts the client wants

    def order(self, item: str, settings: Settings, minded: bool) -> None:
        """Have a turn written down, if the client wants it or the guards have to look at it (minded)."""
        language = settings.language
        if settings.transcription is not None:
            self._wanted.add(item)
            language = language_of(settings.transcription.get("language"), self._line.facts)
        if minded or settings.transcription is not None:
            self.write_down(item, language, minded)

    def write_down(self, item: str, language: str | None, soon: bool) -> None:
        self._line.tell(messages.Transcribe(self._line.name, item, language, soon))

    def wrote(self, message: messages.Wrote) -> None:
        """A piece of one."""
        if message.item in self._wanted:
            self._send(events.transcription("delta", message.item, delta=message.text))

    def whole(self, message: messages.Transcribed, answers: bool) -> None:
        """All of one, or why there is none; answers: whether anything will be answered with the item."""
        if message.item not in self._wanted:
            return
        self._wanted.discard(message.item)
        if message.failed is None:
            if message.item in self._items:
                self._items[message.item]["content"][0]["transcript"] = message.text
            usage = events.transcription_usage(message.heard, message.steps)
            self._send(events.transcription("completed", message.item, transcript=message.text, usage=usage))
        else:
            code, kind = events.failure(False, message.full)
            about = {"type": kind, "code": code, "message": message.failed, "param": None}
            self._send(events.transcription("failed", message.item, error=about))
        if not answers:
            self._line.tell(messages.Delete(self._line.name, message.item))
