"""One response: the pieces that the model hands over, as the events that clients expect, in their order."""

import time
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from omni.live.engine import messages
from omni.live.guard import Aside, Guard, Watch, at_once
from omni.live.hearing.pcm import RATES, Resampler, Wave, to_base64
from omni.live.protocol import items, tools
from omni.live.protocol.events import Event, fresh, server, usage
from omni.live.protocol.history import History
from omni.live.protocol.settings import Settings

QUIET = 10 ** (-50 / 20)                                                # below it nobody hears that an answer has begun
KEPT = 0.005                                                            # seconds kept before its first sound
LONGEST_SILENCE = 1.0                                                   # seconds cut from the beginning at most
UNCLEARED = 0.5                                                         # seconds heard before the question is looked at


class Response:
    """Draft, then begun, then done. `item` is the id of what it says in the conversation, None for out of band.

    Its pieces are held until its guard has looked at them, and sent once it has begun. Of a draft, which may never be
    heard, the guard looks at the text alone: that takes longest, and is over when the user has ended.

    cleared: whether the guards know what it answers. Until then `ahead` seconds of its sound are sent at most, so that
    an answer to what was spoken need not wait, and nothing of a written one.
    """

    def __init__(
        self, settings: Settings, model_rate: int, guard: Guard | None, aside: Aside,
        went_on: Callable[["Response", str | None], None], in_conversation: bool = True, metadata: Any = None,
        cause: str | None = None,
    ) -> None:  # fmt: skip
        """aside: where its guard works; went_on: told whenever more of it was sent, or why the guard stops it; cause:
        id of the client's event that asked for it.
        """
        self.id, self.item = fresh("resp"), fresh("item")
        self.settings, self.in_conversation, self.metadata, self.cause = settings, in_conversation, metadata, cause
        self.speaks, self.encoding = settings.speaks, settings.output_format
        self.begun = self.done = False
        self.cleared, self.ahead = True, UNCLEARED
        self.status = "in_progress"
        self.text = ""
        self.sent = 0.0                                                 # seconds of audio sent
        self.skipped = 0.0                                              # seconds of silence cut from the beginning
        self.first_audio: float | None = None                           # when the first was sent, time.monotonic()
        self.truncated: float | None = None                             # seconds that the conversation has, if not all
        self.kept: str | None = None                                    # the text that it has, if not all
        self.usage: Event | None = None
        self.output: list[Event] = []
        self._watch, self._rate = Watch(guard, model_rate), model_rate
        self._resampler = Resampler(model_rate, RATES[self.encoding])
        self._opened = False
        self._calls = tools.Calls(tools.offered(settings.session))
        self._aside, self._went_on = at_once if guard is None else aside, went_on
        self._held: list[messages.Said] = []                            # what the guard has not looked at
        self._passed: deque[messages.Said] = deque()                    # what it has, and is not sent yet
        self._looking = self._stood = False                             # whether it is at work; knows the text as whole
        self._reason: str | None = None                                 # why it stops the answer
        self._quiet: list[Wave] = []                                    # silence that nothing followed yet
        self._made: list[Event] = []                                    # calls, once all was said
        self._final: messages.Ended | None = None
        self._heard: dict[str, int] | None = None                       # codes of the prompt by modality, once begun
        self._said: Counter[str] = Counter()                            # and of the answer as far as it was made

    @property
    def restated(self) -> list[tuple[str, str]]:
        """An answer with calls as the model should remember it: ids of its items and what each says, without sound."""
        if not self.in_conversation or not self._made:
            return []
        calls = [item for item in self.output if item["type"] == "function_call"]
        said = [(self.item, self.text)] if self._opened and not self.deleted else []
        return said + [(item["id"], tools.written(item["name"], item["arguments"])) for item in calls]

    @property
    def held(self) -> float:
        """Seconds that the conversation may hold: those sent, but what is known to be unheard stays so."""
        return self.sent if self.truncated is None else self.truncated

    @property
    def unsent(self) -> bool:
        """Whether the model has said more than the client was told."""
        return self._looking or bool(self._held or self._passed)

    @property
    def deleted(self) -> bool:
        """Whether the client has deleted its item while it was being given."""
        return self._opened and self.in_conversation and self.item not in self._history

    def begin(self, send: Callable[[Event], None], history: History) -> None:
        """It is the answer now: tell so, and then what was held back. history: where its items are put."""
        self.begun, self._send, self._history = True, send, history
        send(server("response.created", response=self.as_event()))
        self._release()
        if self._reason is not None:
            self._went_on(self, self._reason)
        self._look()

    def clear(self) -> None:
        """The guards have nothing against what it answers."""
        self.cleared = True
        self._release()
        self._look()

    def heard_all(self, began: messages.Began) -> None:
        """The model has heard what it answers, and begins."""
        self._heard = began.heard

    def say(self, said: messages.Said) -> None:
        """One more piece."""
        if not self.done:
            self._said["text" if said.text is not None else "audio"] += said.codes
            self._held.append(said)
            self._look()

    def end(self, ended: messages.Ended) -> None:
        """The model has nothing more to say."""
        self._final = ended
        self._look()

    def finish(self, status: str, reason: str | None = None, error: Event | None = None) -> None:
        """Close what is open and tell how it ended: completed, cancelled, incomplete or failed."""
        if self.done:
            return
        self.done, self.status = True, status
        self._held, self._passed = [], deque()
        if not self.begun:
            return
        if self.usage is None and self._heard is not None:              # it was stopped on the way
            self.usage = usage(self._heard, self._said)
        if self._opened:
            self._close(status)
        for item in self._made:
            self._call(item)
        details = {"type": status, "reason": reason, "error": error}
        self._send(server("response.done", response={**self.as_event(), "status_details": details}))

    def heard(self, now: float) -> float:
        """Seconds that the user can have heard by now, who began to listen when the first was sent."""
        if self.first_audio is None:
            return 0.0
        return min(self.held, now - self.first_audio)

    def as_event(self) -> Event:
        """The protocol's response object."""
        session = self.settings.session
        return {
            "id": self.id, "object": "realtime.response", "status": self.status, "status_details": None,
            "output": self.output, "conversation_id": "conv_1" if self.in_conversation else None,
            "output_modalities": session["output_modalities"], "audio": {"output": session["audio"]["output"]},
            "max_output_tokens": session["max_output_tokens"], "metadata": self.metadata, "usage": self.usage,
        }  # fmt: skip

    # ---- what the guard lets through

    def _look(self) -> None:
        """Have the guard look at what is held; at last at the whole."""
        if self.done or self._looking or self._reason is not None:
            return
        if count := self._next():
            pieces, self._held, self._looking = self._held[:count], self._held[count:], True
            self._aside(partial(self._watch.look, pieces), partial(self._looked, pieces))
        elif self._held and not self._stood:
            self._stood = self._looking = True
            self._aside(self._watch.stands, partial(self._looked, []))
        elif self.begun and self._final is not None and self.cleared:
            self.usage, self._looking = usage(self._final.heard, self._final.said), True
            self._aside(self._watch.end, partial(self._looked_through, self._final))

    def _next(self) -> int:
        """How many of the pieces that are held it looks at next: of a draft its text up to the first sound, then up to
        that sound, which does not wait for the others, then up to the end of a sentence's sound, which does not wait
        for more text.
        """
        sounds = (number for number, said in enumerate(self._held) if said.audio is not None)
        first = next(sounds, len(self._held))
        if not self.begun:
            return first
        if self.first_audio is None:
            return min(first + 1, len(self._held))
        texts = (number for number, said in enumerate(self._held) if number > first and said.text is not None)
        return next(texts, len(self._held))

    def _looked(self, pieces: list[messages.Said], found: tuple[int, str | None]) -> None:
        """It has looked at these: so many may be sent, and why the answer must stop there, if it must."""
        self._looking = False
        if self.done:                                                   # stopped meanwhile
            return
        count, self._reason = found
        self._passed += pieces[:count]
        if self.begun:
            self._release()
            if self._reason is not None:
                self._went_on(self, self._reason)
        self._look()

    def _looked_through(self, final: messages.Ended, reason: str | None) -> None:
        """It has looked at all of it."""
        self._looking = False
        if self.done:
            return
        if reason is None:
            self._finish_whole(final)
        self._went_on(self, reason)

    def _release(self) -> None:
        """Send what may be sent."""
        while self._passed and (self.cleared or (self.speaks and self.sent < self.ahead)):
            said = self._passed.popleft()
            if said.text is not None:
                self._text(self._calls.feed(said.text))
            if said.audio is not None and not self._calls.begun:        # nobody wants to hear how a call is written
                self._audio(said.audio)
        self._went_on(self, None)

    def _finish_whole(self, final: messages.Ended) -> None:
        if self.speaks and self._opened:
            self._deliver(self._resampler.finish())
        self.kept = final.kept
        rest, self._made = self._calls.finish()
        self._text(rest)
        cut = final.cut and not self._made                              # a call that can be read is whole
        self.finish("incomplete" if cut else "completed", "max_output_tokens" if cut else None)

    # ---- what is sent

    def _text(self, text: str) -> None:
        if not text:
            return
        self.text += text
        self._open()
        kind = "response.output_audio_transcript.delta" if self.speaks else "response.output_text.delta"
        self._send(server(kind, **self._place(), delta=text))

    def _audio(self, wave: Wave) -> None:
        if self.first_audio is None:
            self._quiet.append(wave)
            quiet = np.concatenate(self._quiet)
            loud = np.flatnonzero(np.abs(quiet) > QUIET)
            if not len(loud):
                longest = int(LONGEST_SILENCE * self._rate)
                self.skipped += max(0, len(quiet) - longest) / self._rate
                self._quiet = [quiet[-longest:]]
                return
            start = max(0, loud[0] - int(KEPT * self._rate))
            self.skipped += start / self._rate
            wave, self._quiet = quiet[start:], []
            self.first_audio = time.monotonic()
        self._deliver(self._resampler(wave))

    def _deliver(self, wave: Wave) -> None:
        if len(wave):
            self._open()
            self.sent += len(wave) / RATES[self.encoding]
            self._send(server("response.output_audio.delta", **self._place(), delta=to_base64(wave, self.encoding)))

    def _place(self) -> Event:
        return {"response_id": self.id, "item_id": self.item, "output_index": 0, "content_index": 0}

    def _open(self) -> None:
        if self._opened:
            return
        self._opened = True
        item = items.assistant(self.item, "in_progress", [])
        self._send(server("response.output_item.added", response_id=self.id, output_index=0, item=item))
        if self.in_conversation:
            self._send(server("conversation.item.added", previous_item_id=self._history.put(item), item=item))
        part = {"type": "audio", "transcript": ""} if self.speaks else {"type": "text", "text": ""}
        self._send(server("response.content_part.added", **self._place(), part=part))

    def _close(self, status: str) -> None:
        if self.speaks:
            self._send(server("response.output_audio.done", **self._place()))
            self._send(server("response.output_audio_transcript.done", **self._place(), transcript=self.text))
            part = {"type": "audio", "transcript": self.text}
            content = [{"type": "output_audio", "transcript": self.text}]
        else:
            self._send(server("response.output_text.done", **self._place(), text=self.text))
            part = {"type": "text", "text": self.text}
            content = [{"type": "output_text", "text": self.text}]
        self._send(server("response.content_part.done", **self._place(), part=part))
        item = items.assistant(self.item, "completed" if status == "completed" else "incomplete", content)
        self._done(item, self._held_of(content))

    def _held_of(self, content: list[Event]) -> list[Event]:
        """What the conversation holds of this: less than was said where the sound was cut, or not heard."""
        if self.truncated is not None:
            return items.unwritten()
        return content if self.kept is None else [{**content[0], "transcript": self.kept}]

    def _call(self, item: Event) -> None:
        """A call of a tool: an item of its own kind."""
        if not self.output:
            item = {**item, "id": self.item}                            # the conversation has a place for it
        index = len(self.output)
        opened = {**item, "arguments": "", "status": "in_progress"}
        self._send(server("response.output_item.added", response_id=self.id, output_index=index, item=opened))
        if self.in_conversation:
            self._send(server("conversation.item.added", previous_item_id=self._history.put(opened), item=opened))
        place = {"response_id": self.id, "item_id": item["id"], "output_index": index, "call_id": item["call_id"]}
        self._send(server("response.function_call_arguments.delta", **place, delta=item["arguments"]))
        named = {**place, "name": item["name"], "arguments": item["arguments"]}
        self._send(server("response.function_call_arguments.done", **named))
        self._done(item)

    def _done(self, item: Event, held: list[Event] | None = None) -> None:
        """held: the content that the conversation has of it, if not its own"""
        index = len(self.output)
        self.output = [*self.output, item]
        if self.in_conversation and item["id"] in self._history:        # it is not put back once it was deleted
            kept = item if held is None else {**item, "content": held}
            self._send(server("conversation.item.done", previous_item_id=self._history.put(kept), item=kept))
        self._send(server("response.output_item.done", response_id=self.id, output_index=index, item=item))
