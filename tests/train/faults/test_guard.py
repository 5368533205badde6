"""Bad steps are left out, written down, and in a row lead back to the last checkpoint."""

import json
import math
from pathlib import Path

import pytest
import torch

from omni.errors import InputError
from omni.train.data.loader import GlobalBatch
from omni.train.engine import Trainer
from omni.train.faults.guard import Guard
from omni.train.monitor.log import read_log
from omni.train.monitor.tally import Tally
from omni.train.recipe import Recipe


def test_spikes_and_no_numbers_are_refused() -> None:
    guard = Guard(spike=8.0, patience=2)
    for _ in range(16):
        assert guard.judge(2.0)
        guard.note(2.0, applied=True)
    assert guard.judge(2.79) and not guard.judge(2.81)                  # 8 times the narrowest spread, 0.1
    assert not guard.judge(math.nan) and not guard.judge(2.0, math.inf)
    mixed = Guard(spike=8.0, patience=2)                                # an easy task and a hard one take turns
    for loss in (0.5, 6.0) * 16:
        assert mixed.judge(loss)
        mixed.note(loss, applied=True)
    guard.note(math.nan, applied=False)
    assert not guard.lost
    guard.note(math.nan, applied=False)
    assert guard.lost
    other = Guard(spike=8.0, patience=2)
    other.remember(guard.memory())
    assert other.lost and other.skipped == 2 and not other.judge(2.81)


class Poisoned(Trainer):
    """Weights give no numbers while the batches at `bad` rows are looked at, as a broken item would make them."""

    bad: frozenset[int] = frozenset()

    def optimize(self, batch: GlobalBatch, tally: Tally) -> None:
        weight = self.engine.module.model.norm.weight
        kept = weight.detach().clone()
        if self.cursor in self.bad:
            with torch.no_grad():
                weight.fill_(math.nan)
        # stage 1 keeps its masters apart, so the poison goes when the step is skipped and the weight put back
        super().optimize(batch, tally)
        if self.cursor in self.bad:
            with torch.no_grad():
                weight.copy_(kept)


def run(recipe: Recipe, folder: Path, bad: set[int]) -> Trainer:
    trainer = Poisoned(recipe, folder, device="cpu")
    trainer.bad = frozenset(bad)
    try:
        assert trainer.train() is None
    finally:
        trainer.close()
    return trainer


def test_a_bad_batch_is_skipped_and_written_down(recipe_file: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(recipe_file)
    trainer = run(recipe, tmp_path, {16})
    assert trainer.guard.skipped == 1 and trainer.step == 6
    (record,) = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert (record["step"], record["cursor"], record["loss"]) == (2, 16, "nan")
    assert record["items"] == trainer.items(16) and len(record["items"]) > 1
    assert all(torch.isfinite(value).all() for value in trainer.engine.module.model.state_dict().values())


def test_bad_batches_in_a_row_lead_back_and_are_passed_by(recipe_file: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(recipe_file, {"checkpoint.every": 2, "faults.patience": 2})
    trainer = run(recipe, tmp_path, {16, 24})
    assert (trainer.step, trainer.cursor) == (6, 64)                    # steps 3 and 4 were done again, on later rows
    assert [record["step"] for record in read_log(tmp_path) if record["kind"] == "train"] == [1, 2, 3, 4, 5, 6]


def test_without_a_checkpoint_to_return_to_the_run_ends(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lower optimizer\.lr"):
        run(Recipe.load(recipe_file, {"faults.patience": 1}), tmp_path, {0})
