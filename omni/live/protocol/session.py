"""One client's session: its events in, what the model says, and the events out. No I/O and no waiting in here."""

import copy
import time
from collections.abc import Callable
from typing import Any, ClassVar

from omni.decode.parts import Part
from omni.errors import InputError
from omni.live.engine import messages
from omni.live.engine.pool import Line
from omni.live.guard import Guards
from omni.live.hearing.pcm import Wave
from omni.live.hearing.turns import Change
from omni.live.hearing.vad import RATE
from omni.live.protocol import events, items, tools
from omni.live.protocol.events import Event, RefusedError, server
from omni.live.protocol.history import ROOT, History, unknown
from omni.live.protocol.microphone import Microphone, milliseconds
from omni.live.protocol.response import Response
from omni.live.protocol.settings import Settings


class Session:
    """Give it the client's messages (`take`) and the model's (`told`); it sends server events through `send`."""

    def __init__(
        self,
        line: Line,
        send: Callable[[Event], None],
        seconds: float,
        guards: Guards | None = None,
        limits: Callable[[], list[Event]] | None = None,
    ) -> None:
        """seconds: how long the session may last; limits: what the client may still send, told with every response."""
        self.line, self.send, self.guards, self.limits = line, send, guards, limits
        self.settings = Settings(line.facts, seconds)
        self.items = History()
        self.responses: dict[str, Response] = {}                        # those that are not over
        self.current: Response | None = None                            # the one that speaks in the conversation
        self.last: Response | None = None                               # the latest that did
        self.draft: Response | None = None                              # begun in a pause, not told to anybody yet
        self._voices_fixed = False
        self._due = False                                               # a response is owed once the current one ends
        self._turn = events.fresh("item")                               # what the user is saying will be this item
        self._judged = 0
        self._spoke: float | None = None                                # when the user was last answered
        self.microphone = Microphone(self.settings, line.facts.sample_rate)
        send(server("session.created", session=self.settings.session))

    # ---- from the client

    def take(self, text: str | bytes) -> None:
        """One message of the client. What is wrong with it is answered by an error event."""
        try:
            event = events.read(text)
            self._handlers[event["type"]](self, event)
        except RefusedError as refused:
            cause = events.event_id(text)
            self.send(events.error(str(refused), refused.code, refused.param, cause))

    def close(self) -> None:
        """The client is gone."""
        self.line.close()

    def _update(self, event: Event) -> None:
        before, changes = self.settings, event["session"]
        if changes["type"] == "transcription":
            raise RefusedError("transcription sessions are not served; set audio.input.transcription of a realtime one")
        after = copy.copy(before)
        after.update(changes)
        old, new = (each.session["audio"]["output"]["voice"] for each in (before, after))
        if self._voices_fixed and old != new:
            raise RefusedError("the voice cannot change once it was heard; open a new session", "cannot_update_voice")
        self.settings = after
        if before.rules != after.rules or before.input_format != after.input_format:
            self._drop_draft()
            self._listen()
        self.send(server("session.updated", session=after.session))

    def _append(self, event: Event) -> None:
        speaking = self.microphone.speaking or self.microphone.turns is None
        try:
            wave, changes = self.microphone.hear(event["audio"])
        except InputError as error:
            raise RefusedError(str(error), param="audio") from None
        if speaking:
            self._tell_model(wave)
        for change in changes:
            self._change(change)
        self._idle()

    def _commit(self, event: Event) -> None:
        microphone = self.microphone
        if microphone.heard == microphone.since:
            raise RefusedError("the input audio buffer is empty; append audio first", "input_audio_buffer_commit_empty")
        if microphone.turns is not None and not microphone.speaking:
            self._tell_model(microphone.from_sample(microphone.since))
        self._drop_draft()
        self._end_turn(respond=False)

    def _clear(self, event: Event) -> None:
        self._drop_draft()
        self.line.tell(messages.Unhear(self.line.name))
        self._listen()
        self.send(server("input_audio_buffer.cleared"))

    def _clear_output(self, event: Event) -> None:
        """Of use over WebRTC alone; over a WebSocket the client holds the buffer, so stopping the answer is all."""
        if self.current is not None:
            self._cancel(self.current, "client_cancelled")

    def _create(self, event: Event) -> None:
        item, after = event["item"], event.get("previous_item_id")
        self.items.check_room(item.get("id"), after)
        said = items.parts(item, self.settings.input_format)
        told = items.known(item)
        behind = "" if after == ROOT else after
        self.line.tell(messages.Put(self.line.name, told["id"], said, behind))
        self._add(told, after)

    def _delete(self, event: Event) -> None:
        name = event["item_id"]
        self.items.remove(name)
        self.line.tell(messages.Delete(self.line.name, name))
        self.send(server("conversation.item.deleted", item_id=name))

    def _retrieve(self, event: Event) -> None:
        self.send(server("conversation.item.retrieved", item=self.items[event["item_id"]]))

    def _truncate(self, event: Event) -> None:
        name, end = event["item_id"], event["audio_end_ms"]
        response = next((each for each in (self.current, self.last) if each is not None and each.item == name), None)
        if response is None and name not in self.items:
            raise unknown(name)
        if response is None or not response.speaks:
            raise RefusedError("only the latest spoken answer can be truncated", param="item_id")
        if not 0 <= end <= response.sent * 1000 + 1:
            length = f"the answer has {response.sent * 1000:.0f} ms"
            raise RefusedError(f"audio_end_ms is {end}, but {length}", param="audio_end_ms")
        if event["content_index"] != 0:
            raise RefusedError("an answer has one content part; use 0", param="content_index")
        self._shorten(response, end / 1000)
        self.send(server("conversation.item.truncated", item_id=name, content_index=0, audio_end_ms=end))

    def _respond(self, event: Event) -> None:
        wanted = event.get("response") or {}
        settings = self.settings.with_response(wanted)
        if wanted.get("conversation") == "none":
            self._ask(settings, wanted.get("metadata"), self._given(wanted.get("input")), in_conversation=False)
            return
        if wanted.get("input"):
            raise RefusedError('input is for responses out of band; add conversation: "none"', param="response.input")
        if self.current is not None:
            raise RefusedError(
                f"the conversation has an active response {self.current.id}; wait until it is done, or cancel it",
                "conversation_already_has_active_response",
            )
        self._drop_draft()
        self._ask(settings, wanted.get("metadata"))

    def _cancel_response(self, event: Event) -> None:
        name = event.get("response_id")
        found = self.responses.get(name) if name else self.current
        if found is None or found is self.draft:
            raise RefusedError("there is no active response to cancel", "response_cancel_not_active", "response_id")
        self._cancel(found, "client_cancelled")

    # ---- from the model

    def told(self, message: messages.Told) -> None:
        """One message of the model."""
        match message:
            case messages.Said() if message.answer in self.responses:
                self._said(self.responses[message.answer], message)
            case messages.Ended() if message.answer in self.responses:
                response = self.responses[message.answer]
                response.end(message)
                self._over(response)
            case messages.Judged() if message.number == self._judged and self.microphone.turns is not None:
                self.microphone.turns.ended = message.ended
            case messages.Transcribed():
                self._transcribed(message)
            case messages.Failed():
                self._failed(message)
            case _:
                pass

    def lost(self) -> None:
        """The model's process has died, and with it what it knew of the conversation."""
        for response in list(self.responses.values()):
            if response.begun:
                response.finish("failed", error={"type": "server_error", "code": "model_died"})
        message = "the model's process died and with it this conversation; open a new session"
        self.send(events.error(message, "model_died", kind="server_error"))

    def _said(self, response: Response, said: messages.Said) -> None:
        reason = response.say(said)
        self._voices_fixed |= response.begun and response.sent > 0
        if reason is not None:
            self.line.tell(messages.Stop(self.line.name, response.id))
            response.finish("incomplete", "content_filter")
            self._over(response)
            self.send(events.error(reason, "content_filter", kind="guard"))

    def _failed(self, message: messages.Failed) -> None:
        response = self.responses.get(message.answer or "")
        if response is self.draft and response is not None:
            self._drop_draft()
            return
        self.send(events.error(message.message, "model_refused"))
        if response is not None:
            response.finish("failed", error={"type": "invalid_request_error", "code": "model_refused"})
            self._over(response)

    def _transcribed(self, message: messages.Transcribed) -> None:
        if message.item in self.items:
            self.items[message.item]["content"][0]["transcript"] = message.text
        kind, place = "conversation.item.input_audio_transcription", {"item_id": message.item, "content_index": 0}
        if message.text:
            self.send(server(f"{kind}.delta", **place, delta=message.text))
        usage = {"type": "tokens", "input_tokens": 0, "output_tokens": message.steps, "total_tokens": message.steps}
        self.send(server(f"{kind}.completed", **place, transcript=message.text, usage=usage))

    # ---- hearing

    def _listen(self) -> None:
        """Begin to listen afresh."""
        self.microphone = Microphone(self.settings, self.line.facts.sample_rate, self.microphone.heard)

    def _change(self, change: Change) -> None:
        if change.kind == "started":
            self._begin_turn(change.at)
        elif change.kind == "paused":
            self._speculate()
        elif change.kind == "resumed":
            self._drop_draft()
        else:
            self._end_turn(respond=True, at=change.at)

    def _begin_turn(self, at: int) -> None:
        microphone, rules = self.microphone, self.settings.rules
        assert rules is not None
        start = max(0, at - rules.prefix_ms * RATE // 1000)
        self.send(server("input_audio_buffer.speech_started", audio_start_ms=milliseconds(start), item_id=self._turn))
        if self._detection.get("interrupt_response", True):
            self._interrupt()
        self._tell_model(microphone.from_sample(start))

    def _speculate(self) -> None:
        """The user pauses: let the model judge whether that was all, and begin an answer in case it was."""
        self._judged += 1
        self.line.tell(messages.Judge(self.line.name, self._judged))
        if self._detection.get("create_response", True) and self.current is None:
            self.draft = self._new(self.settings, None)
            self._order(self.draft, draft=self._turn)

    def _end_turn(self, respond: bool, at: int | None = None) -> None:
        """What the user said is an item now; `respond`: and is to be answered, as far as the client wants that."""
        name, draft, self._turn, self.draft = self._turn, self.draft, events.fresh("item"), None
        if at is not None:
            self.send(server("input_audio_buffer.speech_stopped", audio_end_ms=milliseconds(at), item_id=name))
        if draft is not None:
            self.line.tell(messages.Keep(self.line.name, draft.id))
        else:
            self.line.tell(messages.Commit(self.line.name, name))
        self.send(server("input_audio_buffer.committed", item_id=name, previous_item_id=self.items.last))
        self._add(items.user_audio(name), None)
        self.microphone.empty()
        if draft is not None:
            self._begin(draft)
        elif respond and self._detection.get("create_response", True):
            if self.current is None:
                self._ask(self.settings, None)
            else:
                self._due = True
        transcription = self.settings.transcription
        if transcription is not None:
            language = transcription.get("language")
            known = language if language in self.line.facts.languages else None
            self.line.tell(messages.Transcribe(self.line.name, name, known))

    def _interrupt(self) -> None:
        """The user speaks: stop the answer, and let the conversation hold what can have been heard of it."""
        now = time.monotonic()
        response = self.current or self.last
        if self.current is not None:
            self._cancel(self.current, "turn_detected")
        if response is not None and response.speaks and response.heard(now) < response.sent:
            self._shorten(response, response.heard(now))

    def _idle(self) -> None:
        """Nobody says anything any more: speak to the user, where the client wants that."""
        microphone, rules = self.microphone, self.settings.rules
        if rules is None or rules.idle_ms is None or self._spoke is None or self.current or microphone.speaking:
            return
        rest = max(0.0, self.last.sent - self.last.heard(time.monotonic())) if self.last else 0.0
        if time.monotonic() - self._spoke - rest > rules.idle_ms / 1000:
            self._spoke = None
            start = max(microphone.since, microphone.heard - rules.idle_ms * RATE // 1000)
            span = {"audio_start_ms": milliseconds(start), "audio_end_ms": milliseconds(microphone.heard)}
            self.send(server("input_audio_buffer.timeout_triggered", **span, item_id=self._turn))
            self._tell_model(microphone.from_sample(start))
            self._end_turn(respond=True)

    def _tell_model(self, wave: Wave) -> None:
        self.line.tell(messages.Hear(self.line.name, self.microphone.to_model(wave)))

    @property
    def _detection(self) -> Event:
        return self.settings.turn_detection or {}

    # ---- answering

    def _ask(
        self, settings: Settings, metadata: Any, said: tuple[Part, ...] | None = None, in_conversation: bool = True
    ) -> None:
        response = self._new(settings, metadata, in_conversation)
        self._order(response, said=said)
        self._begin(response)

    def _new(self, settings: Settings, metadata: Any, in_conversation: bool = True) -> Response:
        guard = self.guards(settings.voice) if self.guards else None
        response = Response(settings, self.line.facts.sample_rate, guard, in_conversation, metadata)
        self.responses[response.id] = response
        return response

    def _order(self, response: Response, draft: str | None = None, said: tuple[Part, ...] | None = None) -> None:
        session = response.settings.session
        system = "\n".join(filter(None, (session["instructions"], tools.instructions(session["tools"]))))
        item = response.item if response.in_conversation else None
        order = messages.Answer(self.line.name, response.id, response.settings.ask, item, draft, said, system)
        self.line.tell(order)

    def _begin(self, response: Response) -> None:
        if response.in_conversation:
            self.current = response
        response.begin(self.send, self.items.put)
        if self.limits is not None:
            self.send(server("rate_limits.updated", rate_limits=self.limits()))
        self._voices_fixed |= response.sent > 0
        self._over(response)

    def _over(self, response: Response) -> None:
        """Take note when a response has ended."""
        if not response.done:
            return
        self.responses.pop(response.id, None)
        if response is self.current:
            self.current, self.last, self._spoke = None, response, time.monotonic()
            if self._due:
                self._due = False
                self._ask(self.settings, None)

    def _cancel(self, response: Response, reason: str) -> None:
        self.line.tell(messages.Stop(self.line.name, response.id))
        response.finish("cancelled", reason)
        self._over(response)

    def _drop_draft(self) -> None:
        """Forget an answer that nobody was told of."""
        if self.draft is not None:
            self.line.tell(messages.Stop(self.line.name, self.draft.id))
            self.responses.pop(self.draft.id, None)
            self.draft = None

    def _shorten(self, response: Response, seconds: float) -> None:
        """Let the conversation hold only this much of a spoken answer, and no transcript of the rest."""
        self.line.tell(messages.Truncate(self.line.name, response.item, seconds + response.skipped))
        if response.item in self.items:
            self.items[response.item]["content"] = [{"type": "output_audio", "transcript": None}]

    # ---- items

    def _add(self, item: Event, after: str | None) -> None:
        previous = self.items.add(item, after)
        self.send(server("conversation.item.added", previous_item_id=previous, item=item))
        self.send(server("conversation.item.done", previous_item_id=previous, item=item))

    def _given(self, said: list[Event] | None) -> tuple[Part, ...] | None:
        """What a response out of band is to answer instead of the conversation."""
        if said is None:
            return None
        if any(item.get("type") == "item_reference" for item in said):
            raise RefusedError("item references are not supported here; give the items", param="response.input")
        return tuple(part for item in said for part in items.parts(item, self.settings.input_format))

    _handlers: ClassVar[dict[str, Callable[[Any, Event], None]]] = {
        "session.update": _update, "input_audio_buffer.append": _append, "input_audio_buffer.commit": _commit,
        "input_audio_buffer.clear": _clear, "output_audio_buffer.clear": _clear_output,
        "conversation.item.create": _create, "conversation.item.delete": _delete,
        "conversation.item.retrieve": _retrieve, "conversation.item.truncate": _truncate,
        "response.create": _respond, "response.cancel": _cancel_response,
    }  # fmt: skip
