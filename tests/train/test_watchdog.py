"""The clock that ends a process which hangs, in processes of their own."""

import signal
import subprocess
import sys
import time

CODE = """
import time
from omni.train.faults.watchdog import Watchdog
with Watchdog(2) as dog:
    print("ready", flush=True)
    for _ in range({beats}):
        time.sleep(0.5)
        dog.beat()
    time.sleep({hang})
print("done", flush=True)
"""


def begun(beats: int, hang: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE.format(beats=beats, hang=hang)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_a_process_that_hangs_is_ended_with_its_stacks() -> None:
    process = begun(0, 60)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0 and "Timeout" in errors and "line 9" in errors


def test_a_suspended_process_does_not_hang() -> None:
    """Ctrl-Z for longer than the clock allows, then fg. (Whoever wakes first decides, so several try.)"""
    processes = []
    for _ in range(4):
        processes.append(begun(3, 0))
        processes[-1].send_signal(signal.SIGTSTP)                       # before the next starts, which may take longer
    time.sleep(4)
    assert [process.poll() for process in processes] == 4 * [None]
    for process in processes:
        process.send_signal(signal.SIGCONT)
    told = [(*process.communicate(timeout=30), process.returncode) for process in processes]
    assert told == 4 * [("done\n", "", 0)]
