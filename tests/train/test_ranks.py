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

from omni.train.environment import free_port
from omni.train.monitor import read_log

WORKER = """
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
train(0, "muon", 2, "muon")
train(0, "muon", kind="muon")
"""


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in read_log(run)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


@pytest.mark.slow
def test_two_ranks_of_every_stage_equal_one_process(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    words = [sys.executable, str(tmp_path / "worker.py"), str(recipe_file)]
    port = str(free_port())
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [*words, str(tmp_path / "two")],
            env=environment(**meeting, RANK=str(rank), LOCAL_RANK=str(rank)),
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    cli = [sys.executable, "-m", "omni.cli", "train", str(recipe_file), "--zero", "0", "--out", str(tmp_path / "one")]
    subprocess.run(cli, env=environment(), check=True, capture_output=True)
    errors = [rank.communicate()[1].decode() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(errors)
    expected = losses(tmp_path / "one")
    assert len(expected) == 8
    for name in (*(f"whole-{zero}" for zero in range(4)), "off-2", "off-3"):
        assert losses(tmp_path / "two" / name) == pytest.approx(expected, rel=1e-5)
    # four stages, one a step, then one process to the end; Muon, stopped once, by two processes and by one
    for name, kind in (("hop", "adamw"), ("muon", "muon")):
        run = tmp_path / ("one-muon" if kind == "muon" else "two/hop")
        words = [str(run) if word == str(tmp_path / "one") else word for word in cli]
        subprocess.run([*words, "--optimizer.kind", kind], env=environment(), check=True, capture_output=True)
        wanted = expected if kind == "adamw" else losses(run)
        assert losses(tmp_path / "two" / name) == pytest.approx(wanted, rel=1e-5)
    for zero in (1, 3):
        whole, cut = (
            load_file(tmp_path / "two" / f"{name}-{zero}/model/model.safetensors") for name in ("whole", "cut")
        )
        assert all(torch.equal(whole[name], cut[name]) for name in whole)


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
