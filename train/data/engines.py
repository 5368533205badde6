"""Where the work on data runs: on the cores of this machine, or on a Ray cluster.

Work is a function of one job, importable by its name, and its results come back in the order of the jobs. So what is
written does not depend on how many hands made it, nor on which engine. Nothing else of the preparation knows of either.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from omni.cluster import joined
from omni.errors import InputError
from omni.progress import progress

Job = TypeVar("Job")
Result = TypeVar("Result")
ENGINES = ("local", "ray")
AHEAD = 3                                                               # jobs a worker has in hand or waiting


class Engine(Protocol):
    """Something that can do many jobs at a time."""

    def map(self, work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """The results of `work` on each job, in order; jobs are taken a few ahead. What `work` raises is raised here.

        A job is worth a message to another process: a batch rather than an item.
        """
        ...


class Here:
    """This process alone."""

    def map(self, work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        return map(work, jobs)


HERE = Here()


class Local:
    """Processes of this machine, started when there are two jobs to do."""

    def __init__(self, pool: ProcessPoolExecutor, workers: int) -> None:
        self.pool, self.workers = pool, workers

    def map(self, work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        jobs = iter(jobs)
        first = list(itertools.islice(jobs, 2))
        if len(first) < 2:
            yield from map(work, first)
            return
        begun = (self.pool.submit(work, job) for job in itertools.chain(first, jobs))
        try:
            yield from _ahead(begun, lambda future: future.result(), AHEAD * self.workers)
        except BrokenProcessPool:
            raise InputError(
                "a worker process was killed, as happens when memory runs out; "
                "run the same command again with fewer of them: --workers N"
            ) from None


class OnRay:
    """Tasks of a Ray cluster. Ray Data would make tables of the results, in an order of its own; tasks keep ours."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self.task = ray.remote(_called).options(scheduling_strategy="SPREAD")
        self.cores = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def map(self, work: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        begun = (self.task.remote(work, job) for job in jobs)
        try:
            yield from _ahead(begun, self.ray.get, AHEAD * self.cores)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None


@contextlib.contextmanager
def open_engine(name: str = "local", workers: int = 0) -> Iterator[Engine]:
    """An engine for the length of a block. `workers`: processes of the local one, 0 for one a core.

    "ray" joins the cluster of $RAY_ADDRESS or of this machine, and starts one here, of `workers` cores, where there is
    none. Raises InputError when Ray is not installed or the cluster cannot be reached.
    """
    if name not in ENGINES or workers < 0:
        raise InputError(f"--engine {name} --workers {workers}: use local or ray, and 0 workers (one a core) or more")
    if name == "ray":
        with joined(workers) as ray:
            yield OnRay(ray)
        return
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        yield HERE
        return
    with processes(workers) as pool:
        yield Local(pool, workers)


@contextlib.contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """So many new processes for the length of a block. They leave Ctrl-C to this one, and end when it has ended."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_serve)
    try:
        yield pool
    except BaseException:                                               # what they are doing is not wanted any more
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_order(
    engine: Engine, work: Callable[[Job], Result], jobs: Sequence[Job], sizes: Iterable[int], label: str
) -> Iterator[Result]:
    """Results behind a bar that counts the items of each job."""
    sizes = list(sizes)
    with progress(None, label, total=sum(sizes)) as bar:
        for size, result in zip(sizes, engine.map(work, jobs), strict=True):
            yield result
            bar.update(size)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread wherever the work runs: sums of several could differ in the last bit, and so in a code."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _called(work: Callable[[Job], Result], job: Job) -> Result:
    return work(job)


def _ahead(begun: Iterator[Any], get: Callable[[Any], Result], most: int) -> Iterator[Result]:
    """Results in order, never more than `most` begun before the one that is wanted: memory stays bounded.

    Where the jobs themselves end with an error, the results of those before come first, as they would from one process.
    """
    waiting: deque[Any] = deque()
    failed: Exception | None = None
    while True:
        try:
            waiting.append(next(begun))
        except StopIteration:
            break
        except Exception as error:
            failed = error
            break
        if len(waiting) >= most:
            yield get(waiting.popleft())
    while waiting:
        yield get(waiting.popleft())
    if failed is not None:
        raise failed


def _serve() -> None:
    """What a worker process does first: leave Ctrl-C to its parent, and end when the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(multiprocessing.parent_process(),), daemon=True).start()


def _follow(parent: Any) -> None:
    parent.join()
    os._exit(1)
