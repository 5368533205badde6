"""The same results in the same order from one process and from several, and what happens when they are stopped."""

import importlib.util
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omni.errors import InputError
from omni.train.data.engines import open_engine

ORPHAN = """
from omni.train.data.engines import open_engine
if __name__ == "__main__":
    with open_engine("local", 2) as engine:
        for pid in engine.map(eval, ["__import__('os').getpid()"] * 2 + ["__import__('time').sleep(1000)"] * 4):
            print(pid, flush=True)
"""


def numbers_then_an_error(count: int) -> Iterator[int]:
    yield from range(count)
    raise InputError("no more of them")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    with open_engine("local", workers) as engine:
        assert list(engine.map(math.sqrt, range(300))) == [math.sqrt(job) for job in range(300)]
        assert list(engine.map(math.sqrt, [])) == []
        with pytest.raises(ValueError, match="invalid literal"):
            list(engine.map(int, ["1", "x", "2"]))
        assert list(engine.map(int, ["3"])) == [3]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_stands_before_an_error_in_the_jobs_comes_first(workers: int) -> None:
    with open_engine("local", workers) as engine:
        results = engine.map(math.sqrt, numbers_then_an_error(4))
        assert [next(results) for _ in range(4)] == [0, 1, math.sqrt(2), math.sqrt(3)]
        with pytest.raises(InputError, match="no more of them"):
            next(results)


def test_jobs_are_taken_a_few_ahead_of_their_results() -> None:
    taken = []
    with open_engine("local", 2) as engine:
        results = engine.map(math.sqrt, (taken.append(job) or job for job in range(1000)))  # type: ignore[func-returns-value]
        next(results)
        assert 2 <= len(taken) <= 10


def test_a_killed_worker_is_named() -> None:
    with open_engine("local", 2) as engine, pytest.raises(InputError, match=r"worker process was killed.*--workers N"):
        list(engine.map(os._exit, [1, 1]))


def test_ctrl_c_ends_the_workers_in_the_middle_of_their_work() -> None:
    with pytest.raises(KeyboardInterrupt), open_engine("local", 2) as engine:
        results = engine.map(time.sleep, [0.0] + [1000.0] * 30)         # longer than the time limit of a test
        next(results)
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()


def test_no_worker_outlives_a_command_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert all(int(command.stdout.readline()) != command.pid for _ in range(2))
        os.kill(command.pid, signal.SIGKILL)
        command.stdout.read()                                           # ends when no worker holds the pipe any more


@pytest.mark.parametrize(("engine", "workers"), [("spark", 0), ("local", -1)])
def test_an_engine_that_is_not_there_is_refused(engine: str, workers: int) -> None:
    with pytest.raises(InputError, match="use local or ray"), open_engine(engine, workers):
        pass


def test_a_missing_ray_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^--engine ray: .*pip install 'omni\[ray\]'"), open_engine("ray"):
        pass
