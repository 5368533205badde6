"""Where the time of a step goes."""

import time

PARTS = ("data", "forward", "backward", "optimizer", "other")


class Stopwatch:
    """Seconds by part of the step; on a GPU a part ends when its kernels are launched."""

    def __init__(self) -> None:
        self.parts = dict.fromkeys(PARTS, 0.0)
        self.mark = time.perf_counter()

    def lap(self, part: str) -> None:
        """The time since the last lap belongs to `part`."""
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self.mark
        self.mark = now

    def take(self) -> dict[str, float]:
        """The times so far, which begin anew."""
        taken, self.parts = self.parts, dict.fromkeys(PARTS, 0.0)
        return taken
