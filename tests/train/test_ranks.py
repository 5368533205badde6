"""Two, three and four gloo ranks: every ZeRO stage gives the losses of one process, and goes on bit for bit."""

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
from omni.train.engine import Trainer
from omni.train.environment import free_port
from omni.train.monitor.log import read_log
from omni.train.recipe import Recipe

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
UNEVEN = """
for zero in range(4):
    train(zero, f"three-{zero}")
train(2, "changed", 2)
"""
STAGES = """
for zero in (1, 3):
    train(zero, f"whole-{zero}")
    train(zero, f"cut-{zero}", 2)
    train(zero, f"cut-{zero}")
for stop, zero in enumerate((1, 3, 0, 2)):
    train(zero, "hop", stop)
train(1, "changed")
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

blocks = {"parallel.tensor": 2}
train(1, "blocks-1", **blocks)
train(1, "blocks-cut", 3, **blocks)
train(1, "blocks-cut", **blocks)
train(0, "from-blocks", 3, **blocks)
train(1, "to-blocks", 3)
train(2, "to-blocks", **blocks, **{"activation_checkpointing": True, "offload.optimizer": "cpu"})
assert "torch._inductor.compile_fx" not in sys.modules, "who compiles nothing should not wait for its import"
"""
FOUR = """
for zero in (0, 3):
    train(zero, f"shared-{zero}", **{"parallel.sequence": 2, "batch.rows": 3, "batch.micro": 1})
blocks = {"parallel.tensor": 2}
train(2, "four", **blocks)
train(1, "four-hop", 1, **blocks)
train(0, "four-hop", 2, **blocks)
train(3, "four-hop")
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

UNEQUAL = """
from datetime import timedelta
import torch.distributed as dist
from omni.train.curvature import CurvatureError, Hessian
from omni.train.curvature.running import total

dist.init_process_group("gloo", timeout=timedelta(seconds=60))
weight, scale, vector = torch.ones(2, requires_grad=True), [1.0], torch.ones(2)
loss = lambda: scale[0] * weight.pow(4).sum()
operator = Hessian([loss], [weight], total, keep=False)
assert (operator @ vector).tolist() == [24.0, 24.0]
scale[0] = torch.nan if dist.get_rank() else 1.0
for look, what in ((lambda: operator @ vector, "product"), (lambda: Hessian([loss], [weight], total), "gradient")):
    try:
        look()
    except CurvatureError as error:
        assert f"{'loss' if dist.get_rank() else what} has numbers that are not finite" in str(error), error
    else:
        raise AssertionError("nothing was said")
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


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all runs lie. Processes take longer to start than to train: those of a number are started once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def recipe(recipe_text: str, runs: Path) -> Path:
    """Two queries a key, and a gradient that is clipped at every step."""
    text = recipe_text.replace("n_heads: 2, n_kv_heads: 2", "n_heads: 4, n_kv_heads: 2").replace("steps: 6", "steps: 5")
    (runs / "recipe.yaml").write_text(text + "optimizer: {clip: 0.5}\n")
    return runs / "recipe.yaml"


@pytest.fixture(scope="module")
def three(recipe: Path, runs: Path) -> None:
    finish(start_ranks(3, UNEVEN, recipe, runs))


@pytest.fixture(scope="module")
def two(recipe: Path, runs: Path, three: None) -> None:
    finish(start_ranks(2, STAGES, recipe, runs))


@pytest.fixture(scope="module")
def four(recipe: Path, runs: Path) -> None:
    finish(start_ranks(4, FOUR, recipe, runs))


def alone(recipe: Path, run: Path, **changes: object) -> list[float]:
    """Losses of this process, which trains, or goes on with, a run."""
    keys = {key.replace("__", "."): value for key, value in changes.items()}
    trainer = Trainer(Recipe.load(recipe, {"zero": 0, **keys}), run, device="cpu")
    assert trainer.train() is None
    trainer.close()
    return losses(run)


@pytest.fixture(scope="module")
def expected(recipe: Path, runs: Path) -> list[float]:
    found = alone(recipe, runs / "one")
    assert len(found) == 7                                              # two of them in validation
    return found


def same_weights(one: Path, two: Path) -> bool:
    first, second = (load_file(run / "model/model.safetensors") for run in (one, two))
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_rows_that_three_ranks_cannot_divide_are_learnt_from_all_the_same(
    three: None, runs: Path, expected: list[float]
) -> None:
    """Eight rows: the third rank has two of them and computes a masked micro-batch beside the others' second."""
    for zero in range(4):
        assert losses(runs / f"three-{zero}") == pytest.approx(expected, rel=1e-5), zero


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_ranks_of_every_stage_equal_one_process(
    two: None, runs: Path, recipe: Path, expected: list[float]
) -> None:
    alone(recipe, runs / "hop")                                         # four stages, one a step, then one process
    for name in ("whole-1", "whole-3", "hop", "changed", "off-2", "off-3", "steps-0"):
        assert losses(runs / name) == pytest.approx(expected, rel=1e-5), name
    for kind in ("muon", "adafactor"):
        wanted = alone(recipe, runs / f"one-{kind}", optimizer__kind=kind)
        assert losses(runs / kind) == pytest.approx(wanted, rel=1e-5), kind
    for whole, cut in (("whole-1", "cut-1"), ("whole-3", "cut-3"), ("factored", "adafactor")):
        assert same_weights(runs / whole, runs / cut), cut


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_masked_micro_batch_whose_steps_are_shared(four: None, runs: Path, recipe: Path) -> None:
    """Three rows for two pairs of ranks."""
    wanted = alone(recipe, runs / "one-rows", batch__rows=3, batch__micro=1)
    for zero in (0, 3):
        assert losses(runs / f"shared-{zero}") == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_shared_blocks_learn_like_whole_ones(
    two: None, four: None, runs: Path, recipe: Path, expected: list[float]
) -> None:
    alone(recipe, runs / "from-blocks")                                 # what two began with shared blocks
    for name in ("blocks-1", "blocks-cut", "from-blocks", "to-blocks", "four", "four-hop"):
        assert losses(runs / name) == pytest.approx(expected, rel=1e-5), name
    whole, shared = (load_file(runs / name / "model/model.safetensors") for name in ("one", "blocks-1"))
    for name, weight in whole.items():
        torch.testing.assert_close(shared[name], weight, rtol=1e-3, atol=1e-5)
    assert same_weights(runs / "blocks-1", runs / "blocks-cut")


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
    again = [word if word != "2" else "1" for word in words]            # one process goes on with what two began
    assert main([*again, "--resume", "--schedule.steps", str(state["step"] + 1)]) == 0
    assert read_log(run)[-1]["step"] == state["step"] + 1


@pytest.mark.slow
def test_a_rank_whose_loss_is_not_finite_does_not_leave_the_others_waiting(recipe_file: Path, tmp_path: Path) -> None:
    """In a look at the curvature, whose sums all ranks take part in; all of them hear of it."""
    finish(start_ranks(2, UNEQUAL, recipe_file, tmp_path))
