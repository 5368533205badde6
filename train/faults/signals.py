"""Ctrl-C and SIGTERM as a wish to save and stop."""

import os
import signal
from types import FrameType


class StopSignals:
    """Turns the first Ctrl-C or SIGTERM into a wish to stop after the step; a second one acts at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.parent = os.getppid()

    def __enter__(self) -> "StopSignals":
        self.before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = number
        for each, handler in self.before.items():
            signal.signal(each, handler)

    @property
    def wish(self) -> bool:
        return self.received is not None or os.getppid() != self.parent  # a launcher that was killed cannot send any
