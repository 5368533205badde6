"""Whole runs of a tiny model, alone in this process."""

import errno
import math
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stopping import stopped_after

from omni.cli import main
from omni.errors import InputError
from omni.model.folder import learnt_languages, load_model
from omni.model.init import draw, spreads
from omni.model.transformer import OmniTransformer
from omni.tokenizers.text import TextTokenizer
from omni.train.data.loader import Dataset, Loader, Share
from omni.train.engine import Trainer
from omni.train.monitor.log import read_log
from omni.train.recipe import Recipe
from omni.train.schedule import Schedule
from omni.train.state.checkpoint import Checkpoints, Saving


def train(kind: type[Trainer], recipe: Recipe, run: Path) -> int | None:
    trainer = kind(recipe, run, device="cpu")
    try:
        return trainer.train()
    finally:
        trainer.close()


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in read_log(run) if record["kind"] == "train"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_a_disk_that_fills_before_a_checkpoint_is_named_costs_that_one(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Checkpoints.commit

    def commit(self: Checkpoints, saving: Saving) -> Path:
        if saving.state.step == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, saving)

    monkeypatch.setattr(Checkpoints, "commit", commit)
    assert train(Trainer, Recipe.load(recipe_file, {"checkpoint.every": 2}), tmp_path) is None
    assert "the checkpoint of step 2 could not be written" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"latest", "step-00000004", "step-00000006"}


def test_the_loss_curve_is_that_of_a_plain_loop(recipe_file: Path, tmp_path: Path) -> None:
    """In every stage: a few lines of torch on whole global batches, no DeepSpeed, no accumulation."""
    recipe = Recipe.load(recipe_file)
    for zero in range(4):
        assert train(Trainer, replace(recipe, zero=zero), tmp_path / str(zero)) is None  # type: ignore[arg-type]
    data = Dataset.load(recipe.data, recipe.sequence_length)
    loader = Loader(data, data.order(1.0, {}, 0), Share(8, 8))
    model = OmniTransformer(recipe.model.config(data.vocab))
    for name, spread in spreads(model, model.config).items():
        draw(model.get_parameter(name).detach().view(-1), 0, name, spread, seed=0)
    still = [p for name, p in model.named_parameters() if "norm" in name or "embedding" in name]
    moved = [p for name, p in model.named_parameters() if "norm" not in name and "embedding" not in name]
    groups = [{"params": moved, "weight_decay": 0.1}, {"params": still, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    schedule, expected = Schedule("cosine", 6, 2), []
    for step in range(6):
        batch = loader.batch(8 * step)
        result = model(batch.micro[0])
        (result.total / batch.trained).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * schedule.factor(step)
        optimizer.step()
        optimizer.zero_grad()
        expected.append(float(result.each.mean()))
    for zero in range(4):
        assert losses(tmp_path / str(zero)) == pytest.approx(expected, rel=1e-5), zero


def test_a_stopped_run_goes_on_bit_for_bit(recipe_file: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(recipe_file)
    assert train(Trainer, recipe, tmp_path / "whole") is None
    assert train(stopped_after(3), recipe, tmp_path / "cut") == signal.SIGTERM
    assert train(Trainer, recipe, tmp_path / "cut") is None
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    steps = [record["step"] for record in read_log(tmp_path / "cut") if record["kind"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_what_a_run_leaves(
    recipe_file: Path, shards: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, tokenizers = tmp_path / "run", tmp_path / "tokenizers"
    TextTokenizer.train([], 256).save(tokenizers / "text")
    words = ["train", str(recipe_file), "--out", str(run), "--tokenizers", str(tokenizers), "--zero", "0"]
    assert main([*words, "--schedule.steps", "3"]) == 0
    model, vocab = load_model(run / "model")
    assert model.config.d_model == 32 and len(vocab) == model.config.vocab_size
    assert learnt_languages(run / "model") == []
    assert len(TextTokenizer.load(run / "model" / "tokenizers" / "text")) == 256
    valid = [record for record in read_log(run) if record["kind"] == "valid"]
    assert [record["step"] for record in valid] == [3]
    assert set(valid[0]["tasks"]) == {"copy", "say"} and {"text", "audio"} <= set(valid[0]["modalities"])
    record = read_log(run)[-2]
    assert math.isclose(sum(record["share"].values()), 1) and record["gradient_norm"] > 0
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG") and "step 3 of 3" in (run / "loss.html").read_text()
    assert list((run / "tensorboard").glob("events*"))
    assert main([*words, "--schedule.steps", "3"]) == 0                 # finished already: nothing more happens
    assert read_log(run)[-2] == record
    assert main([*words, "--schedule.steps", "4"]) == 2
    assert main([*words, "--schedule.steps", "4", "--resume"]) == 0
    assert read_log(run)[-1]["step"] == 4
    capfd.readouterr()
    assert main([*words, "--schedule.steps", "3", "--resume"]) == 0
    assert "has 4 steps already, not 3: nothing is left to do" in capfd.readouterr().err
    assert main([*words, "--fresh", "--init", str(run / "model")]) == 2 and (run / "model").is_dir()
    assert "--fresh deletes" in capfd.readouterr().err
    (run / "adapter").mkdir()
    assert main([*words, "--schedule.steps", "2", "--fresh", "--valid", f"[{shards / 'train' / 'say'}]"]) == 0
    assert read_log(run)[-1]["step"] == 2 and not (run / "adapter").exists()
    assert "say is trained on too" in capfd.readouterr().err


@pytest.mark.slow
def test_validation_does_not_touch_the_run(recipe_file: Path, tmp_path: Path) -> None:
    for name, every in (("often", "1"), ("never", "0")):
        train(Trainer, Recipe.load(recipe_file, {"validate.every": every}), tmp_path / name)
    often, never = weights(tmp_path / "often"), weights(tmp_path / "never")
    assert all(torch.equal(often[name], never[name]) for name in often)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = Recipe.load(recipe_file, {"checkpoint.every": "2"})
    train(Trainer, recipe, tmp_path)
    before = weights(tmp_path)
    newest = max((tmp_path / "checkpoints").glob("step-*"))
    victim = next(newest.glob("*.safetensors"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    train(Trainer, recipe, tmp_path)                                    # steps 5 and 6 again, from step 4
    assert f"{victim}: damaged" in capsys.readouterr().err
    assert all(torch.equal(before[name], value) for name, value in weights(tmp_path).items())
    found = Checkpoints(tmp_path).newest()
    assert found is not None and found[1].step == 6


def test_rows_longer_than_the_model_are_refused(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"above model\.max_steps=32"):
        Trainer(Recipe.load(recipe_file, {"model.max_steps": "32"}), tmp_path, device="cpu")
