"""What the usual accelerators can do, from data sheets (dense, no sparsity); what this machine does, measured."""

import os
import time
from dataclasses import dataclass

from omni.errors import InputError

GIB, GB = 2**30, 1e9
LINK_EFFICIENCY = 0.8                                                   # of a link's speed that large collectives reach
USABLE = 0.94                                                           # the rest is the driver's, and fragmentation


@dataclass(frozen=True)
class Hardware:
    """One accelerator in its usual server.

    flops:      peak of bf16 matmuls, FLOP/s
    memory:     bytes; bandwidth: of that memory, bytes/s
    per_node:   accelerators in a server
    intra:      bytes/s that one of them sends to the others of its server, in one direction
    inter:      bytes/s of its network card (share of the server's network), in one direction
    achievable: share of `flops` that well-kept training code reaches with large matmuls, communication aside
    """

    name: str
    flops: float
    memory: float
    bandwidth: float
    per_node: int
    intra: float
    inter: float
    achievable: float

    @property
    def usable(self) -> float:
        return USABLE * self.memory

    def link(self, gpus: int) -> float:
        """Bytes/s at which one of `gpus` takes part in a ring over all of them, the slowest link deciding.

        Between servers the ring runs over all their network cards at once.
        """
        width = min(self.per_node, gpus)
        slowest = self.intra if gpus <= self.per_node else min(self.intra, width * self.inter)
        return LINK_EFFICIENCY * slowest


# flops: NVIDIA H100 data sheet (2023): 989 TFLOP/s, 80 GB at 3.35 TB/s, NVLink 4 900 GB/s both ways, DGX with 400 Gb/s
# a GPU. H200 data sheet (2024): 141 GB at 4.8 TB/s. A100 data sheet (2021): 312 TFLOP/s, 40 GB at 1.555 and 80 GB at
# 2.039 TB/s, NVLink 3 600 GB/s, DGX with 200 Gb/s a GPU. L40S data sheet (2023): 362 TFLOP/s, 48 GB at 864 GB/s, PCIe 4
# x16. RTX 4090 (Ada white paper, 2022): 165 TFLOP/s with fp32 accumulation, 24 GB at 1.008 TB/s, PCIe 4 x16 through the
# host. MI300X data sheet (2023): 1,307 TFLOP/s, 192 GB at 5.3 TB/s, Infinity Fabric 7 x 64 GB/s each way.
# achievable: 41 % of 400 H100 (Llama 3, Dubey et al. 2024, table 4: 38-43 % with communication, so 45 % without);
# 57 % of A100 (Korthikanti et al. 2022, table 5, selective recomputation); PCIe cards and MI300X lower, our judgement.
TABLE = {
    one.name: one
    for one in (
        Hardware("h100", 989e12, 80 * GB, 3.35e12, 8, 450 * GB, 50 * GB, 0.45),
        Hardware("h200", 989e12, 141 * GB, 4.8e12, 8, 450 * GB, 50 * GB, 0.45),
        Hardware("a100-80", 312e12, 80 * GB, 2.039e12, 8, 300 * GB, 25 * GB, 0.55),
        Hardware("a100-40", 312e12, 40 * GB, 1.555e12, 8, 300 * GB, 25 * GB, 0.55),
        Hardware("l40s", 362e12, 48 * GB, 864 * GB, 8, 32 * GB, 12.5 * GB, 0.4),
        Hardware("rtx4090", 165e12, 24 * GB, 1.008e12, 8, 20 * GB, 3.1 * GB, 0.4),
        Hardware("mi300x", 1307e12, 192 * GB, 5.3e12, 8, 448 * GB, 50 * GB, 0.35),
    )
}
NAMES = (*TABLE, "cpu")


def hardware(name: str) -> Hardware:
    """An accelerator by name; `cpu` is this machine, measured. Raises InputError for an unknown name."""
    if name == "cpu":
        return this_machine()
    if name not in TABLE:
        raise InputError(f"--gpu {name}: unknown; use one of {', '.join(NAMES)}")
    return TABLE[name]


def this_machine() -> Hardware:
    """A core of this machine and its share of the memory: matmul and copying in fp32, timed for half a second."""
    cores, copying = os.cpu_count() or 1, copy_rate()
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / cores
    return Hardware("cpu", matmul_peak("cpu"), memory, copying, cores, copying, 1 * GB, 0.5)


def matmul_peak(device: str, seconds: float = 0.2) -> float:
    """FLOP/s of this device's best square matmul within `seconds`: bf16 on a GPU, fp32 on a processor."""
    import torch

    gpu = device.startswith("cuda")
    size, kind = (8192, torch.bfloat16) if gpu else (1024, torch.float32)
    generator = torch.Generator(device).manual_seed(0)                  # a run's own random numbers stay untouched
    a, b = (torch.randn(size, size, device=device, dtype=kind, generator=generator) for _ in "ab")
    out = a @ b
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        if gpu:
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        torch.mm(a, b, out=out)
        if gpu:
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best


def copy_rate(seconds: float = 0.2) -> float:
    """Bytes/s read and written by a copy that does not fit a cache."""
    import torch

    source = torch.zeros(2**26)                                         # 256 MiB
    target = torch.empty_like(source).copy_(source)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        began = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - began)
    return 2.0 * source.nbytes / best
