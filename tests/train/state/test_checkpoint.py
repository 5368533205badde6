"""Checkpoints on disk: whole or not there, and readable in any other division."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omni.errors import InputError
from omni.files import read_json, sha256, write_json
from omni.train.state.checkpoint import Checkpoints, Reader, State, check_same_run
from omni.train.state.places import Fragment

OPTIMIZER = {"lr": 1e-3, "betas": (0.9, 0.95)}
RECIPE = {"optimizer": OPTIMIZER, "zero": 1, "validate": {"every": 5}, "mixture": {"weights": {}}}


def state(step: int) -> State:
    return State(step, 8 * step, 1, float(step), [0.0, 0.0], RECIPE, "data", "vocab")


def fragment(step: int) -> Fragment:
    values = {"weight": torch.arange(6.0) + step, "exp_avg": torch.full((6,), float(step))}
    return Fragment("layer.weight", 0, 6, values)


def save(checkpoints: Checkpoints, step: int) -> Path:
    saving = checkpoints.begin(state(step), [fragment(step)])
    saving.thread.join()
    assert saving.written and not saving.failed
    return checkpoints.commit(saving)


def test_the_newest_whole_one_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() is None
    folders = [save(checkpoints, step) for step in (5, 10, 15)]
    checkpoints.prune(keep=2)
    assert not folders[0].exists()
    found = checkpoints.newest()
    assert found is not None and (found[0], found[1].step, found[1].cursor) == (folders[2], 15, 120)
    damaged = folders[2] / "rank-0000.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    found = checkpoints.newest()
    assert found is not None and found[1].step == 10
    assert "step-00000015" in capsys.readouterr().err
    (folders[1] / "rank-0000.safetensors").unlink()
    with pytest.raises(InputError, match="no checkpoint is whole"):
        checkpoints.newest()


def test_a_damaged_one_takes_no_place_of_those_that_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    folders = {step: save(checkpoints, step) for step in (5, 10, 15)}
    (folders[15] / "rank-0000.safetensors").unlink()                    # the run goes on from 10
    folders[12] = save(checkpoints, 12)
    checkpoints.prune(keep=2)
    assert [step for step, folder in folders.items() if folder.exists()] == [10, 12]


def test_a_copy_beside_them_is_let_be(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    copy = save(checkpoints, 1).rename(checkpoints.folder / "step-00000001.copy")
    assert checkpoints.newest() is None
    save(checkpoints, 2)
    checkpoints.prune(1)
    found = checkpoints.newest()
    assert found is not None and found[1].step == 2 and copy.is_dir()


def test_one_of_before_rules_had_a_memory_is_read(tmp_path: Path) -> None:
    folder = save(Checkpoints(tmp_path), 5)
    old = {key: value for key, value in read_json(folder / "state.json").items() if key != "multitask"}
    write_json(folder / "state.json", old)
    checksums = read_json(folder / "checksums.json") | {"state.json": sha256(folder / "state.json")}
    write_json(folder / "checksums.json", checksums)
    found = Checkpoints(tmp_path).newest()
    assert found is not None and (found[1].step, found[1].multitask) == (5, {})


@pytest.mark.parametrize("victim", ["state.json", "checksums.json", "rank-0000.safetensors"])
def test_a_truncated_file_is_noticed(tmp_path: Path, victim: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    older, newer = save(checkpoints, 5), save(checkpoints, 10)
    path = newer / victim
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = checkpoints.newest()
    assert found is not None and found[0] == older


@given(st.integers(1, 40), st.lists(st.integers(0, 40), max_size=4), st.lists(st.integers(0, 40), max_size=4))
def test_any_cut_is_read_back_by_any_other(
    tmp_path_factory: pytest.TempPathFactory, numel: int, old: list[int], new: list[int]
) -> None:
    """What ranks saved in one division is restored, bit by bit, in another."""
    run = tmp_path_factory.mktemp("run")
    values = torch.randn(numel)
    saved = list(cuts(values, old))
    savings = [Checkpoints(run, rank, len(saved)).begin(state(1), [part]) for rank, part in enumerate(saved)]
    for saving in savings:
        saving.thread.join()
    folder = Checkpoints(run, 0, len(saved)).commit(savings[0])
    reader = Reader(folder)
    for part in cuts(torch.zeros(numel), new):
        reader.fill(part)
        assert torch.equal(part.values["weight"], values[part.start : part.start + part.numel])
    with pytest.raises(InputError, match="lacks weight of other"):
        reader.fill(Fragment("other", 0, 1, {"weight": torch.zeros(1)}))


def cuts(values: torch.Tensor, at: list[int]) -> Iterator[Fragment]:
    edges = sorted({0, len(values), *(cut for cut in at if cut < len(values))})
    for start, stop in pairwise(edges):
        yield Fragment("w", start, stop - start, {"weight": values[start:stop].clone()})


def test_a_save_that_dies_leaves_the_last_one_in_place(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 5)

    def dies() -> None:
        raise OSError("no space left on device")

    saving = checkpoints.begin(state(10), [fragment(10)], dies)
    saving.thread.join()
    assert saving.failed and "no space" in str(saving.error)
    checkpoints.discard(saving)
    found = checkpoints.newest()
    assert found is not None and found[1].step == 5
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["latest", "step-00000005"]


def test_what_must_not_change_is_named(tmp_path: Path) -> None:
    saved = replace(state(5), recipe={**RECIPE, "optimizer": {"lr": 1e-3, "betas": [0.9, 0.95]}})
    check_same_run(saved, state(0), tmp_path)
    check_same_run(saved, replace(state(0), recipe={**RECIPE, "validate": {"every": 9}}), tmp_path)
    other = {**RECIPE, "optimizer": {"lr": 2e-3, "betas": (0.9, 0.95)}}
    with pytest.raises(InputError, match=r"optimizer.lr was 0.001 and is now 0.002.*--fresh"):
        check_same_run(saved, replace(state(0), recipe=other), tmp_path)
    check_same_run(saved, replace(state(0), recipe=other), tmp_path, changed_recipe=True)
    check_same_run(saved, replace(state(0), recipe={**RECIPE, "zero": 2}, world=2), tmp_path)
    with pytest.raises(InputError, match="precision was 'fp32' and is now 'bf16'"):
        check_same_run(saved, replace(state(0), recipe={**RECIPE, "precision": "bf16"}), tmp_path, changed_recipe=True)
    changes = (({"data": "x"}, "the data"), ({"vocab": "x"}, "the vocabulary"))
    for changed, message in changes:
        with pytest.raises(InputError, match=message):
            check_same_run(saved, replace(state(0), **changed), tmp_path)
