"""Two gloo ranks: every ZeRO stage gives the losses of one process, and stops and goes on bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omni.cli import main
from omni.train.environment import free_port
from omni.train.monitor.log import read_log

HEAD = """
import json, os, signal, sys
from pathlib import Path
import torch
from omni.train.engine import Trainer
from omni.train.recipe import Recipe

torch.set_num_threads(1)

class Stopped(Trainer):
    at = None
    def optimize(self, *args):
        super().optimize(*args)
        if self.step == self.at and self.rank == self.world - 1:
            os.kill(os.getpid(), signal.SIGTERM)

def train(zero, name, stop=None, kind="adamw", **more):
    recipe = Recipe.load(sys.argv[1], {"zero": zero, "optimizer.kind": kind, **more})
    trainer = Stopped(recipe, Path(sys.argv[2]) / name, device="cpu")
    trainer.at = stop
    stopped = trainer.train()
    assert (stopped is not None) == (stop is not None), stopped
    trainer.close()
"""
STAGES = """
for zero in range(4):
    train(zero, f"whole-{zero}")
    if zero in (1, 3):
        train(zero, f"cut-{zero}", 2)
        train(zero, f"cut-{zero}")
for stop, zero in enumerate((1, 3, 0, 2)):
    train(zero, "hop", stop)
train(2, "off-2", 2, **{"offload.optimizer": "cpu"})
train(2, "off-2", **{"offload.optimizer": "cpu", "activation_checkpointing": True})
train(3, "off-3", 2, **{"offload.optimizer": "cpu", "offload.weights": "cpu", "activation_checkpointing": True})
train(3, "off-3", **{"offload.optimizer": "cpu", "offload.weights": "cpu"})
train(0, "steps-0", 2, **{"parallel.sequence": 2})
train(3, "steps-0", **{"parallel.sequence": 2, "activation_checkpointing": True})
train(0, "muon", 2, "muon")
train(0, "muon", kind="muon")
train(0, "adafactor", 2, "adafactor")
train(0, "adafactor", kind="adafactor")
train(0, "factored", kind="adafactor")
"""
UNEVEN = """
for zero in range(4):
    train(zero, f"three-{zero}")
train(2, "changed", 2)
"""
FEWER = """
train(2, "two")
train(1, "changed")
"""
SHARED = """
train(0, "shared-0", **{"parallel.sequence": 2, "batch.rows": 3, "batch.micro": 1})
train(3, "shared-3", **{"parallel.sequence": 2, "batch.rows": 3, "batch.micro": 1})
"""

BLOCKS = """
shared = {"parallel.tensor": 2}
train(0, "tensor-0", **shared)
train(1, "tensor-1", **shared)
train(1, "cut", 3, **shared)
train(1, "cut", **shared)
train(0, "from-two", 3, **shared)
train(1, "to-two", 3)
train(2, "to-two", **shared, **{"activation_checkpointing": True, "offload.optimizer": "cpu"})
"""
FOUR_BLOCKS = """
shared = {"parallel.tensor": 2}
train(2, "four", **shared)
train(1, "hop", 2, **shared)
train(0, "hop", 4, **shared)
train(3, "hop")
"""

DRIVE = """
drive = {"offload.path": sys.argv[2] + "/drive"}
states, weights, low = {"offload.optimizer": "nvme"}, {"offload.weights": "nvme"}, {"precision": "bf16"}
train(3, "whole")
train(3, "states", **drive, **states)
train(3, "cut", 2, **drive, **states)
train(3, "cut", **drive, **states)
train(3, "low", **low)
train(3, "weights", 2, **drive, **weights, **low)
train(3, "weights", **drive, **weights, **low)
train(3, "both", 2, **drive, **states, **weights, **low)
train(1, "both", **low)
assert list((Path(sys.argv[2]) / "drive").glob("omni-*/zero_stage_3/optimizer/rank*/*.swp"))
assert list((Path(sys.argv[2]) / "drive").glob("omni-*/zero_stage_3/bfloat16params/rank*/*.swp"))
"""


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in read_log(run)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def start_ranks(world: int, script: str, recipe_file: Path, out: Path) -> list[subprocess.Popen[bytes]]:
    """The processes of a script, whose runs lie in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "worker.py").write_text(HEAD + script)
    meeting = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            [sys.executable, str(out / "worker.py"), str(recipe_file), str(out)],
            env=environment(**meeting, RANK=str(rank), LOCAL_RANK=str(rank)),
            stderr=subprocess.PIPE,
        )
        for rank in range(world)
    ]


def finish(ranks: list[subprocess.Popen[bytes]]) -> None:
    errors = [rank.communicate()[1].decode() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * len(ranks), "\n".join(errors)


@pytest.mark.slow
def test_two_ranks_of_every_stage_equal_one_process(recipe_file: Path, tmp_path: Path) -> None:
    ranks = start_ranks(2, STAGES, recipe_file, tmp_path / "two")
    cli = [sys.executable, "-m", "omni.cli", "train", str(recipe_file), "--zero", "0", "--out", str(tmp_path / "one")]
    subprocess.run(cli, env=environment(), check=True, capture_output=True)
    finish(ranks)
    expected = losses(tmp_path / "one")
    assert len(expected) == 8
    for name in (*(f"whole-{zero}" for zero in range(4)), "off-2", "off-3", "steps-0"):
        assert losses(tmp_path / "two" / name) == pytest.approx(expected, rel=1e-5)
    # four stages, one a step, then one process to the end; others, stopped once, by two processes and by one
    for name, kind in (("hop", "adamw"), ("muon", "muon"), ("adafactor", "adafactor")):
        run = tmp_path / ("two/hop" if kind == "adamw" else f"one-{kind}")
        words = [str(run) if word == str(tmp_path / "one") else word for word in cli]
        subprocess.run([*words, "--optimizer.kind", kind], env=environment(), check=True, capture_output=True)
        wanted = expected if kind == "adamw" else losses(run)
        assert losses(tmp_path / "two" / name) == pytest.approx(wanted, rel=1e-5)
    for runs in (("whole-1", "cut-1"), ("whole-3", "cut-3"), ("factored", "adafactor")):
        whole, cut = (load_file(tmp_path / "two" / name / "model/model.safetensors") for name in runs)
        assert all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.slow
def test_rows_that_three_ranks_cannot_divide_are_learnt_from_all_the_same(recipe_file: Path, tmp_path: Path) -> None:
    """Eight rows: the third rank has two of them and computes a masked micro-batch beside the others' second."""
    finish(start_ranks(3, UNEVEN, recipe_file, tmp_path))
    finish(start_ranks(2, FEWER, recipe_file, tmp_path))
    expected = losses(tmp_path / "two")
    assert len(expected) == 8
    for name in (*(f"three-{zero}" for zero in range(4)), "changed"):
        assert losses(tmp_path / name) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_a_masked_micro_batch_whose_steps_are_shared(recipe_file: Path, tmp_path: Path) -> None:
    """Three rows for two pairs of ranks."""
    finish(start_ranks(4, SHARED, recipe_file, tmp_path / "four"))
    words = ["--out", str(tmp_path / "one"), "--zero", "0", "--batch.rows", "3", "--batch.micro", "1"]
    command = [sys.executable, "-m", "omni.cli", "train", str(recipe_file), *words]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    for zero in (0, 3):
        assert losses(tmp_path / f"four/shared-{zero}") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


@pytest.fixture
def grouped(recipe_file: Path) -> Path:
    """Two queries a key, and a gradient that is clipped at every step."""
    text = recipe_file.read_text().replace("n_heads: 2, n_kv_heads: 2", "n_heads: 4, n_kv_heads: 2")
    recipe_file.write_text(text + "optimizer: {clip: 0.5}\n")
    return recipe_file


def alone(recipe: Path, run: Path, *words: str) -> list[float]:
    """Losses of one process that trains, or goes on with, a run."""
    command = [sys.executable, "-m", "omni.cli", "train", str(recipe), "--out", str(run), *words]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    return losses(run)


def test_blocks_that_cannot_be_shared_are_refused_before_a_process_starts(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--parallel.tensor", "2"]
    for more, message in (
        (["--nproc", "3"], "3 processes cannot be divided into groups of 2"),
        (["--nproc", "2", "--model.n_kv_heads", "1"], "2 processes cannot share n_kv_heads=1; use a number"),
        (["--nproc", "2", "--model.inner_norms", "true"], "processes cannot share blocks with inner_norms; use"),
        (["--nproc", "2", "--model.d_ff", "49"], "2 processes cannot share d_ff=49; use a number that divides"),
    ):
        assert main([*words, *more]) == 2
        assert f"parallel.tensor: {message}" in capsys.readouterr().err


@pytest.mark.slow
def test_shared_blocks_learn_like_whole_ones(grouped: Path, tmp_path: Path) -> None:
    two, four = tmp_path / "two", tmp_path / "four"
    finish(start_ranks(2, BLOCKS, grouped, two))
    expected = alone(grouped, tmp_path / "one", "--zero", "0")
    alone(grouped, two / "from-two", "--zero", "0")                     # what two began with shared blocks
    for name in ("tensor-0", "tensor-1", "cut", "from-two", "to-two"):
        assert losses(two / name) == pytest.approx(expected, rel=1e-5), name
    finish(start_ranks(4, FOUR_BLOCKS, grouped, four))
    for name in ("four", "hop"):
        assert losses(four / name) == pytest.approx(expected, rel=1e-5), name
    runs = (tmp_path / "one", two / "tensor-1", two / "cut")
    whole, shared, cut = (load_file(run / "model/model.safetensors") for run in runs)
    for name, weight in whole.items():
        torch.testing.assert_close(shared[name], weight, rtol=1e-3, atol=1e-5)
        assert torch.equal(shared[name], cut[name])


@pytest.mark.slow
@pytest.mark.timeout(1800)                                              # DeepSpeed compiles what reads and writes
@pytest.mark.skipif("OMNI_DRIVE" not in os.environ, reason="compiles for minutes: make drive")
def test_states_and_weights_on_a_drive_are_those_in_memory(recipe_file: Path, tmp_path: Path) -> None:
    """Wide enough that pieces of a matrix are above the MiB from which on DeepSpeed moves them."""
    text = recipe_file.read_text().replace("d_model: 32, n_layers: 2", "d_model: 256, n_layers: 1")
    recipe_file.write_text(text.replace("d_ff: 48", "d_ff: 2112").replace("steps: 6", "steps: 4"))
    finish(start_ranks(2, DRIVE, recipe_file, tmp_path))
    for names in (("states", "cut"), ("low", "weights")):
        here, there = (load_file(tmp_path / name / "model/model.safetensors") for name in names)
        assert all(torch.equal(here[name], there[name]) for name in here)
    assert losses(tmp_path / "states") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
    assert losses(tmp_path / "both") == pytest.approx(losses(tmp_path / "low"), rel=1e-4)
    assert not list((tmp_path / "drive").iterdir())


@pytest.mark.slow
def test_ctrl_c_saves_on_both_ranks_and_the_command_goes_on(recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", str(recipe_file), "--out", str(run), "--nproc", "2", "--schedule.steps", "400"]
    command = [sys.executable, "-m", "omni.cli", *words]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while not read_log(run) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=200)[1].decode()
    assert process.returncode == 130, errors
    assert "the same command goes on" in errors and "Traceback" not in errors
    state = json.loads(next((run / "checkpoints").glob("step-*/state.json")).read_text())
    assert 0 < state["step"] < 400 and state["cursor"] == 8 * state["step"] and state["world"] == 2
    again = [word if word != "2" else "1" for word in command]          # one process goes on with what two began
    again += ["--resume", "--schedule.steps", str(state["step"] + 1)]
    subprocess.run(again, env=environment(), check=True, capture_output=True)
    assert read_log(run)[-1]["step"] == state["step"] + 1
