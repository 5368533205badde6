"""The memory of all pasts of a process: how much there is, and who gets some."""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from omni.decode.pipeline import Pipeline
from omni.decode.stream import Stream
from omni.decode.together import Together
from omni.errors import InputError
from omni.model.cache import Cache

SHARE = 0.5                                                             # of what is free when a process begins
GROUP = Path("/sys/fs/cgroup")                                          # what holds a container to its limit, if any
MIB = 1 << 20


class FullMemoryError(InputError):
    """No memory is left for another answer now; there will be when others are over."""


class Memory:
    """At most `most` bytes for all streams, of which `held` tells those that there are.

    A conversation's own past was granted with its place at the door, and counts; all else is refused when no more is
    left.
    """

    def __init__(self, pipeline: Pipeline, held: Callable[[], Iterable[Stream]], most: int | None = None) -> None:
        """most: by default `share` of one process"""
        self._pipeline, self._held = pipeline, held
        slots = pipeline.step.nbytes if isinstance(pipeline.step, Together) else 0  # nobody else can have
        self.most = slots + (share(pipeline.model.table.device) if most is None else most)

    def own(self) -> Stream:
        """The past of a conversation, as long as the model's can be."""
        return Stream(self._pipeline.model, step=self._pipeline.step)

    def aside(self, steps: int) -> Stream:
        """One of so many steps, or the most that the model has. Raises FullMemoryError when none is left for it."""
        model, used = self._pipeline.model, sum(stream.cache.nbytes for stream in self._held())
        steps = min(steps, model.config.max_steps)
        if used + Cache.size(model.config, steps, model.table) > self.most:
            raise FullMemoryError(
                f"the model has no memory left for another answer ({used // MIB} of {self.most // MIB} MiB are in use);"
                " ask again when others are over"
            )
        return Stream(model, max_steps=steps, step=self._pipeline.step)


def share(device: torch.device, processes: int = 1) -> int:
    """Bytes for all pasts of one of so many processes that begin together and have the same memory."""
    return int(SHARE * free(device) / processes)


def free(device: torch.device) -> int:
    """Bytes that are free on a device: on a CPU of the machine's memory, or of what this container may still take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, ValueError):
        (line,) = (line for line in Path("/proc/meminfo").read_text("utf-8").splitlines() if "MemAvailable" in line)
        found.append(int(line.split()[1]) << 10)
    with contextlib.suppress(OSError, ValueError):                      # "max" where there is no limit
        limit, used = (int((GROUP / f"memory.{name}").read_text("utf-8")) for name in ("max", "current"))
        found.append(max(0, limit - used + _cached()))
    return min(found)


def _cached() -> int:
    """Bytes of files that a container's memory holds as long as nothing else needs it. Raises OSError, ValueError."""
    lines = (line.split() for line in (GROUP / "memory.stat").read_text("utf-8").splitlines())
    return sum(int(size) for name, size in lines if name in ("inactive_file", "active_file"))
