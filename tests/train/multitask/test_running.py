"""Multi-task rules in real runs, against a plain loop on whole batches and dense Jacobians.

That processes and stages of ZeRO change nothing is tested with the curvature's.
"""

from pathlib import Path

import pytest
import torch
from torchjd.aggregation import MGDA

from omni.errors import InputError
from omni.model.init import draw, spreads
from omni.model.transformer import Batch, OmniTransformer
from omni.train.data.loader import Dataset, Loader, Share
from omni.train.engine import Trainer
from omni.train.recipe import Recipe

SMALL = {"valid": "[]", "model.n_layers": "1", "schedule.steps": "2", "schedule.kind": "constant",
         "schedule.warmup": "0", "optimizer.clip": "0", "optimizer.weight_decay": "0"}  # fmt: skip


def trained(recipe_file: Path, run: Path, **overrides: str) -> Trainer:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    trainer = Trainer(Recipe.load(recipe_file, SMALL | keys), run, device="cpu")
    trainer.train()
    trainer.close()
    return trainer


def by_hand(trainer: Trainer, rule: str, weights: list[float]) -> list[torch.Tensor]:
    """Weights after two steps of AdamW on the weighted mean losses of the tasks, from dense Jacobians."""
    data = Dataset.load(trainer.recipe.data, trainer.recipe.sequence_length)
    loader = Loader(data, data.order(1.0, {}, 0), Share(8, 8))
    model = OmniTransformer(trainer.config)
    for name, spread in spreads(model, model.config).items():
        draw(model.get_parameter(name).detach().view(-1), 0, name, spread, seed=0)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(2):
        batch = loader.batch(8 * step)
        rows = []
        for task in range(len(data.tasks)):
            index = torch.from_numpy(batch.tasks[0] == task)
            part = batch.micro[0]
            losses = model(Batch(part.ids[index], part.loss[index], part.document[index], part.prefix[index]))
            rows.append(torch.cat([
                g.flatten() for g in torch.autograd.grad(losses.total / len(losses.each), parameters)
            ]))  # fmt: skip
        jacobian = torch.stack(rows)                                    # [tasks, numbers]
        plain = torch.tensor(weights) / sum(weights)
        total = MGDA()(jacobian) if rule == "mgda" else plain @ jacobian  # MGDA's weights add up to one already
        for parameter, piece in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = piece.view_as(parameter)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize("rule", ["mgda", "scalarization"])
def test_weights_are_those_of_a_plain_loop(rule: str, recipe_file: Path, tmp_path: Path) -> None:
    more = {"multitask__weights": "{copy: 3.0}"} if rule == "scalarization" else {}
    trainer = trained(recipe_file, tmp_path, zero="0", multitask__method=rule, **more)
    expected = by_hand(trainer, rule, [3.0, 1.0])
    for one, two in zip(trainer.engine.module.parameters(), expected, strict=True):
        assert float((one.detach() - two).abs().max()) < 2e-5           # of changes of 2e-3


def test_what_does_not_go_together_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    for keys in ({"zero": "3"}, {"multitask.weights": "{copy: 2.0}"}):
        with pytest.raises(InputError, match="multitask"):
            Recipe.load(recipe_file, {"multitask.method": "mgda", **keys})
    with pytest.raises(InputError, match="no task 'sing'"):
        trained(recipe_file, tmp_path, multitask__method="scalarization", multitask__weights="{sing: 1.0}")
