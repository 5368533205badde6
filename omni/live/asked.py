"""What users ask, under the guards that mind it."""

from collections.abc import Callable, Sequence
from functools import partial

from omni.decode.parts import Audio, Part, Text
from omni.live.engine import messages
from omni.live.engine.pool import Line
from omni.live.guard import Aside, Guards

UNWRITTEN = "a recording out of band is not written down, so it is not answered; add it to the conversation"


class Asked:
    """What the user of a session has asked and no guard has looked at yet, typed and spoken.

    The model loses what is refused, so that it is not answered later either; its items keep their places, empty.
    """

    def __init__(
        self, line: Line, guards: Guards | None, aside: Aside, judged: Callable[[str | None, str | None], None]
    ) -> None:
        """judged: told of every look whose question it was, a response's own or (None) the conversation's, and why that
        must not be answered, if so.
        """
        self._line, self._guards, self._aside, self._judged = line, guards, aside, judged
        self._texts: dict[str, str] = {}                                # by item
        self._unwritten: set[str] = set()                               # items of which something was spoken
        self._postponed: set[str] = set()                               # those that there was no memory to write down
        self._failed: str | None = None                                 # why one could not be written down
        self._looking: list[str | None] = []                            # whose questions are being looked at

    @property
    def guarded(self) -> bool:
        """Whether anybody minds."""
        return self._guards is not None and self._guards.question is not None

    @property
    def unwritten(self) -> bool:
        """Whether something is still to be written down."""
        return bool(self._unwritten)

    @property
    def postponed(self) -> bool:
        """Whether nobody can look at what was asked before there is memory to write it down: try `again`."""
        return bool(self._postponed) and not self._unwritten

    def waits(self, response: str) -> bool:
        """Whether a guard has still to look at something that this response may answer."""
        return self.unwritten or self.postponed or any(owner in (None, response) for owner in self._looking)

    def put(self, item: str, parts: Sequence[Part]) -> bool:
        """An item of the conversation. Returns whether its transcript is needed."""
        if self.guarded:
            self._texts[item] = typed(parts)
            self._unwritten |= {item} if any(isinstance(part, Audio) for part in parts) else set()
        return item in self._unwritten

    def spoke(self, item: str) -> bool:
        """The same of what was said into the microphone."""
        if self.guarded:
            self._texts[item] = ""
            self._unwritten.add(item)
        return self.guarded

    def wrote(self, message: messages.Transcribed) -> None:
        """What was spoken in an item is written down."""
        if message.item in self._unwritten:
            self._unwritten.discard(message.item)
            if message.full:
                self._postponed.add(message.item)
                return
            self._texts[message.item] += f"\n{message.text}"
            self._failed = message.failed or self._failed

    def again(self, language: str | None) -> None:
        """Have that written down for which there was no memory."""
        for item in self._postponed:
            self._line.tell(messages.Transcribe(self._line.name, item, language, soon=True))
        self._unwritten |= self._postponed
        self._postponed = set()

    def look(self, response: str, said: Sequence[Part | str] | None) -> None:
        """Have a guard look at what a response answers: the conversation, or what is `said` instead, where a str names
        an item.
        """
        if said is None or any(isinstance(part, str) for part in said):
            self.look_on()
        new = [part for part in said or () if not isinstance(part, str)]
        if any(isinstance(part, Audio) for part in new):
            self._examine(response, lambda: UNWRITTEN)
        elif new:
            self._ask(response, typed(new))

    def look_on(self) -> None:
        """Have one look at the conversation, as soon as all of it is written down."""
        if self._unwritten or self._postponed:
            return
        texts, self._texts = self._texts, {}
        failed, self._failed = self._failed, None
        if failed is not None:
            why = f"what was said could not be written down ({failed}), so it is not answered"
            self._examine(None, lambda: why, tuple(texts))
        else:
            self._ask(None, "\n".join(texts.values()).strip(), tuple(texts))

    def _ask(self, owner: str | None, text: str, items: Sequence[str] = ()) -> None:
        if text and self._guards is not None:
            self._examine(owner, partial(self._guards.refusal, text), items)

    def _examine(self, owner: str | None, work: Callable[[], str | None], items: Sequence[str] = ()) -> None:
        self._looking.append(owner)
        self._aside(work, partial(self._looked, owner, items))

    def _looked(self, owner: str | None, items: Sequence[str], reason: str | None) -> None:
        self._looking.remove(owner)
        for item in items if reason else ():
            self._line.tell(messages.Put(self._line.name, item, ()))
        self._judged(owner, reason)


def typed(parts: Sequence[Part]) -> str:
    """What of these parts the user has written."""
    return "\n".join(part.text for part in parts if isinstance(part, Text) and part.role == "user")
