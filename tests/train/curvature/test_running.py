"""The curvature of real runs, as the log has it, whatever the stage of ZeRO and the number of processes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from omni.errors import InputError
from omni.files import read_json
from omni.model.twice import twice_differentiable
from omni.train.curvature.lanczos import HOLD, LEAST
from omni.train.curvature.parts import examine_parts
from omni.train.data.loader import GlobalBatch, Loader, Share
from omni.train.engine import Trainer
from omni.train.launch import launch
from omni.train.monitor.log import Monitor, draw_losses, read_log
from omni.train.monitor.report import write_report
from omni.train.monitor.tally import Tally
from omni.train.multitask.by_task import taken
from omni.train.recipe import Recipe

EVERY = {"monitor.curvature": "2", "monitor.rows": "3", "schedule.steps": "4", "valid": "[]", "model.n_layers": "1"}
CONSTANT = {"schedule__kind": "constant", "schedule__warmup": "0", "monitor__curvature": "1"}


def looks(run: Path) -> list[dict[str, Any]]:
    return [record for record in read_log(run) if record["kind"] == "curvature"]


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in read_log(run) if record["kind"] == "train"]


def learnt(run: Path) -> list[float]:
    """Mean cosines of the tasks' gradients, that GradVac keeps."""
    return read_json(next((run / "checkpoints").glob("step-*/state.json")))["multitask"]["gradvac"]


def train_record(run: Path, step: int) -> dict[str, Any]:
    return next(record for record in read_log(run) if (record["kind"], record["step"]) == ("train", step))


def watched(recipe: Path, run: Path, kind: type[Trainer] = Trainer, **overrides: str) -> Trainer:
    """A run in this process."""
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    trainer = kind(Recipe.load(recipe, EVERY | keys), run, device="cpu")
    trainer.train()
    trainer.close()
    return trainer


def dense(loss: Any, parameters: list[Tensor]) -> Tensor:
    """All second derivatives, by a batch of unit vectors."""
    with twice_differentiable():
        first = torch.autograd.grad(loss(), parameters, create_graph=True)
    flat = torch.cat([one.flatten() for one in first])
    rows = torch.autograd.grad(flat, parameters, torch.eye(len(flat)), is_grads_batched=True)
    return torch.cat([one.flatten(1) for one in rows], dim=1)


class Watched(Trainer):
    """Keeps the dense Hessian and the second moments of its last step, after which it looks."""

    def optimize(self, batch: GlobalBatch, tally: Tally) -> None:
        super().optimize(batch, tally)
        probe = self.probe
        if probe is None or self.step == 0:
            return
        parameters = list(probe.parameters.values())
        batch = Loader(self.data, self.stages.order, Share(3, 3)).batch(0)
        model, weights = self.engine.module.model, self.recipe.multitask.weights
        self.seen = [self.data.tasks[task] for task in batch.tasks[0]]
        whole = sum(weights[task] for task in set(self.seen)) if weights else 1.0

        def loss() -> Tensor:
            if not weights:
                return model(batch.micro[0]).total / batch.trained
            means = Tensor()
            for task in set(self.seen):
                rows = torch.tensor([row for row, one in enumerate(self.seen) if one == task])
                found = model(taken(batch.micro[0], rows))
                means = torch.cat([means, weights[task] / whole * found.total[None] / len(found.each)])
            return means.sum()

        self.hessian = dense(loss, parameters)
        self.steps = [float(self.optimizer.state[p]["step"]) for p in parameters]
        self.moments = torch.cat([self.optimizer.state[p]["exp_avg_sq"].flatten() for p in parameters])
        self.rate = self.optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize(("clip", "weights"), [(0.0, ""), (0.01, ""), (0.0, "{copy: 1, say: 5}")])
def test_a_look_is_that_of_dense_algebra(recipe_file: Path, tmp_path: Path, clip: float, weights: str) -> None:
    """A step whose gradient was clipped is the step at as much less of the rate. The loss is that which is trained."""
    weighted = {"multitask__method": "scalarization", "multitask__weights": weights} if weights else {}
    small = {"model__d_model": "8", "model__d_ff": "4", "freeze": "[embedding.*]", "schedule__steps": "2", **weighted}
    trainer = watched(recipe_file, tmp_path, Watched, zero="0", optimizer__clip=str(clip), **small)
    assert isinstance(trainer, Watched) and len(set(trainer.seen)) == 2
    (record,) = looks(tmp_path)
    assert trainer.probe is not None
    vector = trainer.probe.last["plain"]
    assert record["sharpness"] == pytest.approx(float(vector @ trainer.hessian @ vector), rel=1e-3)
    if weights:                                                         # only whether it is the curvature of that loss
        return
    expected = float(torch.linalg.eigvalsh(trainer.hessian.double())[-1])
    assert abs(record["sharpness"] - expected) < max(record["sharpness_error"], 0.01 * expected)
    first, second = (1 - beta ** trainer.steps[0] for beta in (0.9, 0.95))
    p = first * ((trainer.moments.double() / second).sqrt() + 1e-8)
    scaled = float(torch.linalg.eigvalsh(trainer.hessian.double() / (p[:, None] * p).sqrt())[-1])
    norm = train_record(tmp_path, 2)["gradient_norm"]
    kept = clip / norm if clip else 1.0
    assert kept < 0.5 or not clip
    limit = 2 * 1.9 / (0.1 * trainer.rate * kept)                       # decay of 0.1 moves it by 5e-5
    assert record["threshold"] == pytest.approx(limit, rel=1e-3)
    assert record["preconditioned"] == pytest.approx(scaled, rel=0.05)
    assert record["ratio"] == pytest.approx(scaled / limit, rel=0.05)


def test_a_first_look_must_stand_and_later_ones_need_not(recipe_file: Path, tmp_path: Path) -> None:
    watched(recipe_file, tmp_path, zero="0", monitor__curvature="1", monitor__rows="1")
    first, *later = [record["products"] for record in looks(tmp_path)]
    assert first >= 2 * (LEAST + HOLD) and max(later) < first


def test_a_look_is_given_up_where_the_run_is_to_stop(recipe_file: Path, tmp_path: Path) -> None:
    """Between two products; then it leaves no record."""
    trainer = watched(recipe_file, tmp_path, zero="0")
    probe, asked = trainer.probe, list[int]()
    assert probe is not None and len(looks(tmp_path)) == 2

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    assert probe.report(trainer.stages, 4, 1.0, stop) is None and len(asked) == 4
    found = probe.report(trainer.stages, 4, 1.0, lambda: False)
    assert found is not None and found["sharpness"] > 0


def test_more_rows_than_a_step_has_are_refused(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"monitor\.rows: 9 is above batch\.rows=8"):
        watched(recipe_file, tmp_path, zero="0", monitor__rows="9")


@pytest.mark.slow
def test_zero_and_ranks_change_nothing(recipe_file: Path, tmp_path: Path) -> None:
    """Neither of the curvature nor of what a multi-task rule makes of the gradients."""
    watched(recipe_file, tmp_path / "0", zero="0", multitask__method="gradvac")
    watched(recipe_file, tmp_path / "1", zero="1", multitask__method="gradvac")
    launch(Recipe.load(recipe_file, {**EVERY, "zero": "2", "multitask.method": "gradvac"}), tmp_path / "2", nproc=2)
    alone = looks(tmp_path / "0")
    assert [record["step"] for record in alone] == [2, 4] and all(record["converged"] for record in alone)
    cosines = torch.tensor(learnt(tmp_path / "0"))
    assert cosines.count_nonzero() == 2
    for other in ("1", "2"):
        assert torch.allclose(torch.tensor(learnt(tmp_path / other)), cosines, rtol=1e-3)
        for one, two in zip(alone, looks(tmp_path / other), strict=True):
            for key in ("sharpness", "preconditioned", "threshold", "ratio"):
                assert two[key] == pytest.approx(one[key], rel=2e-3), key
        assert losses(tmp_path / other) == pytest.approx(losses(tmp_path / "0"), rel=1e-4)


def test_other_optimizers_and_memory(recipe_file: Path, tmp_path: Path) -> None:
    watched(recipe_file, tmp_path / "muon", zero="0", optimizer__kind="muon")
    watched(recipe_file, tmp_path / "less", zero="0", optimizer__kind="muon", activation_checkpointing="true")
    plain, thrifty = looks(tmp_path / "muon"), looks(tmp_path / "less")
    assert [one["ratio"] for one in plain] == pytest.approx([one["ratio"] for one in thrifty], rel=1e-3)
    watched(recipe_file, tmp_path / "adafactor", zero="0", optimizer__kind="adafactor")
    assert len(looks(tmp_path / "adafactor")) == 2


def test_a_rate_that_is_too_high_is_told_before_it_diverges(recipe_file: Path, tmp_path: Path) -> None:
    """However seldom the recipe looks: after 4, 8, 16 ... steps, too."""
    free = {"optimizer__lr": "3.0", "optimizer__clip": "0", "faults__spike": "0", "schedule__steps": "40"}
    seldom = {"monitor__curvature": "100", "schedule__warmup": "30"}
    watched(recipe_file, tmp_path, zero="0", **{**CONSTANT, **free, **seldom})
    assert [record["step"] for record in looks(tmp_path)] == [4, 8, 16, 32]
    told = next(record["step"] for record in looks(tmp_path) if "may diverge" in record.get("warning", ""))
    trained = [record for record in read_log(tmp_path) if record["kind"] == "train"]
    assert told < next(record["step"] for record in trained if record["loss"] > 2 * trained[0]["loss"])


def test_a_warning_is_wherever_one_looks(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, in the log, in the plot and in the report."""
    run, page = tmp_path / "run", tmp_path / "page.html"
    watched(recipe_file, run, zero="0", optimizer__lr="3.0", **CONSTANT)
    assert "may diverge" in capsys.readouterr().err and max(record["ratio"] for record in looks(run)) > 1.5
    told = [record for record in looks(run) if "may diverge" in record.get("warning", "")]
    assert told and all(record["ratio_ahead"] > 2 for record in told)
    write_report([run], page)
    assert page.read_text().count("may diverge") == len(told)
    records = read_log(run)
    draw_losses(records, tmp_path / "marked.png")
    draw_losses([{k: v for k, v in one.items() if k != "warning"} for one in records], tmp_path / "plain.png")
    assert (tmp_path / "marked.png").read_bytes() != (tmp_path / "plain.png").read_bytes()


def test_a_rate_of_zero_has_no_ratio(recipe_file: Path, tmp_path: Path) -> None:
    """At the end of a schedule, whose last look has the sharpness alone; the plot and the report leave the rest out."""
    run = tmp_path / "run"
    chosen = {"schedule__final": "0", "optimizer__clip": "0", "optimizer__groups": "{embedding.*: 0}"}
    trainer = watched(recipe_file, run, zero="0", **chosen)
    before, last = looks(run)
    assert {"threshold", "preconditioned", "ratio", "ratio_ahead"} < set(before) and before["ratio"] > 0
    limit = 38 / train_record(run, 2)["lr"]                             # of what moves, which the embedding does not
    assert before["threshold"] == pytest.approx(limit, rel=0.01)
    assert last["sharpness"] > 0 and not {"threshold", "preconditioned", "ratio", "ratio_ahead"} & set(last)
    assert not any("warning" in record for record in read_log(run))
    write_report([run], tmp_path / "page.html")
    assert examine_parts(trainer) == []
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.01 * group["rate"]
    assert {part.name for part in examine_parts(trainer)} == {"blocks.0.attention", "blocks.0.feed_forward", "norm"}


def test_a_warning_without_a_look_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(tmp_path, 4, 0, {})
    monitor.curvature({"step": 2, "warning": "curvature: the gradient has numbers that are not finite"})
    monitor.close(done=True)
    assert [(one["kind"], one["step"]) for one in read_log(tmp_path)] == [("warning", 2)]
    assert "step 2: curvature: the gradient" in capsys.readouterr().err


def test_muon_is_not_warned_of_but_told_of_once(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watched(recipe_file, tmp_path, zero="0", optimizer__kind="muon", optimizer__lr="3.0", **CONSTANT)
    assert sum(record["ratio_ahead"] > 2 for record in looks(tmp_path)) > 1
    assert sum("note" in record for record in looks(tmp_path)) == 1
    assert not any("warning" in record for record in read_log(tmp_path))
    assert capsys.readouterr().err.count("Muon overshoots") == 1


def test_what_cannot_be_watched_is_refused(recipe_file: Path) -> None:
    with pytest.raises(InputError, match=r"monitor\.curvature"):
        Recipe.load(recipe_file, {"monitor.curvature": "2", "zero": "3"})
    for keys in ({"monitor.curvature": "-5"}, {"monitor.rows": "0"}):
        with pytest.raises(InputError, match="curvature is 0 or more steps, and rows 1 or more"):
            Recipe.load(recipe_file, keys)
