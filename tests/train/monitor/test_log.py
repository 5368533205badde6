"""The plot of a run's losses: drawn once in a while, and at the end; and a disk that is full."""

from pathlib import Path

import pytest

from omni.train.monitor import log
from omni.train.monitor.log import PAGE, PLOT, Monitor, read_log

VALID = {"loss": 3.5, "tasks": {"say": 3.5}, "modalities": {"audio": 3.5}}


def test_a_plot_is_drawn_when_it_is_old_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = Monitor(tmp_path, 4, 0, {})
    monitor.valid({"step": 1, **VALID})
    assert not (tmp_path / PLOT).exists()
    monkeypatch.setattr(log, "REFRESH", 0)
    monitor.valid({"step": 2, **VALID})
    first = (tmp_path / PLOT).read_bytes()
    assert "step 2 of 4" in (tmp_path / PAGE).read_text()
    monkeypatch.undo()
    monitor.valid({"step": 4, **VALID})
    assert (tmp_path / PLOT).read_bytes() == first
    assert "refresh" in (tmp_path / PAGE).read_text()
    monitor.close(done=True)
    assert (tmp_path / PLOT).read_bytes() != first
    page = (tmp_path / PAGE).read_text()
    assert "step 4 of 4" in page and "refresh" not in page


def test_lines_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    whole = '{"kind": "valid", "step": 2}'
    (tmp_path / "log.jsonl").write_text(f'{{"kind": "va\n3\n{{"step": 1}}\n{whole}\n')
    assert read_log(tmp_path) == [{"kind": "valid", "step": 2}]


def test_a_full_disk_is_said_once_and_no_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(tmp_path, 4, 0, {})
    monitor.valid({"step": 1, **VALID})
    log, monitor.log = monitor.log, Path("/dev/full").open("w")  # noqa: SIM115 (the monitor closes it)
    for step in (2, 3):
        monitor.valid({"step": step, **VALID})
    full, monitor.log = monitor.log, log
    monitor.valid({"step": 4, **VALID})
    monitor.close(done=True)
    assert capsys.readouterr().err.count("records could not be written") == 1
    assert [record["step"] for record in read_log(tmp_path)] == [1, 4]
    with pytest.raises(OSError, match="No space left"):
        full.close()
