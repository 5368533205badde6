"""Runs whose rule has a memory: stopped and gone on with, on two processes, and what their recipes may say."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omni.cli import main
from omni.train.data.loader import GlobalBatch
from omni.train.engine import Trainer
from omni.train.environment import free_port
from omni.train.monitor.log import read_log
from omni.train.monitor.tally import Tally
from omni.train.recipe import Recipe

SHORT = {"valid": "[]", "model.n_layers": "1", "schedule.steps": "3", "batch.micro": "4"}
WORKER = """
import json, sys
from pathlib import Path
import torch
from omni.train.engine import Trainer
from omni.train.recipe import Recipe

torch.set_num_threads(1)
found = {}
for rule, zero in (("gradnorm", 2), ("graddrop", 1)):
    recipe = Recipe.load(sys.argv[1], {**json.loads(sys.argv[3]), "multitask.method": rule, "zero": zero})
    trainer = Trainer(recipe, Path(sys.argv[2]) / rule, device="cpu")
    trainer.train()
    found[rule] = trainer.weigher.memory()
    trainer.close()
(Path(sys.argv[2]) / f"memory-{trainer.rank}.json").write_text(json.dumps(found))
"""


class Stopped(Trainer):
    def optimize(self, batch: GlobalBatch, tally: Tally) -> None:
        super().optimize(batch, tally)
        if self.step == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def trained(recipe: Path, run: Path, rule: str, kind: type[Trainer] = Trainer, **more: str) -> Trainer:
    trainer = kind(Recipe.load(recipe, {**SHORT, "multitask.method": rule, **more}), run, device="cpu")
    trainer.train()
    trainer.close()
    return trainer


@pytest.mark.parametrize("rule", ["gradnorm", "gradvac"])
def test_a_stopped_run_goes_on_bit_for_bit(rule: str, three: Path, tmp_path: Path) -> None:
    whole = trained(three, tmp_path / "whole", rule)
    cut = trained(three, tmp_path / "cut", rule, Stopped)
    assert whole.weigher and cut.weigher and cut.step == 1
    early = cut.weigher.memory()
    cut = trained(three, tmp_path / "cut", rule)
    assert cut.weigher and cut.weigher.memory() == whole.weigher.memory() != early
    one, two = (load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(three: Path, tmp_path: Path) -> None:
    """In ZeRO 2 and 1, and both the same to the bit. GradVac runs on two with the curvature's tests."""
    (tmp_path / "worker.py").write_text(WORKER)
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    words = [str(tmp_path / "worker.py"), str(three), str(tmp_path), json.dumps(SHORT)]
    ranks = [
        subprocess.Popen([sys.executable, *words], env={**os.environ, **meeting, "RANK": rank}, stderr=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    errors = [rank.communicate()[1].decode() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(errors)
    first, second = (json.loads((tmp_path / f"memory-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    for rule in first:
        alone = trained(three, tmp_path / f"one-{rule}", rule)
        assert alone.weigher
        for name, values in alone.weigher.memory().items():
            assert first[rule][name] == pytest.approx(values, rel=1e-4, abs=1e-6)
        losses = [[record["loss"] for record in read_log(tmp_path / name)] for name in (rule, f"one-{rule}")]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("method", "keys", "message"),
    [
        ("gradnorm", {"alpha": "-1"}, "multitask.alpha: goes with method: gradnorm and is 0 or more"),
        ("imtl-l", {"alpha": "1"}, "multitask.alpha: goes with method: gradnorm"),
        ("mgda", {"lr": "0.1"}, "multitask.lr: goes with method: gradnorm or imtl-l or uncertainty and is above 0"),
        ("uncertainty", {"lr": "0"}, "and is above 0"),
        ("gradvac", {"temperature": "2"}, "multitask.temperature: goes with method: scalarization"),
        ("gradnrom", {}, "multitask.method: expected"),
    ],
)
def test_recipes_say_what_a_rule_understands(
    method: str, keys: dict[str, str], message: str, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for key, value in {"method": method, **keys}.items() for word in (f"--multitask.{key}", value)]
    assert main(["train", str(recipe_file), "--out", str(recipe_file.parent / "run"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
