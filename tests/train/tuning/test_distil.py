"""Learning from a teacher: its loss by the formula, and whole runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stopping import stopped_after

from omni.errors import InputError
from omni.model.config import ModelConfig
from omni.model.folder import save_model
from omni.model.loss import CHUNK
from omni.model.teacher import Teacher
from omni.model.transformer import OmniTransformer
from omni.train.data.loader import Dataset, Loader, Share
from omni.train.engine import Trainer
from omni.train.monitor.log import read_log
from omni.train.plan.memory import memory
from omni.train.recipe import Recipe
from omni.train.start.initial import shape_of
from omni.train.state.checkpoint import Checkpoints
from omni.vocab import Vocabulary

SHAPE = ModelConfig(d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=48, max_steps=64)


def saved(folder: Path, vocab: Vocabulary, **changes: object) -> Path:
    """A teacher of another shape than the recipe's, whose mind is made up."""
    torch.manual_seed(3)
    model = OmniTransformer(replace(SHAPE, **changes).for_vocabulary(vocab))  # type: ignore[arg-type]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_model(folder, model.state_dict(), model.config, vocab)
    return folder


@pytest.mark.parametrize(("prefix", "chunk"), [(False, 512), (True, 7)])
def test_the_loss_and_its_gradient_are_those_of_the_formula(
    prefix: bool, chunk: int, recipe_file: Path, vocab: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64 over all logits: (1 - w) of what there was, w of -sum p log q, text counting as text_weight says."""
    monkeypatch.setitem(CHUNK, "cpu", chunk)
    data = Dataset.load(Recipe.load(recipe_file).data, 64)
    batch = Loader(data, data.order(1.0, {}, 0), Share(8, 8)).batch(0).micro[0]
    config = replace(SHAPE, prefix=prefix, text_weight=0.5).for_vocabulary(vocab)
    torch.manual_seed(0)
    student, teacher = OmniTransformer(config), OmniTransformer(replace(config, d_model=48, n_heads=4)).double()
    student.double()
    alone = student(batch)
    student.teacher = Teacher(teacher, 0.3)
    total = student(batch).total
    follows = (batch.document[:, 1:] == batch.document[:, :-1]) & (batch.document[:, 1:] > 0) & batch.loss[:, 1:]
    soft = (teacher.hidden(batch)[:, :-1][follows] @ teacher.table.T).softmax(-1).detach()
    logs = (student.hidden(batch)[:, :-1][follows] @ student.table.T).log_softmax(-1)
    counts = torch.where(batch.ids[:, 1:, 0][follows] < config.audio_start, 0.5, 1.0).double()
    expected = 0.7 * alone.total + 0.3 * -((soft * logs).sum(-1) * counts).sum()
    torch.testing.assert_close(total.double(), expected.double(), rtol=1e-5, atol=1e-5)
    names, parameters = zip(*student.named_parameters(), strict=True)
    assert not any("teacher" in name for name in names) and "teacher" not in str(list(student.state_dict()))
    found, wanted = (torch.autograd.grad(one, parameters) for one in (total, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    with torch.no_grad():                                               # validation is of the data alone
        assert float(student(batch).total) == pytest.approx(float(alone.total))


def run(kind: type[Trainer], recipe: Recipe, folder: Path) -> dict[str, torch.Tensor]:
    trainer = kind(recipe, folder, device="cpu")
    try:
        trainer.train()
    finally:
        trainer.close()
    return load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize("zero", [0, 1, *(pytest.param(zero, marks=pytest.mark.slow) for zero in (2, 3))])
def test_a_run_learns_from_it_and_goes_on_bit_for_bit(
    zero: int, recipe_file: Path, vocab: Vocabulary, tmp_path: Path
) -> None:
    folder = saved(tmp_path / "teacher", vocab)
    values = {"distill.teacher": str(folder), "distill.weight": 1.0, "zero": zero, "model.weight_bits": 1}
    recipe = Recipe.load(recipe_file, values)
    whole, alone = run(Trainer, recipe, tmp_path / "whole"), {**values, "distill.teacher": None}
    plain = run(Trainer, Recipe.load(recipe_file, alone), tmp_path / "plain")
    assert whole.keys() == plain.keys() and not torch.equal(whole["norm.weight"], plain["norm.weight"])
    run(stopped_after(3), recipe, tmp_path / "cut")
    state = Checkpoints(tmp_path / "cut").newest()
    assert state is not None and len(state[1].recipe["distill"]["teacher"]) == 16  # which, wherever it lies
    cut = run(Trainer, recipe, tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    first = [read_log(tmp_path / name)[0]["loss"] for name in ("whole", "plain")]
    assert first[0] == first[1]                                         # the log has the loss of the data


def test_a_teacher_that_cannot_teach_is_refused(recipe_file: Path, vocab: Vocabulary, tmp_path: Path) -> None:
    def refused(folder: Path, line: str, **changes: object) -> None:
        with pytest.raises(InputError, match=line):
            shape_of(Recipe.load(recipe_file, {"distill.teacher": str(folder), **changes}), vocab)

    refused(tmp_path / "nowhere", "no such model folder")
    refused(saved(tmp_path / "other", replace(vocab, text=255)), "distill.teacher: .*other was made with another vocab")
    refused(saved(tmp_path / "short", vocab, max_steps=32), "distill.teacher: has 32 steps, fewer than sequence_length")
    refused(tmp_path / "short", r"distill.weight: must be above 0 and at most 1, got 0", **{"distill.weight": 0})
    refused(tmp_path / "short", "distill: goes with parallel.* 1, no multitask", **{"multitask.method": "pcgrad"})


def test_a_plan_counts_the_teacher(recipe_file: Path, vocab: Vocabulary, tmp_path: Path) -> None:
    recipe = Recipe.load(recipe_file)
    config = recipe.model.config(vocab)
    folder = saved(tmp_path / "teacher", vocab)
    taught = replace(recipe, distill=replace(recipe.distill, teacher=str(folder)))
    shape = SHAPE.for_vocabulary(vocab)
    more = 4 * sum(shape.parameters().values()) + 2 * 4 * 64 * shape.head_dim
    assert memory(config, taught, 1).buffers == memory(config, recipe, 1).buffers + more
