"""One response: the pieces that the model hands over, as the events that clients expect, in their order."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from omni.live.engine import messages
from omni.live.guard import Guard, Watch
from omni.live.hearing.pcm import RATES, Resampler, Wave, to_base64
from omni.live.protocol import items, tools
from omni.live.protocol.events import Event, fresh, server
from omni.live.protocol.settings import Settings

QUIET = 10 ** (-50 / 20)                                                # below it nobody hears that an answer has begun
KEPT = 0.01                                                             # seconds kept before its first sound
LONGEST_SILENCE = 1.0                                                   # seconds cut from the beginning at most
UNCLEARED = 0.5                                                         # seconds heard before the question is looked at


class Response:
    """Draft, then begun, then done. `item` is the id of what it says in the conversation, None for out of band.

    cleared: whether the guards know what it answers. Until then some sound of it is sent, so that an answer to what was
    spoken need not wait, and nothing of a written one.
    """

    def __init__(
        self, settings: Settings, model_rate: int, guard: Guard | None, in_conversation: bool = True,
        metadata: Any = None,
    ) -> None:  # fmt: skip
        self.id, self.item = fresh("resp"), fresh("item")
        self.settings, self.in_conversation, self.metadata = settings, in_conversation, metadata
        self.speaks, self.encoding = settings.speaks, settings.output_format
        self.begun = self.done = False
        self.cleared = True
        self.status = "in_progress"
        self.text = ""
        self.sent = 0.0                                                 # seconds of audio sent
        self.skipped = 0.0                                              # seconds of silence cut from the beginning
        self.first_audio: float | None = None                           # when the first was sent, time.monotonic()
        self.usage: Event | None = None
        self.output: list[Event] = []
        self._watch, self._rate = Watch(guard, model_rate), model_rate
        self._resampler = Resampler(model_rate, RATES[self.encoding])
        self._opened = False
        self._calls = tools.Calls(tools.offered(settings.session))
        self._held: list[messages.Said] = []                            # of a draft
        self._quiet: list[Wave] = []                                    # silence that nothing followed yet
        self._made: list[Event] = []                                    # calls, once all was said
        self._final: messages.Ended | None = None

    @property
    def restated(self) -> list[tuple[str, str]]:
        """An answer with calls as the model should remember it: ids of its items and what each says, without sound."""
        if not self.in_conversation or not self._made:
            return []
        calls = [item for item in self.output if item["type"] == "function_call"]
        said = [(self.item, self.text)] if self._opened else []
        return said + [(item["id"], tools.written(item["name"], item["arguments"])) for item in calls]

    @property
    def complete(self) -> bool:
        """Whether the model has handed over all of it."""
        return self._final is not None

    def begin(self, send: Callable[[Event], None], keep: Callable[[Event], str | None]) -> str | None:
        """It is the answer now: tell so, with what was held back. Returns why the guard stops it, if it does.

        keep: puts its item into the conversation, as often as the item changes; returns the id of the one before it.
        """
        self.begun, self._send, self._keep = True, send, keep
        send(server("response.created", response=self.as_event()))
        return self._release()

    def clear(self) -> str | None:
        """The guards have nothing against what it answers. Returns why they stop it nevertheless, if they do."""
        self.cleared = True
        return self._release()

    def say(self, said: messages.Said) -> str | None:
        """One more piece. Returns why the guard stops it, if it does."""
        if self.done:
            return None
        if not self.begun or self._waits:
            self._held.append(said)
            return None
        reason = self._watch.look(said)
        if reason is not None:
            return reason
        if said.text is not None:
            self._text(self._calls.feed(said.text))
        if said.audio is not None and not self._calls.begun:            # nobody wants to hear how a call is written
            self._audio(said.audio)
        return None

    def end(self, ended: messages.Ended) -> str | None:
        """The model has nothing more to say. Returns why the guard lets it not pass as whole, if so."""
        self._final = ended
        if not self.begun or self.done or not self.cleared:
            return None
        self.usage = usage(ended)
        if (reason := self._watch.end()) is not None:
            return reason
        if self.speaks and self._opened:
            self._flush()
        rest, self._made = self._calls.finish()
        self._text(rest)
        cut = ended.cut and not self._made                              # a call that can be read is whole
        self.finish("incomplete" if cut else "completed", "max_output_tokens" if cut else None)
        return None

    def finish(self, status: str, reason: str | None = None, error: Event | None = None) -> None:
        """Close what is open and tell how it ended: completed, cancelled, incomplete or failed."""
        if self.done:
            return
        self.done, self.status = True, status
        if not self.begun:
            return
        if self._opened:
            self._close(status)
        for item in self._made:
            self._call(item)
        details = {"type": status, "reason": reason, "error": error}
        self._send(server("response.done", response={**self.as_event(), "status_details": details}))

    def heard(self, now: float) -> float:
        """Seconds that the user can have heard by now, who began to listen when the first was sent."""
        return 0.0 if self.first_audio is None else min(self.sent, now - self.first_audio)

    def as_event(self) -> Event:
        """The protocol's response object."""
        session = self.settings.session
        return {
            "id": self.id, "object": "realtime.response", "status": self.status, "status_details": None,
            "output": self.output, "conversation_id": "conv_1" if self.in_conversation else None,
            "output_modalities": session["output_modalities"], "audio": {"output": session["audio"]["output"]},
            "max_output_tokens": session["max_output_tokens"], "metadata": self.metadata, "usage": self.usage,
        }  # fmt: skip

    # ---- what is sent

    @property
    def _waits(self) -> bool:
        return not self.cleared and (bool(self._held) or not self.speaks or self.sent >= UNCLEARED)

    def _release(self) -> str | None:
        """Say what was held back."""
        held, self._held = self._held, []
        for said in held:
            if (reason := self.say(said)) is not None:
                return reason
        return None if self._final is None else self.end(self._final)

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

    def _flush(self) -> None:
        self._deliver(self._resampler.finish())

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
            self._send(server("conversation.item.added", previous_item_id=self._keep(item), item=item))
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
        self._done(item)

    def _call(self, item: Event) -> None:
        """A call of a tool: an item of its own kind."""
        if not self.output:
            item = {**item, "id": self.item}                            # the conversation has a place for it
        index = len(self.output)
        opened = {**item, "arguments": "", "status": "in_progress"}
        self._send(server("response.output_item.added", response_id=self.id, output_index=index, item=opened))
        if self.in_conversation:
            self._send(server("conversation.item.added", previous_item_id=self._keep(opened), item=opened))
        place = {"response_id": self.id, "item_id": item["id"], "output_index": index, "call_id": item["call_id"]}
        self._send(server("response.function_call_arguments.delta", **place, delta=item["arguments"]))
        named = {**place, "name": item["name"], "arguments": item["arguments"]}
        self._send(server("response.function_call_arguments.done", **named))
        self._done(item)

    def _done(self, item: Event) -> None:
        index = len(self.output)
        self.output = [*self.output, item]
        if self.in_conversation:
            self._send(server("conversation.item.done", previous_item_id=self._keep(item), item=item))
        self._send(server("response.output_item.done", response_id=self.id, output_index=index, item=item))


def usage(ended: messages.Ended) -> Event:
    """The bill, in codes of each modality."""
    heard, said = ended.heard, ended.said
    names = ("text", "audio", "image")
    pictures = heard.get("image", 0) + heard.get("video", 0)
    given = {"text_tokens": heard.get("text", 0), "audio_tokens": heard.get("audio", 0), "image_tokens": pictures}
    taken = {f"{name}_tokens": said.get(name, 0) for name in names[:2]}
    total_in, total_out = sum(given.values()), sum(said.values())
    return {
        "total_tokens": total_in + total_out, "input_tokens": total_in, "output_tokens": total_out,
        "input_token_details": {**given, "cached_tokens": 0}, "output_token_details": taken,
    }  # fmt: skip
