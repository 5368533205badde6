"""Ctrl-C and SIGTERM, to the door alone and to all that it has started: no traceback, nobody left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fuzzing.client import children, models

SERVING = 60.0                                                          # seconds in which a process must appear
pytestmark = pytest.mark.slow


def within(seconds: float, found: Callable[[], list[int]]) -> list[int]:
    """What is found, as soon as it is; empty where it never is."""
    end = time.monotonic() + seconds
    while not (these := found()) and time.monotonic() < end:
        time.sleep(0.1)
    return these


def runs(pid: int) -> bool:
    """Not so for one that has ended and that nobody has waited for: it has no command line any more."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_server_ends_with_its_model_and_without_a_traceback(number: signal.Signals, code: int, late: bool) -> None:
    """While its model loads, and when it serves. A terminal and `timeout` tell its group, systemd the model, too."""
    command = [sys.executable, "-u", "-m", "omni.cli", "serve", "--port", "0", "--sessions", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # which a shell's background jobs ignore
    ) as door:
        assert door.stdout is not None and door.stderr is not None
        if late:
            assert "serving" in door.stdout.readline()
        model = within(SERVING, lambda: models(door.pid))
        os.killpg(door.pid, number)
        for pid in model if number == signal.SIGTERM else []:
            os.kill(pid, number)
        said = door.stderr.read()
    assert model and door.returncode == code
    assert said == ("omni: interrupted; run the same command again to go on\n" if number == signal.SIGINT else "")
    assert not any(map(runs, model))


def test_a_measurement_that_is_terminated_leaves_no_server(prepared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "omni.cli", "bench", "barge-in", "--data", str(prepared), "--turns", "8"]
    with subprocess.Popen([*command, "--out", str(tmp_path)], stdout=subprocess.DEVNULL) as bench:
        server = within(SERVING, lambda: children(bench.pid, "omni.cli serve"))
        model = within(SERVING, lambda: [each for door in server for each in models(door)])
        bench.terminate()
    assert server and model and bench.returncode == 143
    assert not any(map(runs, (*server, *model)))
