"""A run that is told to stop in its middle, as a cluster's scheduler does it."""

import os
import signal

from omni.train.engine import Trainer


def stopped_after(step: int | None, kind: type[Trainer] = Trainer) -> type[Trainer]:
    """A trainer whose process gets SIGTERM in optimizer step `step`, counted from 1; None: never."""

    class StoppedAfter(kind):  # type: ignore[misc, valid-type]
        def optimize(self, *args: object) -> None:
            super().optimize(*args)
            if self.step + 1 == step:
                os.kill(os.getpid(), signal.SIGTERM)

    return StoppedAfter
