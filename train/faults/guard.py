"""Steps that would hurt: a loss that is not a number, or far above what it was, is not learnt from.

The update is left out, the batch counted as consumed and its items written down. After some bad steps in a row the run
returns to its last checkpoint and goes on behind the bad batches (Chowdhery et al. 2022, section 5.1).
"""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

REMEMBERED = 64                                                         # losses that say what is usual
LEAST = 16                                                              # fewer say nothing
NARROWEST = 0.05                                                        # spread of usual losses, a share of their mean


class Guard:
    """Judges the loss of every global batch, alike on all ranks. Its memory is part of the saved state."""

    def __init__(self, spike: float, patience: int) -> None:
        """spike: standard deviations above the last good losses that are too many, or 0; patience: bad in a row"""
        self.spike, self.patience = spike, patience
        self.good: list[float] = []
        self.in_a_row = self.skipped = self.kind = 0

    def judge(self, loss: float, gradient_norm: float = 0.0, kind: int = 0) -> bool:
        """Whether a step with this loss and gradient may be applied. Losses of another kind say nothing about it: the
        next stage of a curriculum may be as hard as the last was easy.
        """
        if kind != self.kind:
            self.good, self.kind = [], kind
        if not math.isfinite(loss) or not math.isfinite(gradient_norm):
            return False
        if not self.spike or len(self.good) < LEAST:
            return True
        mean = statistics.fmean(self.good)                              # tasks may lie far apart: so does the spread
        return loss <= mean + self.spike * max(statistics.pstdev(self.good), NARROWEST * mean)

    def note(self, loss: float, applied: bool) -> None:
        """Remember what became of a step."""
        if applied:
            self.in_a_row = 0
            self.good = [*self.good[-REMEMBERED + 1 :], loss]
        else:
            self.in_a_row += 1
            self.skipped += 1

    @property
    def lost(self) -> bool:
        """Whether it is time to return to the last checkpoint."""
        return self.in_a_row >= self.patience

    def memory(self) -> list[float]:
        """What a resumed run must know to judge alike."""
        return [float(self.in_a_row), float(self.skipped), *self.good]

    def remember(self, memory: Sequence[float], kind: int = 0) -> None:
        """kind: of the losses in the memory, -1 where another recipe made them"""
        self.in_a_row, self.skipped, self.good = int(memory[0]), int(memory[1]), list(memory[2:])
        self.kind = kind


def write_down(run: Path, step: int, cursor: int, loss: float, items: Sequence[str]) -> None:
    """Add a batch that was not learnt from to RUN/skipped.jsonl."""
    record = {"step": step, "cursor": cursor, "loss": loss if math.isfinite(loss) else str(loss), "items": list(items)}
    with (run / "skipped.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
