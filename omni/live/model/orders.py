"""What the door says to one conversation, carried out in its order, and piece by piece where it takes long."""

from collections import deque
from collections.abc import Callable, Generator

import numpy as np

from omni.decode.parts import Part
from omni.live.engine import messages
from omni.live.engine.messages import Told
from omni.live.engine.wire import together

Doing = Generator[None, None, None]                                     # of one message; pauses where others may go


class Orders:
    """Messages that wait behind one that is still being carried out.

    do: begins to carry out a message; failed: told which could not be, and why

    size: bytes that wait, about
    """

    def __init__(self, do: Callable[[Told], Doing], failed: Callable[[Told, Exception], None]) -> None:
        self._do, self._failed = do, failed
        self._waiting: deque[Told] = deque()                            # the first may have begun
        self._doing: Doing | None = None
        self.size = 0

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def add(self, message: Told) -> None:
        """One more; what is heard in many small pieces meanwhile is heard in one."""
        last = [self._waiting.pop()] if self._waiting else []
        both = together([*last, message])
        self._waiting += both
        self.size += sum(map(_size, both)) - sum(map(_size, last))

    def go_on(self) -> bool:
        """Carry them out up to the next pause. Returns whether there is more to do."""
        while self._waiting:
            message = self._waiting[0]
            self._doing = self._doing or self._do(message)
            try:
                next(self._doing)
                return True
            except StopIteration:
                pass
            except Exception as error:
                self._failed(message, error)
            self._done()
        return False

    def forget(self, answer: str) -> None:
        """This answer is not wanted any more, and was not begun if its order is still here."""
        for message in [one for one in self._waiting if isinstance(one, messages.Answer) and one.answer == answer]:
            if message is self._waiting[0]:
                self._done()
            else:
                self._waiting.remove(message)
                self.size -= _size(message)

    def _done(self) -> None:
        if self._doing is not None:
            self._doing.close()
        self._doing = None
        self.size -= _size(self._waiting.popleft())


def _size(message: Told) -> int:
    """Bytes of its sound, pictures and texts."""
    if isinstance(message, messages.Hear):
        return message.samples.nbytes
    parts = message.parts if isinstance(message, messages.Put | messages.Answer) else None
    return sum(map(_size_of, parts or ())) + len(getattr(message, "system", ""))


def _size_of(part: Part | str) -> int:
    held = part if isinstance(part, str) else getattr(part, "text", getattr(part, "source", ""))
    return held.nbytes if isinstance(held, np.ndarray) else len(str(held))
