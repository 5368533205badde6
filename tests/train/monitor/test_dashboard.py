"""The terminal's picture of a run, as text, and where it is shown."""

import contextlib
import io
import math
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from omni.train.monitor.dashboard import Dashboard, course, duration, screen

RECORD: dict[str, Any] = {
    "kind": "train", "step": 50, "loss": 3.25, "lr": 1e-3, "gradient_norm": 0.5, "tokens_per_second": 1234.4,
    "seconds_per_step": 2.0, "mfu": 0.412, "memory": {"resident": 1.5, "allocated": 40.25},
    "mixture": {"say": 30, "copy": 10}, "tasks": {"say": 3.5, "copy": 3.0}, "modalities": {"audio": 3.75, "text": 2.75},
}  # fmt: skip
VALID = {"kind": "valid", "step": 50, "loss": 3.625, "tasks": {"say": 3.875}, "modalities": {"audio": 4.125}}


def shown(width: int, *records: dict[str, Any]) -> str:
    dashboard = Dashboard("mine", 100, Console(file=io.StringIO(), width=width))
    dashboard.go_to(0, [])
    for record in records:
        dashboard.show(record)
    dashboard.close()
    page = Console(file=io.StringIO(), width=width, record=True)
    page.print(dashboard)
    return page.export_text()


@pytest.mark.parametrize("width", [60, 80, 160])
def test_every_figure_is_there(width: int) -> None:
    text = shown(width, RECORD, VALID)
    for piece in ("mine", "step 50 of 100", "1 min 40 s left", "3.250", "3.625", "1,234", "41.2%", "1.50 GiB resident",
                  "40.25 GiB allocated"):  # fmt: skip
        assert piece in text
    lines = text.splitlines()
    assert max(map(len, lines)) == width
    (say,) = (line for line in lines if " say " in line)
    assert "3.500" in say and "3.875" in say and "30" in say.split()
    assert [word for line in lines for word in line.split() if word in ("copy", "say", "audio", "text")] == [
        "copy", "say", "audio", "text"
    ]  # fmt: skip


def test_rows_add_up_and_shares_grow_with_them() -> None:
    text = shown(120, RECORD, {**RECORD, "step": 60, "mixture": {"copy": 10}})
    (copy,) = (line for line in text.splitlines() if " copy " in line)
    (say,) = (line for line in text.splitlines() if " say " in line)
    assert "20" in copy.split() and "30" in say.split()
    assert 0 < copy.count("█") < say.count("█") + 8


def test_a_log_without_a_mixture_is_shown() -> None:
    assert "step 0 of 100" in shown(80) and "starting" in shown(80)
    old = {key: value for key, value in RECORD.items() if key != "mixture"}
    assert "say" in shown(80, old)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], ""), ([2.0], "▁"), ([8, 1], "█▁"), ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"), ([math.nan, 3.0, 3.0], "▁▁")],
)
def test_a_course_goes_from_its_lowest_to_its_highest(values: list[float], expected: str) -> None:
    assert course(values).plain == expected


def test_a_long_course_is_the_means_of_its_stretches() -> None:
    assert course([1.0] * 300 + [2.0] * 300, width=4).plain == "▁▁██"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (65, "1 min 05 s"), (3 * 3600 + 60, "3 h 01 min"), (90000, "1 d 1 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_elsewhere_there_is_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    plain = screen("mine", 100)
    plain.go_to(20, [])
    plain.show(RECORD)
    plain.show(VALID)
    plain.close()
    seen = capsys.readouterr().err
    assert "50/100" in seen and "loss 3.250, 1,234 tokens/s" in seen and "╭" not in seen


@pytest.mark.slow
def test_a_terminal_sees_the_panel(recipe_file: Path, tmp_path: Path) -> None:
    """The real command with stderr on a real pseudo-terminal."""
    words = [sys.executable, "-m", "omni.cli", "train", str(recipe_file), "--out", str(tmp_path)]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "90"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stderr=theirs, stdout=subprocess.PIPE, env=environment)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):                                  # Linux: the other side is closed
        while piece := os.read(ours, 65536):
            seen += piece
    output = process.communicate()[0]
    assert process.wait() == 0 and b"model:" in output
    text = seen.decode(errors="replace")
    assert "╭" in text and "gradient" in text and text.rstrip().endswith("\x1b[?25h"), "the cursor is given back"
