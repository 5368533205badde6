"""The assistant's side of a session: which responses there are, which one speaks, how one is begun and stopped."""

import time
from collections.abc import Callable
from typing import Any

from omni.decode.parts import Part, Text
from omni.live.asked import Asked
from omni.live.engine import messages
from omni.live.engine.pool import Line
from omni.live.guard import Aside, Guards
from omni.live.protocol import events, items, tools
from omni.live.protocol.events import Event, RefusedError, server
from omni.live.protocol.history import History, unknown
from omni.live.protocol.response import UNCLEARED, Response
from omni.live.protocol.settings import Settings

FULL = "the model has no memory left to write down what was said; ask again when others are over"
MOST_APART = 4                                                          # responses out of band at once
Send = Callable[[Event], None]
Limits = Callable[[], list[Event]]


class Speaking:
    """Responses of one session.

    current: the one that speaks in the conversation; last: the latest that did; draft: begun in a pause of the user's,
    told to nobody yet; voiced: whether any was heard; finished: when `last` was over, time.monotonic(), None once the
    user had a turn since; asked: what they answer, as far as no guard has looked at it
    """

    def __init__(
        self, line: Line, send: Send, history: History, guards: Guards | None, aside: Aside, limits: Limits | None
    ) -> None:
        """aside: where the guards work"""
        self.current: Response | None = None
        self.last: Response | None = None
        self.draft: Response | None = None
        self.voiced = False
        self.finished: float | None = None
        self._line, self._send, self._history, self._limits = line, send, history, limits
        self._guards, self._aside = guards, aside
        self._answers = guards.answers() if guards else None            # of the conversation, one after the other
        self.asked = Asked(line, guards, aside, self._judged)
        self._responses: dict[str, Response] = {}                       # those that are not over
        self._spoken: dict[str, tuple[float, float]] = {}               # seconds sent and skipped of earlier ones
        self._silent: set[str] = set()                                  # items that the model remembers without sound

    def find(self, name: str | None) -> Response | None:
        """A response that is not over, by its id."""
        return self._responses.get(name or "")

    def ask(
        self, settings: Settings, metadata: Any = None, said: tuple[Part | str, ...] | None = None, apart: bool = False,
        cause: str | None = None,
    ) -> None:  # fmt: skip
        """Begin a response to the conversation, or to what is `said` instead; apart: out of band; cause: id of the
        client's event that asks for it.

        Raises RefusedError where as many are out of band as there may be.
        """
        if apart and sum(not one.in_conversation for one in self._responses.values()) >= MOST_APART:
            message = f"{MOST_APART} responses out of band are active; wait until one is done, or cancel one"
            raise RefusedError(message, "too_many_active_responses")
        response = self._new(settings, metadata, not apart, cause)
        self._order(response, None, said)
        self.begin(response, said)

    def draw_up(self, settings: Settings, turn: str) -> None:
        """Begin an answer to what is being said, which will be the item `turn`, in case that was all."""
        self.draft = self._new(settings, None, True)
        self._order(self.draft, turn, None)

    def drop_draft(self) -> None:
        """Forget an answer that nobody was told of."""
        if self.draft is not None:
            self._line.tell(messages.Stop(self._line.name, self.draft.id))
            self._responses.pop(self.draft.id, None)
            self.draft = None

    def keep_draft(self) -> Response | None:
        """The draft is the answer; `begin` it once the client knows what it answers. None where there is none."""
        draft, self.draft = self.draft, None
        if draft is not None:
            self._line.tell(messages.Keep(self._line.name, draft.id))
        return draft

    def begin(self, response: Response, said: tuple[Part | str, ...] | None = None) -> None:
        """Tell the client of a response to the conversation, or to what is `said` instead."""
        if response.in_conversation:
            self.current = response
        response.cleared = not self.asked.guarded
        self.asked.again(response.settings.language)
        response.ahead = UNCLEARED if self.asked.unwritten else 0.0
        response.begin(self._send, self._history)
        if self._limits is not None:
            self._send(server("rate_limits.updated", rate_limits=self._limits()))
        if self.asked.guarded:
            self.asked.look(response.id, said)
            self._clear()

    def judge(self) -> None:
        """More is written down of what was asked: have a guard look at it once that is all, where answers wait."""
        if not self._waiting():
            return
        for response in self._waiting() if self.asked.postponed else ():
            self._line.tell(messages.Stop(self._line.name, response.id))
            self._forget_unsent(response)
            self._send(events.error(FULL, "server_full", cause=response.cause, kind="server_error"))
            self.failed(response, "server_full", "server_error")
        self.asked.look_on()
        self._clear()

    def failed(self, response: Response, code: str, kind: str) -> None:
        """The model cannot go on with it."""
        response.finish("failed", error={"type": kind, "code": code})
        self._over(response)

    def fail_all(self) -> None:
        """The model is gone."""
        for response in list(self._responses.values()):
            self.failed(response, "model_died", "server_error")

    def cancel(self, response: Response, reason: str) -> None:
        """Stop it: client_cancelled or turn_detected."""
        self._line.tell(messages.Stop(self._line.name, response.id))
        if response.unsent:
            self._forget_unsent(response)
        response.finish("cancelled", reason)
        self._over(response)

    def interrupt(self) -> None:
        """The user speaks: stop the answer, and let the conversation hold what can have been heard of it."""
        now = time.monotonic()
        stopped, response = self.current, self.current or self.last
        if stopped is not None:
            self.cancel(stopped, "turn_detected")
        if response is None or not response.speaks:
            return
        heard = response.heard(now)
        if stopped is not None or heard < response.sent:                # one that was stopped may be made beyond `sent`
            self.shorten(response.item, heard, response.skipped)

    def truncate(self, item: str, seconds: float) -> None:
        """The user heard only so much of a spoken answer. Raises RefusedError where it is none, or not so long."""
        if item not in self._history:
            raise unknown(item)
        spoken = self.spoken(item)
        if spoken is None:
            raise RefusedError("only spoken answers can be truncated", param="item_id")
        sent, skipped = spoken
        if not 0 <= seconds <= sent + 0.001:
            message = f"audio_end_ms is {1000 * seconds:.0f}, but the answer has {1000 * sent:.0f} ms"
            raise RefusedError(message, param="audio_end_ms")
        self.shorten(item, seconds, skipped)

    def shorten(self, item: str, seconds: float, skipped: float) -> None:
        """Let the conversation hold only this much of a spoken answer, and no transcript of the rest.

        skipped: seconds of it that were not sent, before the first that were
        """
        self._tell_heard(item, seconds, skipped)
        for response in (self.current, self.last):
            if response is not None and response.item == item:
                response.truncated = min(seconds, response.held)
        if item in self._history:
            self._history[item]["content"] = items.unwritten()

    def spoken(self, item: str) -> tuple[float, float] | None:
        """Seconds of a spoken answer that were sent, and that were skipped before them; None for any other item."""
        for response in (self.current, self.last):
            if response is not None and response.item == item and response.speaks and not response.restated:
                return response.sent, response.skipped
        return self._spoken.get(item)

    def quiet_for(self) -> float | None:
        """Seconds since the user can have heard the end of the latest answer; None before one, during one and once the
        user had a turn since, be it silence: whoever has been spoken to is not spoken to again before an answer.
        """
        if self.current is not None or self.last is None or self.finished is None:
            return None
        return time.monotonic() - max(self.finished, (self.last.first_audio or 0.0) + self.last.sent)

    def _new(
        self, settings: Settings, metadata: Any, in_conversation: bool, cause: str | None = None
    ) -> Response:  # fmt: skip
        guards = self._answers if in_conversation or self._guards is None else self._guards.answer
        guard, rate = guards(settings.voice) if guards else None, self._line.facts.sample_rate
        response = Response(settings, rate, guard, self._aside, self._went_on, in_conversation, metadata, cause)
        self._responses[response.id] = response
        return response

    def _order(self, response: Response, draft: str | None, said: tuple[Part | str, ...] | None) -> None:
        settings = response.settings
        item = response.item if response.in_conversation else None
        mute = tools.OPENING if tools.offered(settings.session) else ""
        order = messages.Answer(self._line.name, response.id, settings.ask, item, draft, said, settings.system, mute)
        self._line.tell(order)

    def _went_on(self, response: Response, reason: str | None) -> None:
        """More of it was sent, or a guard has a reason to stop it."""
        self.voiced |= response.begun and response.sent > 0
        if reason is None:
            self._over(response)
        else:
            self._filter(response, reason)

    def _forget_unsent(self, response: Response) -> None:
        """Of an answer that stops under its guard's eyes the model remembers no more than was sent."""
        if not response.in_conversation or response.deleted:
            return
        if response.speaks and response.sent:
            self._tell_heard(response.item, response.held, response.skipped)
        else:
            said = (Text(response.text, "assistant"),) if response.text and not response.speaks else ()
            self._line.tell(messages.Put(self._line.name, response.item, said))

    def _tell_heard(self, item: str, seconds: float, skipped: float) -> None:
        if item in self._silent:
            return
        self._line.tell(messages.Truncate(self._line.name, item, seconds + skipped if seconds else 0.0))

    def _waiting(self) -> list[Response]:
        """Those that the client knows of, and no guard what they answer."""
        return [one for one in self._responses.values() if one.begun and not one.cleared]

    def _judged(self, owner: str | None, reason: str | None) -> None:
        """A guard has looked at what a response, or (None) the conversation asks, and why that is not answered."""
        for response in self._waiting():
            if reason is not None and owner in (None, response.id):
                self._filter(response, reason)
                if response.in_conversation:
                    self._line.tell(messages.Put(self._line.name, response.item, ()))
        self._clear()

    def _clear(self) -> None:
        """Let those go on that wait for no guard any more."""
        for response in self._waiting():
            if not self.asked.waits(response.id):
                response.clear()

    def _filter(self, response: Response, reason: str) -> None:
        self._line.tell(messages.Stop(self._line.name, response.id))
        self._forget_unsent(response)
        response.finish("incomplete", "content_filter")
        self._over(response)
        self._send(events.error(reason, "content_filter", cause=response.cause, kind="guard"))

    def _over(self, response: Response) -> None:
        """Take note when a response has ended."""
        if not response.done:
            return
        self._responses.pop(response.id, None)
        behind = None                                                   # the first takes the place of all that was said
        for item, text in response.restated:
            self._line.tell(messages.Put(self._line.name, item, (Text(text, "assistant"),), behind))
            behind = item
            self._silent = {item, *(one for one in self._silent if one in self._history)}
        if response.in_conversation and response.sent:
            kept = {item: length for item, length in self._spoken.items() if item in self._history}
            self._spoken = {**kept, response.item: (response.sent, response.skipped)}
        if response is self.current:
            self.current, self.last, self.finished = None, response, time.monotonic()
