"""One client's session: its events in, what the model says, and the events out. No I/O and no waiting in here."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, TypeVar

from omni.live.engine import messages
from omni.live.engine.pool import Line
from omni.live.guard import Aside, Guards
from omni.live.protocol import events, items
from omni.live.protocol.events import Event, RefusedError, server
from omni.live.protocol.hearing import Hearing
from omni.live.protocol.history import ROOT, History
from omni.live.protocol.response import Response
from omni.live.protocol.settings import Settings
from omni.live.protocol.speaking import Speaking
from omni.live.protocol.transcripts import Transcripts

T = TypeVar("T")


class Session:
    """Give it the client's messages (`take`) and the model's (`told`); it sends server events through `send`."""

    def __init__(
        self,
        line: Line,
        send: Callable[[Event], None],
        seconds: float,
        aside: Aside,
        guards: Guards | None = None,
        limits: Callable[[], list[Event]] | None = None,
        kind: str = "realtime",
    ) -> None:
        """seconds: how long the session may last; aside: where the guards work; limits: what the client may still send,
        told with every response; kind: realtime or transcription, as long as no session.update changes it
        """
        self.line, self.send, self._aside = line, send, aside
        self.settings = Settings(line.facts, seconds, kind)
        self.items = History(self._forget)
        self.speaking = Speaking(line, send, self.items, guards, self._examine, limits)
        self._causes: dict[str, str] = {}                               # ids of the events that items came with
        self.handed = 0.0                                               # seconds of sound that came in whole recordings
        self.transcripts = Transcripts(line, send, self.items)
        self.hearing = Hearing(line, send, self.settings, self.items, self.speaking, self.transcripts)
        send(server("session.created", session=self.settings.shown))

    @property
    def heard(self) -> float:
        """Seconds of sound that came in by the microphone."""
        return self.hearing.heard

    # ---- from the client

    def take(self, text: str | bytes) -> str | None:
        """One message of the client; its type, or None where it is wrong and answered by an error event."""
        event: Event = {}
        try:
            event = events.parsed(text)
            events.check(event, escaped="\\u" in str(text))
            self._handlers[event["type"]](self, event)
            self.hearing.give_due()
            return str(event["type"])
        except RefusedError as refused:
            self.send(events.error(str(refused), refused.code, refused.param, events.event_id(event)))
        except Exception as error:
            self.send(events.fault(error, events.event_id(event)))
        return None

    def _update(self, event: Event) -> None:
        before, changes = self.settings, event["session"]
        if changes["type"] != before.session["type"] and self.items.last is not None:
            raise RefusedError("a session's type cannot change once something was said; open a new session")
        after = copy.copy(before)
        after.update(changes)
        old, new = (each.session["audio"]["output"]["voice"] for each in (before, after))
        if self.speaking.voiced and old != new:
            raise RefusedError("the voice cannot change once it was heard; open a new session", "cannot_update_voice")
        if before.system != after.system:
            self.line.tell(messages.Instruct(self.line.name, after.system))
        self.settings = self.hearing.settings = after
        heard_anew = before.rules != after.rules or before.input_format != after.input_format
        if heard_anew or before.answers_turns != after.answers_turns:   # what a pause drew up is not said
            self.speaking.drop_draft()
        if heard_anew:
            self.hearing.listen()
        self.send(server("session.updated", session=after.shown))

    def _append(self, event: Event) -> None:
        self.hearing.append(event["audio"])

    def _commit(self, event: Event) -> None:
        self.hearing.commit()

    def _clear(self, event: Event) -> None:
        self.speaking.drop_draft()
        self.hearing.listen()
        self.send(server("input_audio_buffer.cleared"))

    def _clear_output(self, event: Event) -> None:
        """Of use over WebRTC alone; over a WebSocket the client holds the buffer, so stopping the answer is all. It is
        told whether anything is being said or not, and names the latest answer, if there was one.
        """
        if self.speaking.current is not None:
            self.speaking.cancel(self.speaking.current, "client_cancelled")
        last = self.speaking.last
        self.send(server("output_audio_buffer.cleared", response_id=last.id if last is not None else ""))

    def _create(self, event: Event) -> None:
        item, after = event["item"], event.get("previous_item_id")
        self.items.check_room(item.get("id"), after)
        said = items.parts(item, self.settings)
        self.handed += items.seconds(said)
        told = items.known(item)
        if event.get("event_id"):
            self._causes[told["id"]] = event["event_id"]
        self.line.tell(messages.Put(self.line.name, told["id"], said, "" if after == ROOT else after))
        self.items.tell(told, after, self.send)
        if self.speaking.asked.put(told["id"], said):
            self.transcripts.write_down(told["id"], self.settings.language, soon=True)

    def _delete(self, event: Event) -> None:
        name = event["item_id"]
        self.items.remove(name)
        self._forget(name)

    def _retrieve(self, event: Event) -> None:
        self.send(server("conversation.item.retrieved", item=self.items[event["item_id"]]))

    def _truncate(self, event: Event) -> None:
        name, end = event["item_id"], event["audio_end_ms"]
        if event["content_index"] != 0:
            raise RefusedError("an answer has one content part; use 0", param="content_index")
        self.speaking.truncate(name, end / 1000)
        self.send(server("conversation.item.truncated", item_id=name, content_index=0, audio_end_ms=end))

    def _respond(self, event: Event) -> None:
        if not self.settings.answers:
            raise RefusedError("a session of type transcription gives no responses; open one of type realtime")
        wanted = event.get("response") or {}
        settings = self.settings.with_response(wanted)
        given = items.given(wanted.get("input"), self.items, self.settings)
        self.handed += items.seconds(given)
        apart = wanted.get("conversation") == "none"
        if not apart and (active := self.speaking.current) is not None:
            message = f"a response is active ({active.id}); wait until it is done, or cancel it"
            raise RefusedError(message, "conversation_already_has_active_response")
        if not apart:
            self.speaking.drop_draft()
        self.speaking.ask(settings, wanted.get("metadata"), given, apart, event.get("event_id"))

    def _cancel_response(self, event: Event) -> None:
        name = event.get("response_id")
        found = self.speaking.find(name) if name else self.speaking.current
        if found is None or found is self.speaking.draft:
            raise RefusedError("there is no active response to cancel", "response_cancel_not_active", "response_id")
        self.speaking.cancel(found, "client_cancelled")

    # ---- from the model

    def told(self, message: messages.Told) -> None:
        """One message of the model."""
        self._follow(partial(self._told, message))

    def _examine(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        """Have a guard work aside; what follows from what it finds is as safe as what the model says."""
        self._aside(work, lambda found: self._follow(partial(then, found)))

    def _follow(self, do: Callable[[], None]) -> None:
        try:
            do()
            self.hearing.give_due()
        except Exception as error:                                      # others listen to the same process
            self.send(events.fault(error))

    def _told(self, message: messages.Told) -> None:
        response = self.speaking.find(getattr(message, "answer", None))
        match message:
            case messages.Began() if response is not None:
                response.heard_all(message)
            case messages.Said() if response is not None:
                response.say(message)
            case messages.Ended() if response is not None:
                response.end(message)
            case messages.Judged():
                self.hearing.judged(message)
            case messages.Wrote():
                self.transcripts.wrote(message)
            case messages.Transcribed():
                self.speaking.asked.wrote(message)
                self.speaking.judge()
                self.transcripts.whole(message, self.settings.answers)
            case messages.Failed():
                self._failed(message, response)

    def lost(self) -> None:
        """The model's process has died, and with it what it knew of the conversation."""
        self.speaking.fail_all()
        message = "the model's process died and with it this conversation; open a new session"
        self.send(events.error(message, "model_died", kind="server_error"))

    def _failed(self, message: messages.Failed, response: Response | None) -> None:
        if response is not None and response is self.speaking.draft:
            self.speaking.drop_draft()
            return
        code, kind = events.failure(message.fault, message.full, message.long)
        cause = self._causes.get(message.item or "") if response is None else response.cause
        self.send(events.error(message.message, code, cause=cause, kind=kind))
        if message.item is not None and message.item in self.items:
            self.items.remove(message.item)                             # the client was told that it is there
            self._forget(message.item)
        if response is not None:
            self.speaking.failed(response, code, kind)

    # ---- items

    def _forget(self, name: str) -> None:
        """The conversation has an item no more."""
        self._causes.pop(name, None)
        self.line.tell(messages.Delete(self.line.name, name))
        self.send(server("conversation.item.deleted", item_id=name))

    _handlers: ClassVar[dict[str, Callable[[Any, Event], None]]] = {
        "session.update": _update, "input_audio_buffer.append": _append, "input_audio_buffer.commit": _commit,
        "input_audio_buffer.clear": _clear, "output_audio_buffer.clear": _clear_output,
        "conversation.item.create": _create, "conversation.item.delete": _delete,
        "conversation.item.retrieve": _retrieve, "conversation.item.truncate": _truncate,
        "response.create": _respond, "response.cancel": _cancel_response,
    }  # fmt: skip
