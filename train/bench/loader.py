"""`omni bench loader`: what ten billion tokens cost before the first step, after a stop, and at every step.

Nothing of the size is real but the index: 95 million sequences with the lengths of `omni bench train`. Their tokens are
holes in files, which take no disk and read as zeros.
"""

import argparse
import gc
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni.figures import Report
    from omni.train.data.loader import Dataset, GlobalBatch

EPILOG = """example:
  omni bench loader --json
It writes 34 bytes a sequence into a temporary folder ($TMPDIR), 3.2 GB for 95 million. Before a start is timed, the
files are dropped from the page cache where the system allows, as after a reboot. The step that the loader is compared
with is that of `omni bench train`, 8.5 million parameters and 8 rows of 512 steps on one thread."""
MEAN_LENGTH = 105                                                       # of sequences as bench.training makes them up
BYTES = 34                                                              # of index and packing for a sequence
CHUNK = 1 << 22                                                         # sequences drawn at a time
RESUMES, TURNS = 5, 6                                                  # more turns than batches that wait ready


def configure(parser: argparse.ArgumentParser) -> None:
    """How many tokens and batches."""
    parser.description = "Start, resume and time a batch of the loader on a simulated index of billions of tokens."
    parser.epilog = EPILOG
    parser.add_argument("--tokens", type=float, default=1e10, help="in the index (default: 1e10)")
    parser.add_argument("--batches", type=int, default=500, help="global batches of 8 rows (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure and print the table."""
    from omni.errors import InputError
    from omni.figures import Report

    if not 1e4 <= args.tokens <= 4e11:
        raise InputError(f"--tokens: must be between 1e4 and 4e11 (one shard), got {args.tokens:g}")
    if args.batches < 10:
        raise InputError(f"--batches: must be at least 10, got {args.batches}")
    sequences = int(args.tokens / MEAN_LENGTH)
    report = Report("bench loader")
    with tempfile.TemporaryDirectory(prefix="omni-bench-") as folder:
        free = shutil.disk_usage(folder).free
        if free < 1.1 * BYTES * sequences:
            raise InputError(
                f"{folder}: {free / 2**30:.1f} GiB free, {1.1 * BYTES * sequences / 2**30:.1f} needed; set TMPDIR or"
                " lower --tokens"
            )
        measure(report, Path(folder), sequences, args.batches)
    print(report.table())
    if args.json:
        print(report.json())


def measure(report: "Report", folder: Path, sequences: int, batches: int) -> None:
    """All figures, in a scratch folder."""
    import torch

    from omni.progress import progress

    torch.set_num_threads(1)
    shard = simulate(folder / "simulated", sequences)
    began = time.perf_counter()
    print("packing it, which cannot tell how far it is", file=sys.stderr)
    tokens, rows = _packed(shard)
    report.add("tokens", tokens, "tokens", n=sequences)
    report.add("rows", rows, "rows of 512 steps")
    report.add("packing_seconds", time.perf_counter() - began, "s, once")
    _forget(shard)
    _, seconds = _first_batch(shard, 0)
    report.add("startup_seconds", seconds, "s")
    resumes = []
    for number in progress(range(RESUMES), "resuming", unit="start"):
        _forget(shard)
        resumes.append(_first_batch(shard, int((number + 0.618) * rows))[1])  # some row of each of the first epochs
    report.add("resume_seconds", statistics.median(resumes), "s", low=min(resumes), high=max(resumes), n=RESUMES)
    each = _batches(report, shard, batches)
    waits, steps = _training(folder / "small", shard, folder / "run")
    report.add("batch_seconds", sum(each) / batches, "s", low=min(each), high=max(each), n=batches)
    report.add("step_seconds", statistics.median(steps), "s", low=min(steps), high=max(steps), n=TURNS)
    report.add("batch_share", sum(each) / batches / statistics.median(steps), "of a step, were it not made ahead")
    report.add("loader_share", sum(waits) / (sum(waits) + sum(steps)), "of a step", n=TURNS)


def simulate(folder: Path, sequences: int) -> Path:
    """A shard of this many sequences that has an index alone; tokens and losses are zeros that take no disk."""
    import numpy as np

    from omni.files import sha256, write_json
    from omni.progress import progress
    from omni.train.bench.training import made_up
    from omni.train.data.shards import FILES, INDEX, SUMMARY, VERSION, Shard, fingerprint

    small = Shard.load(made_up(folder.parent / "small"))
    lengths, trained = (np.asarray(small.index[name], np.uint32) for name in ("length", "trained"))
    folder.mkdir()
    rng, steps = np.random.default_rng(0), 0
    index = np.lib.format.open_memmap(folder / FILES[2], mode="w+", dtype=INDEX, shape=(sequences,))
    for start in progress(range(0, sequences, CHUNK), "simulating an index", unit="chunk"):
        part = index[start : start + CHUNK]
        drawn = rng.integers(0, len(lengths), len(part))                # lengths as of the small shard
        part["length"], part["trained"] = lengths[drawn], trained[drawn]
        ends = steps + np.cumsum(part["length"], dtype=np.uint64)
        part["offset"] = ends - part["length"]
        steps = int(ends[-1])
    index.flush()
    for name, kind, shape in ((FILES[0], "<u2", (steps, 1)), (FILES[1], "?", (steps,))):
        np.lib.format.open_memmap(folder / name, mode="w+", dtype=np.dtype(kind), shape=shape)
    for name in FILES[3:]:
        shutil.copy(small.folder / name, folder / name)
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in progress(FILES, "its checksums, holes included", unit="file")
    }
    counts = {"sequences": sequences, "steps": steps, "trained": int(index["trained"].sum(dtype=np.int64))}
    summary = {"version": VERSION, "task": small.task, **counts, "files": files, "fingerprint": fingerprint(files)}
    write_json(folder / SUMMARY, summary)
    return folder


def _packed(shard: Path) -> tuple[int, int]:
    """Pack the shard: its tokens and its rows."""
    data = _load(shard)
    return len(data.parts[0].shard.tokens), sum(data.rows.values())


def _load(shard: Path) -> "Dataset":
    from omni.train.bench.training import STEPS
    from omni.train.data.loader import Dataset

    return Dataset.load([shard], STEPS)


def _first_batch(shard: Path, cursor: int) -> "tuple[GlobalBatch, float]":
    """The first global batch of a run that begins at row `cursor`, and how long it took to get there from nothing."""
    from omni.train.bench.training import ROWS
    from omni.train.data.loader import Loader, Share

    began = time.perf_counter()
    data = _load(shard)
    batches = iter(Loader(data, data.order(1.0, {}, 0), Share(ROWS, ROWS), cursor))
    batch = next(batches)
    seconds = time.perf_counter() - began
    batches.close()
    return batch, seconds


def _batches(report: "Report", shard: Path, count: int) -> list[float]:
    """Seconds of making each of some global batches, in the foreground; what they leave in memory."""
    from omni.progress import progress
    from omni.train.bench.training import ROWS
    from omni.train.data.loader import Loader, Share

    _forget(shard)
    data = _load(shard)
    loader = Loader(data, data.order(1.0, {}, 0), Share(ROWS, ROWS))
    seconds, memory = [], []
    for number in progress(range(count), "making batches", unit="batch"):
        began = time.perf_counter()
        loader.batch(number * ROWS)
        seconds.append(time.perf_counter() - began)
        memory.append(_own_memory())
    warm = count // 5
    report.add("memory", memory[-1] / 2**20, "MiB of the process's own")
    report.add("memory_growth", (memory[-1] - memory[warm]) / 2**20, f"MiB over {count - warm} batches")
    return seconds


def _training(small: Path, shard: Path, run: Path) -> tuple[list[float], list[float]]:
    """Seconds that each of some steps of the real engine takes, and that it waits for a batch of `shard` before.

    It learns from another one of the small shard, since the simulated ones have nothing to learn.
    """
    from omni.progress import progress
    from omni.train.bench.training import ROWS, STEPS, Ours, bench_recipe
    from omni.train.data.loader import Dataset, Loader, Share

    _forget(shard)
    ours = Ours("ours", bench_recipe(Dataset.load([small], STEPS)), run)
    data = _load(shard)
    batches = iter(Loader(data, data.order(1.0, {}, 0), Share(ROWS, ROWS)))
    next(batches)                                                       # a start, timed above, and its step, in which
    ours.turn(1)                                                        # the next ones are made
    waits, steps = [], []
    for _ in progress(range(TURNS), "training", unit="step"):
        began = time.perf_counter()
        next(batches)
        waits.append(time.perf_counter() - began)
        steps.append(ours.turn(1)[0][0])
    batches.close()
    ours.close()
    return waits, steps


def _forget(shard: Path) -> None:
    """Drop a shard's files from the page cache, where there is a way to."""
    gc.collect()                                                        # mapped pages stay
    if not hasattr(os, "posix_fadvise"):
        return
    for path in shard.rglob("*.npy"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _own_memory() -> int:
    """Bytes of memory that belong to this process alone; pages of mapped files are the system's to take back."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    except (OSError, StopIteration):
        import resource

        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
