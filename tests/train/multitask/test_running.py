"""Multi-task rules in real runs, against a plain loop on whole batches and dense Jacobians.

That processes and stages of ZeRO change nothing is tested with the curvature's.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import fsolve
from torch import Tensor
from torchjd.aggregation import IMTLG, MGDA, CAGrad

from omni.errors import InputError
from omni.model.init import draw, spreads
from omni.model.transformer import Batch, OmniTransformer
from omni.train.data.loader import Dataset, GlobalBatch, Loader, Share
from omni.train.engine import Trainer
from omni.train.monitor.tally import Tally
from omni.train.multitask.rules import DRAWS
from omni.train.multitask.running import normalised
from omni.train.recipe import Recipe

SMALL = {"valid": "[]", "model.n_layers": "1", "schedule.steps": "2", "schedule.kind": "constant",
         "schedule.warmup": "0", "optimizer.clip": "0", "optimizer.weight_decay": "0"}  # fmt: skip


def trained(recipe_file: Path, run: Path, kind: type[Trainer] = Trainer, **overrides: str) -> Trainer:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    trainer = kind(Recipe.load(recipe_file, SMALL | keys), run, device="cpu")
    trainer.train()
    trainer.close()
    return trainer


RULES: dict[str, Any] = {"mgda": MGDA, "imtl-g": IMTLG, "cagrad": lambda: CAGrad(c=0.5), "nash-mtl": None}


class Recorded(Trainer):
    """Keeps the weights of every step."""

    def optimize(self, batch: GlobalBatch, tally: Tally) -> None:
        super().optimize(batch, tally)
        assert self.weigher
        self.seen = [*getattr(self, "seen", []), self.weigher.weights.float()]


def nash(jacobian: Tensor) -> Tensor:
    """Weights with (J J^T w)_i = 1 / w_i (Navon et al. 2022, claim 3.1), by Newton's method in float64."""
    products = (jacobian @ jacobian.T).double().numpy()
    scale = np.trace(products)
    found = fsolve(lambda w: products @ w * w / scale - 1, np.ones(len(products)))
    return torch.from_numpy(found).float()


def combined(rule: str, jacobian: Tensor) -> Tensor:
    """The gradient from a dense Jacobian [tasks, numbers], with weights that have a sum of one."""
    aggregator = RULES[rule]
    found = nash(jacobian) if aggregator is None else aggregator().gramian_weighting(jacobian @ jacobian.T)
    return found / found.sum() @ jacobian


def by_hand(trainer: Trainer, combine: Callable[[int, list[int], Tensor], Tensor]) -> tuple[list[Tensor], list[int]]:
    """Weights after two steps of AdamW on the tasks' mean losses, from dense Jacobians; and how many tasks each batch
    had. combine: step, tasks that are there, Jacobian [tasks, numbers] to the gradient [numbers]
    """
    data, rows = Dataset.load(trainer.recipe.data, trainer.recipe.sequence_length), trainer.recipe.batch.rows
    loader = Loader(data, data.order(1.0, {}, 0), Share(rows, rows))
    model = OmniTransformer(trainer.config)
    for name, spread in spreads(model, model.config).items():
        draw(model.get_parameter(name).detach().view(-1), 0, name, spread, seed=0)
    parameters, counts = list(model.parameters()), []
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(2):
        batch = loader.batch(rows * step)
        gradients, here = [], sorted(set(batch.tasks[0].tolist()))
        for task in here:
            index = torch.from_numpy(batch.tasks[0] == task)
            part = batch.micro[0]
            losses = model(Batch(part.ids[index], part.loss[index], part.document[index], part.prefix[index]))
            gradients.append(torch.cat([
                g.flatten() for g in torch.autograd.grad(losses.total / len(losses.each), parameters)
            ]))  # fmt: skip
        jacobian = torch.stack(gradients)                               # [tasks, numbers]
        counts.append(len(here))
        total = combine(step, here, jacobian)
        for parameter, piece in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = piece.view_as(parameter)
        optimizer.step()
    return [parameter.detach() for parameter in parameters], counts


def compare(trainer: Trainer, expected: list[Tensor]) -> None:
    for one, two in zip(trainer.engine.module.parameters(), expected, strict=True):
        assert float((one.detach() - two).abs().max()) < 1e-4           # of changes of 2e-3


def test_fixed_weights_are_those_of_a_plain_loop(recipe_file: Path, tmp_path: Path) -> None:
    weights = "{copy: 3.0}"
    trainer = trained(recipe_file, tmp_path, zero="0", multitask__method="scalarization", multitask__weights=weights)
    compare(trainer, by_hand(trainer, lambda step, here, jacobian: torch.tensor([0.75, 0.25]) @ jacobian)[0])


@pytest.mark.parametrize("rule", RULES)
def test_rules_are_those_of_a_plain_loop(rule: str, three: Path, tmp_path: Path) -> None:
    trainer = trained(three, tmp_path, zero="0", multitask__method=rule)
    expected, counts = by_hand(trainer, lambda step, here, jacobian: combined(rule, jacobian))
    assert counts == [2, 3]
    compare(trainer, expected)


@pytest.mark.parametrize("zero", ["0", "2"])
def test_signs_are_dropped_as_in_a_plain_loop(zero: str, three: Path, tmp_path: Path) -> None:
    """Chen et al. 2020, algorithm 1, with one chance for each number of each parameter that has a gradient at all."""
    trainer = trained(three, tmp_path, zero=zero, multitask__method="graddrop")
    sizes = [parameter.numel() for parameter in trainer.engine.module.parameters()]

    def combine(step: int, here: list[int], jacobian: Tensor) -> Tensor:
        torch.manual_seed(step)
        found = torch.zeros_like(jacobian[0])
        for part, rows in zip(found.split(sizes), jacobian.split(sizes, dim=1), strict=True):
            some = rows.any(dim=0)
            purity = (1 + rows[:, some].sum(dim=0) / rows[:, some].abs().sum(dim=0)) / 2
            up = purity > torch.rand(len(purity))
            kept = torch.where(up, rows[:, some].clamp(min=0), rows[:, some].clamp(max=0))
            part[some] = kept.sum(dim=0) / len(here)
        return found

    expected, counts = by_hand(trainer, combine)
    assert counts == [2, 3]
    compare(trainer, expected)


def test_by_temperature_weights_follow_the_rows(recipe_file: Path, tmp_path: Path) -> None:
    trainer = trained(recipe_file, tmp_path, zero="0", multitask__method="scalarization", multitask__temperature="0.5")
    assert trainer.weigher
    one, two = (count**2 for count in trainer.data.rows.values())
    assert trainer.weigher.weights.tolist() == pytest.approx([one / (one + two), two / (one + two)]) and one != two


@pytest.mark.parametrize("rule", DRAWS)
def test_random_weights_are_of_the_tasks_that_are_there(rule: str, three: Path, tmp_path: Path) -> None:
    trainer = trained(three, tmp_path, Recorded, zero="0", multitask__method=rule)
    assert isinstance(trainer, Recorded)
    seen = torch.stack(trainer.seen)                                    # [steps, tasks]
    assert torch.allclose(seen.sum(dim=1), torch.ones(2)) and float((seen[0] - seen[1]).abs().min()) > 1e-3
    assert seen.count_nonzero(dim=1).tolist() == [2, 3]
    compare(trainer, by_hand(trainer, lambda step, here, jacobian: seen[step, here] @ jacobian)[0])


def test_where_a_rule_has_no_weights_all_count_alike() -> None:
    assert normalised(torch.zeros(4)).tolist() == [0.25] * 4
    assert normalised(torch.tensor([float("nan"), 1.0])).tolist() == [0.5, 0.5]
    assert normalised(torch.tensor([3.0, 3.0, -4.0])).tolist() == [1.5, 1.5, -2.0]


def test_what_does_not_go_together_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    for keys in ({"zero": "3"}, {"multitask.weights": "{copy: 2.0}"}):
        with pytest.raises(InputError, match="multitask"):
            Recipe.load(recipe_file, {"multitask.method": "mgda", **keys})
    for keys in ({"multitask.method": "mgda"}, {"multitask.weights": "{copy: 2.0}"}, {"multitask.temperature": "0"}):
        with pytest.raises(InputError, match="temperature"):
            Recipe.load(recipe_file, {"multitask.method": "scalarization", "multitask.temperature": "2"} | keys)
    with pytest.raises(InputError, match="no task 'sing'"):
        trained(recipe_file, tmp_path, multitask__method="scalarization", multitask__weights="{sing: 1.0}")
