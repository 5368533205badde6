"""Every byte that torch's CPU allocator gives out, in time: what is held at a moment, and the most between two."""

import bisect
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed
from torch.profiler import ProfilerActivity, profile, record_function

MARK = "omni-mark:"


@dataclass(frozen=True)
class Moment:
    """A mark: its name, bytes held then, and the most held since the mark before."""

    name: str
    held: int
    peak: int


def freed_here() -> None:
    """Make collectives wait for their result, and a moment more with it in hand, in which gloo's threads let go of what
    they sent, copies of it included: so this thread is the last to hold it, and the one to free it."""
    for name in ("all_reduce", "reduce", "broadcast", "all_gather_into_tensor", "reduce_scatter_tensor"):
        setattr(torch.distributed, name, _late(getattr(torch.distributed, name)))


def _late(collective: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, async_op: bool = False, **words: Any) -> Any:
        work = collective(*args, async_op=True, **words)
        if work is not None:                                            # else this process is not of the group
            work.wait()
            time.sleep(0.01)
        return work if async_op else None

    return called


class Allocations(AbstractContextManager["Allocations"]):
    """Record allocations of this process from here on; `mark` names moments, and `moments` has them afterwards.

    The profiler sees temporaries inside kernels as well as tensors. It does not see what another thread frees: such
    memory counts as free when its place is given out again (see `freed_here`).
    """

    def __init__(self) -> None:
        self.profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self.moments: list[Moment] = []

    def __enter__(self) -> "Allocations":
        self.profiler.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.profiler.__exit__(kind, error, trace)
        if error is None:
            with tempfile.TemporaryDirectory(prefix="omni-memory-") as folder:
                path = Path(folder) / "trace.json"
                self.profiler.export_chrome_trace(str(path))
                self.moments = _moments(json.loads(path.read_text(encoding="utf-8"))["traceEvents"])

    @staticmethod
    def mark(name: str) -> None:
        with record_function(MARK + name):
            pass


def _moments(events: list[dict[str, Any]]) -> list[Moment]:
    found: list[Moment] = []
    held, most = _Held(), 0
    for event in sorted((event for event in events if "ts" in event), key=lambda event: event["ts"]):
        name = event.get("name", "")
        if name == "[memory]" and event["args"]["Device Type"] == 0:
            held.change(event["args"]["Addr"], event["args"]["Bytes"])
            most = max(most, held.total)
        elif name.startswith(MARK) and event["ph"] == "X":
            found.append(Moment(name.removeprefix(MARK), held.total, most))
            most = held.total
    return found


class _Held:
    """Blocks that are given out, by their start."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.sizes: dict[int, int] = {}
        self.total = 0

    def change(self, start: int, size: int) -> None:
        """A block of `size` bytes given out, or, where it is negative, given back."""
        if size < 0:
            return self._drop(start)
        at = max(0, bisect.bisect_right(self.starts, start) - 1)
        while at < len(self.starts) and self.starts[at] < start + size:  # what lay here has been freed unseen
            if self.starts[at] + self.sizes[self.starts[at]] > start:
                self._drop(self.starts[at])
            else:
                at += 1
        bisect.insort(self.starts, start)
        self.sizes[start] = size
        self.total += size

    def _drop(self, start: int) -> None:
        if start in self.sizes:                                         # else from before the recording
            self.total -= self.sizes.pop(start)
            del self.starts[bisect.bisect_left(self.starts, start)]


def bytes_of_tensors(tensors: Any) -> int:
    """Bytes of the different storages behind tensors."""
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors if one is not None}
    return sum(storages.values())


def state_tensors(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """The tensors that an optimizer keeps between steps."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
