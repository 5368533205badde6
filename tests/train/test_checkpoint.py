from dataclasses import replace
from pathlib import Path

import pytest

from omni.errors import InputError
from omni.train.checkpoint import Checkpoints, State, check_same_run

OPTIMIZER = {"lr": 1e-3, "betas": (0.9, 0.95)}
RECIPE = {"optimizer": OPTIMIZER, "zero": 1, "validate": {"every": 5}, "mixture": {"weights": {}}}


def state(step: int) -> State:
    return State(step, 8 * step, 1, RECIPE, "data", "vocab")


def save(checkpoints: Checkpoints, step: int) -> Path:
    def write(folder: Path) -> None:
        (folder / "state").mkdir()
        (folder / "state" / "rank0.pt").write_bytes(bytes(range(256)) + bytes([step]))

    return checkpoints.save(state(step), write, 0, lambda: None)


def test_the_newest_whole_one_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() is None
    folders = [save(checkpoints, step) for step in (5, 10, 15)]
    checkpoints.prune(keep=2)
    assert not folders[0].exists()
    found = checkpoints.newest()
    assert found is not None and (found[0], found[1].step, found[1].cursor) == (folders[2], 15, 120)
    damaged = folders[2] / "state" / "rank0.pt"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    found = checkpoints.newest()
    assert found is not None and found[1].step == 10
    assert "step-00000015" in capsys.readouterr().err
    (folders[1] / "state" / "rank0.pt").unlink()
    with pytest.raises(InputError, match="no checkpoint is whole"):
        checkpoints.newest()


def test_a_save_that_dies_leaves_the_last_one_in_place(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 5)

    def dies(folder: Path) -> None:
        (folder / "half").write_bytes(b"1")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        checkpoints.save(state(10), dies, 0, lambda: None)
    found = checkpoints.newest()
    assert found is not None and found[1].step == 5
    checkpoints.prune(keep=2)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["latest", "step-00000005"]


def test_what_must_not_change_is_named(tmp_path: Path) -> None:
    saved = replace(state(5), recipe={**RECIPE, "optimizer": {"lr": 1e-3, "betas": [0.9, 0.95]}})
    check_same_run(saved, state(0), tmp_path)
    check_same_run(saved, replace(state(0), recipe={**RECIPE, "validate": {"every": 9}}), tmp_path)
    other = {**RECIPE, "optimizer": {"lr": 2e-3, "betas": (0.9, 0.95)}}
    with pytest.raises(InputError, match=r"optimizer.lr was 0.001 and is now 0.002.*--fresh"):
        check_same_run(saved, replace(state(0), recipe=other), tmp_path)
    check_same_run(saved, replace(state(0), recipe=other), tmp_path, changed_recipe=True)
    with pytest.raises(InputError, match="zero was 1 and is now 2"):
        check_same_run(saved, replace(state(0), recipe={**RECIPE, "zero": 2}), tmp_path, changed_recipe=True)
    changes = (({"data": "x"}, "the data"), ({"vocab": "x"}, "the vocabulary"), ({"world": 2}, "--nproc 1"))
    for changed, message in changes:
        with pytest.raises(InputError, match=message):
            check_same_run(saved, replace(state(0), **changed), tmp_path)
