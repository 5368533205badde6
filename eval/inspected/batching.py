"""One thread that answers requests as they come: those that are asked alike side by side, the others one by one.

Inspect asks from its event loop, which must not wait for a matrix product. What is drawn at random is answered alone,
from a seed of its own, so that an answer does not depend on who else was asking.
"""

import queue
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Given = TypeVar("Given")

PATIENCE = 0.02                                                         # seconds that a batch waits for company


@dataclass
class _Request(Generic[Asked, Given]):
    key: Hashable
    asked: Asked
    future: "Future[Given]" = field(default_factory=Future)


class Batcher(Generic[Asked, Given]):
    """Requests of one key are answered together, at most `rows` at a time, by `answer(key, asked)` in the thread."""

    def __init__(self, answer: Callable[[Hashable, Sequence[Asked]], Sequence[Given]], rows: int) -> None:
        self._answer, self._rows = answer, rows
        self._queue: queue.Queue[_Request[Asked, Given] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def submit(self, key: Hashable, asked: Asked) -> "Future[Given]":
        """The answer to come. An exception of `answer` belongs to every request of its batch."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._serve, daemon=True, name="omni-eval")
            self._thread.start()
        request = _Request[Asked, Given](key, asked)
        self._queue.put(request)
        return request.future

    def close(self) -> None:
        """End the thread once it has answered what was asked."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _serve(self) -> None:
        waiting: list[_Request[Asked, Given]] = []
        while True:
            if not waiting:
                first = self._queue.get()
                if first is None:
                    return
                waiting.append(first)
            ending = self._gather(waiting)
            key = waiting[0].key
            batch = [one for one in waiting if one.key == key][: self._rows]
            waiting = [one for one in waiting if one not in batch]
            self._resolve(key, batch)
            if ending:
                self._queue.put(None)

    def _gather(self, waiting: list[_Request[Asked, Given]]) -> bool:
        """Take what has come, or comes within a moment of the last; whether the end has come too."""
        while sum(one.key == waiting[0].key for one in waiting) < self._rows:
            try:
                request = self._queue.get(timeout=PATIENCE)
            except queue.Empty:
                return False
            if request is None:
                return True
            waiting.append(request)
        return False

    def _resolve(self, key: Hashable, batch: list[_Request[Asked, Given]]) -> None:
        live = [one for one in batch if one.future.set_running_or_notify_cancel()]
        if not live:
            return
        try:
            given = self._answer(key, [one.asked for one in live])
        except Exception as error:
            for one in live:
                one.future.set_exception(error)
            return
        for one, answer in zip(live, given, strict=True):
            one.future.set_result(answer)
