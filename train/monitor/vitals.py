"""What a run is like besides its losses: use of the machine, memory, and the mixture of data that it has seen."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omni.model.config import ModelConfig
from omni.train.data.loader import Dataset
from omni.train.data.order import Staged
from omni.train.plan.hardware import matmul_peak

GIB = 2**30
SAMPLE = 1 << 16                                                        # of a shard: a start must not read it all


class Vitals:
    """Read by the first rank, for the run as a whole. The matmul peak of its device is measured once, in 0.2 s."""

    def __init__(self, config: ModelConfig, data: Dataset, order: Staged, device: torch.device, world: int) -> None:
        self.tasks, self.order, self.device = data.tasks, order, device
        self.share_a_token = flops_per_token(config, data) / (world * matmul_peak(str(device)))

    def read(self, rows: range, tokens_per_second: float) -> dict[str, Any]:
        """What is to be logged of the rows consumed since the last reading.

        mfu: useful FLOPs, a share of the matmul peak of all processes; memory: of this one, GiB; mixture: rows by task;
        epochs: how often a task's rows have been seen since the run began
        """
        task, _ = self.order.at(np.arange(rows.start, rows.stop))
        counts = np.bincount(task, minlength=len(self.tasks)).tolist()
        epochs = self.order.epochs(rows.stop).tolist()
        return {
            "mfu": tokens_per_second * self.share_a_token,
            "memory": self._memory(),
            "mixture": {name: count for name, count in zip(self.tasks, counts, strict=True) if count},
            "epochs": {name: seen for name, seen in zip(self.tasks, epochs, strict=True) if seen},
        }

    def _memory(self) -> dict[str, float]:
        found = {"resident": resident_bytes() / GIB}
        if self.device.type == "cuda":
            found["allocated"] = torch.cuda.max_memory_allocated(self.device) / GIB
        return found


def resident_bytes() -> int:
    """Bytes of this process that are in memory now; where the system does not say, the most there ever were."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def flops_per_token(config: ModelConfig, data: Dataset) -> float:
    """Forward and backward FLOPs a useful token: matmuls of the blocks, attention within a document, and the logits of
    trained steps alone (6 a weight: Kaplan et al. 2020). Of a large shard evenly spread sequences are looked at."""
    total = squares = trained = 0.0
    for part in data.parts:
        every = max(1, len(part.order) // SAMPLE)
        found = part.shard.index[part.order[::every]]
        lengths = found["length"].astype(float)
        total += every * lengths.sum()
        squares += every * (lengths**2).sum()
        trained += every * float((lengths - 1 if part.everything else found["trained"]).sum())
    context, trained = squares / total / 2, trained / total             # context: steps that a step sees on average
    blocks = 6.0 * config.parameters()["blocks"] + 12.0 * config.n_layers * config.d_model * context
    return float(blocks + 6.0 * trained * config.vocab_size * config.d_model)
