"""Two commands that train into one folder: the second one waits a moment and is refused."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from omni.cli import main
from omni.errors import InputError
from omni.train.monitor.log import read_log
from omni.train.state import lock
from omni.train.state.lock import LOCK, sole_writer

TURNS = 5
COUNT = f"""
import sys, time
from pathlib import Path
from omni.train.state import lock
lock.PATIENCE, run = 60.0, Path(sys.argv[1])
for _ in range({TURNS}):                                                # without the lock, others would write between
    with lock.sole_writer(run):
        number = int((run / "number").read_text())
        time.sleep(0.01)
        (run / "number").write_text(str(number + 1))
"""
HOLD = """
import sys, time
from pathlib import Path
from omni.train.state.lock import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def begun(program: str, run: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", program, str(run)], stdout=subprocess.PIPE, text=True)


def test_one_at_a_time_writes_whoever_comes_and_goes(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    for process in [begun(COUNT, tmp_path) for _ in range(3)]:
        process.communicate()
    assert (tmp_path / "number").read_text() == str(3 * TURNS) and not (tmp_path / LOCK).exists()


def test_a_killed_one_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with begun(HOLD, tmp_path) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        monkeypatch.setattr(lock, "PATIENCE", 0.1)
        told = f"another run writes there .process {process.pid} on "
        with pytest.raises(InputError, match=told), sole_writer(tmp_path):
            pass
        process.kill()
    assert (tmp_path / LOCK).exists()
    with sole_writer(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


@pytest.mark.slow
@pytest.mark.parametrize("nproc", ["1", "2"])
def test_a_second_run_into_a_folder_is_refused_and_the_first_goes_on(
    nproc: str, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["train", str(recipe_file), "--out", str(run), "--schedule.steps", "100000", "--nproc", nproc]
    with subprocess.Popen([sys.executable, "-m", "omni.cli", *words], stderr=subprocess.DEVNULL) as first:
        try:
            while not read_log(run):
                assert first.poll() is None
                time.sleep(0.1)
            monkeypatch.setattr(lock, "PATIENCE", 0.1)
            assert main(words) == main([*words, "--fresh"]) == 2
        finally:
            first.terminate()
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 2 and all(f"{run}: another run writes there (process " in line for line in errors)
    steps = [record["step"] for record in read_log(run)]
    assert steps == sorted(steps) and (run / "checkpoints" / f"step-{steps[-1]:08d}").is_dir()
    assert not (run / LOCK).exists()
