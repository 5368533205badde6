"""The training loop of one process: DeepSpeed around the model, everything else a pure function of the step."""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from omni.errors import InputError
from omni.files import atomic_path, write_text
from omni.model.folder import save_model
from omni.model.transformer import Batch, Losses, OmniTransformer
from omni.train.checkpoint import Checkpoints, State, check_same_run
from omni.train.data.loader import Dataset, GlobalBatch, Loader, Share
from omni.train.environment import alone_unless_launched, deepspeed, prepare_process, quiet
from omni.train.monitor import Monitor
from omni.train.recipe import Recipe
from omni.train.schedule import Schedule
from omni.train.signals import StopSignals
from omni.train.stopwatch import Stopwatch
from omni.train.tally import Tally, unigram_losses
from omni.train.validate import chosen_rows, validate


class Step(nn.Module):
    """The model as DeepSpeed likes it: tensors in, tensors out."""

    def __init__(self, model: OmniTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, loss: Tensor, document: Tensor, prefix: Tensor) -> tuple[Tensor, ...]:
        # past the model's own hooks: those of ZeRO 3 cannot look into Losses, and this module has the same parameters
        losses = self.model.forward(Batch(ids, loss, document, prefix))
        return losses.total, losses.each, losses.row, losses.target


class Trainer:
    """One run in one process, from the recipe to the saved model."""

    def __init__(self, recipe: Recipe, run: Path, device: str = "auto", changed_recipe: bool = False) -> None:
        kind = prepare_process(device)
        self.recipe, self.run, self.changed_recipe = recipe, run, changed_recipe
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if kind == "cuda" else "cpu")
        self.data = Dataset.load(recipe.data, recipe.sequence_length, recipe.too_long)
        self.valid = load_valid(recipe, self.data)
        self.schedule = schedule_of(recipe)
        self.share = Share(recipe.batch.rows, recipe.batch.micro, self.rank, self.world)
        self.order = self.data.order(recipe.mixture.temperature, recipe.mixture.weights, recipe.seed)
        self.config = recipe.model.config(self.data.vocab)
        if self.config.max_steps < recipe.sequence_length:
            raise InputError(
                f"sequence_length: {recipe.sequence_length} is above model.max_steps={self.config.max_steps};"
                " raise that"
            )
        self.checkpoints = Checkpoints(run)
        self.step, self.gradient_norm = 0, 0.0
        self.watch = Stopwatch()
        self._start_engine()

    def train(self) -> int | None:
        """Run to the end, or to a signal, whose number is returned. Every rank calls it."""
        self._resume()
        finished = self.step >= self.schedule.steps
        monitor = self._monitor() if self.rank == 0 and not finished else None
        rows = chosen_rows(self.valid, self.recipe.validate.rows) if self.valid else []
        with StopSignals() as signals:
            if not finished:
                self._loop(signals, monitor, rows)
            done = self.step >= self.schedule.steps
            if monitor:
                monitor.close(done)
        return None if done else signals.received or signal.SIGTERM

    def close(self) -> None:
        self.engine.destroy()

    # ---- the loop

    def _loop(self, signals: StopSignals, monitor: Monitor | None, rows: list[tuple[int, int]]) -> None:
        loader = Loader(self.data, self.order, self.share, self.step * self.recipe.batch.rows)
        tally, steps_seen, log_every = self.new_tally(), 0, max(1, min(10, self.schedule.steps // 20))
        saved_at = since = time.monotonic()
        since_step = self.step
        with contextlib.closing(iter(loader)) as batches:
            self.watch = Stopwatch()
            for batch in batches:
                self.watch.lap("data")
                self.optimize(batch, tally)
                self.step += 1
                steps_seen += batch.steps
                last = self.step == self.schedule.steps
                if self.step % log_every == 0 or last:
                    whole = self._sum(tally.sums, torch.tensor([steps_seen], dtype=torch.float64))
                    tally.sums, seen = whole[0], float(whole[1])
                    if monitor:
                        monitor.train(self._record(tally, seen, time.monotonic() - since, self.step - since_step))
                    tally, steps_seen, since, since_step = self.new_tally(), 0, time.monotonic(), self.step
                stop, save = self._wishes(signals, time.monotonic() - saved_at)
                began = time.monotonic()
                every = self.recipe.validate.every
                if rows and (last or (every and self.step % every == 0)):
                    self._validate(rows, monitor)
                if last or stop or save or self._due(self.recipe.checkpoint.every):
                    self._save()
                    saved_at = time.monotonic()
                since += time.monotonic() - began                       # the rate is that of training alone
                self.watch.lap("other")
                if last or stop:
                    return

    def optimize(self, batch: GlobalBatch, tally: Tally) -> None:
        """One optimizer step on a global batch: the mean loss over its trained steps, whatever the number of ranks."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.optimizer.lr * self.schedule.factor(self.step)
        # DeepSpeed divides by accumulation and averages over ranks; the mean wanted is that over all trained steps
        scale = self.share.accumulation * self.world / max(1, batch.trained)
        self.engine.train()
        for micro, tasks in zip(batch.micro, batch.tasks, strict=True):
            losses = self._forward(micro)
            tally.add(losses, tasks)
            self.watch.lap("forward")
            self.engine.backward(losses.total * scale)
            self.watch.lap("backward")
            if self.recipe.zero == 0 and micro is batch.micro[-1]:      # DeepSpeed keeps the norm in the other stages
                self.gradient_norm = float(nn.utils.get_total_norm([p.grad for p in self.engine.module.parameters()]))
            self.engine.step()
            self.watch.lap("optimizer")
        if (norm := self.engine.get_global_grad_norm()) is not None:
            self.gradient_norm = float(norm)

    def _forward(self, batch: Batch) -> Losses:
        batch = batch.to(self.device)
        return Losses(*self.engine(batch.ids, batch.loss, batch.document, batch.prefix))

    def _validate(self, rows: list[tuple[int, int]], monitor: Monitor | None) -> None:
        assert self.valid is not None
        self.engine.eval()
        with torch.no_grad():
            tally = validate(self._forward, self.valid, rows, self.recipe.batch.micro, self.rank, self.world)
        tally.sums = self._sum(tally.sums)[0]
        if monitor:
            losses = {"loss": tally.mean, "tasks": tally.by_task(), "modalities": tally.by_modality()}
            monitor.valid({"step": self.step, **losses})

    def _record(self, tally: Tally, steps_seen: float, seconds: float, steps: int) -> dict[str, Any]:
        parts = self.watch.take()
        return {
            "step": self.step,
            "loss": tally.mean,
            "lr": self.recipe.optimizer.lr * self.schedule.factor(self.step - 1),
            "gradient_norm": self.gradient_norm,
            "tokens_per_second": steps_seen / seconds,
            "seconds_per_step": seconds / steps,
            "share": {part: spent / sum(parts.values()) for part, spent in parts.items()},
            "tasks": tally.by_task(),
            "modalities": tally.by_modality(),
        }

    def new_tally(self) -> Tally:
        return Tally(self.data.tasks, self.data.vocab)

    def _due(self, every: int) -> bool:
        return bool(every) and self.step % every == 0

    # ---- between ranks

    def _sum(self, *values: Tensor) -> list[Tensor]:
        """The sums over all ranks of tensors."""
        if self.world == 1:
            return list(values)
        flat = torch.cat([value.flatten() for value in values]).to(self.device)
        dist.all_reduce(flat)
        parts = flat.cpu().split([value.numel() for value in values])
        return [part.view_as(value) for part, value in zip(parts, values, strict=True)]

    def _wishes(self, signals: StopSignals, since_save: float) -> tuple[bool, bool]:
        """Whether any rank wants to stop, and whether it is time to save by the first rank's clock."""
        minutes = self.recipe.checkpoint.minutes
        save = self.rank == 0 and minutes > 0 and since_save > 60 * minutes
        (wishes,) = self._sum(torch.tensor([float(signals.wish), float(save)]))
        return bool(wishes[0] > 0), bool(wishes[1] > 0)

    def _barrier(self) -> None:
        if self.world > 1:
            dist.barrier()

    # ---- DeepSpeed

    def _start_engine(self) -> None:
        ds = deepspeed()
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        torch.manual_seed(self.recipe.seed)
        model = OmniTransformer(self.config)
        if self.recipe.compile:
            model.compile_blocks()
        self.optimizer = adamw(model, self.recipe)
        with quiet(), alone_unless_launched():
            ds.init_distributed("nccl" if self.device.type == "cuda" else "gloo", verbose=False)
            self.engine, *_ = ds.initialize(
                model=Step(model), optimizer=self.optimizer, config=deepspeed_config(self.recipe, self.share)
            )
        if self.recipe.zero == 3:                                       # the loss reads tables outside their modules
            ds.zero.register_external_parameter(self.engine.module, model.table)
            ds.zero.register_external_parameter(self.engine.module, model.embedding.weight)

    # ---- checkpoints

    def _state(self) -> State:
        return state_of(self.recipe, self.data, self.world, self.step)

    def _save(self) -> None:
        def write(folder: Path) -> None:
            with quiet():
                self.engine.save_checkpoint(str(folder), tag="state", save_latest=False)

        self.checkpoints.save(self._state(), write, self.rank, self._barrier)
        weights = self._weights()
        if self.rank == 0:
            self.checkpoints.prune(self.recipe.checkpoint.keep)
            export(self.run / "model", weights, self)
        self._barrier()

    def _weights(self) -> dict[str, Tensor]:
        """The whole model's weights on the first rank; with ZeRO 3 every rank takes part."""
        model = self.engine.module.model
        if self.recipe.zero < 3:
            return dict(model.state_dict())
        with deepspeed().zero.GatheredParameters(list(model.parameters())):
            return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint, which all ranks agree on."""
        found = self.checkpoints.newest() if self.rank == 0 else None
        (step,) = self._sum(torch.tensor([float(found[1].step if found else 0)], dtype=torch.float64))
        if not step:
            return
        folder = self.checkpoints.folder / f"step-{int(step):08d}"
        if found:
            check_same_run(found[1], self._state(), self.run, self.changed_recipe)
        with quiet():
            self.engine.load_checkpoint(str(folder), tag="state")
        self.step = int(step)

    def _monitor(self) -> Monitor:
        write_text(self.run / "recipe.yaml", self.recipe.yaml())
        unigram = unigram_losses(self.data, self.valid) if self.valid else {}
        return Monitor(self.run, self.schedule.steps, self.step, unigram)


def load_valid(recipe: Recipe, data: Dataset) -> Dataset | None:
    """The validation rows of a recipe, or None where it has none. Too long sequences are left out."""
    if not recipe.valid:
        return None
    return Dataset.load(recipe.valid, recipe.sequence_length, "drop", data.vocab)


def schedule_of(recipe: Recipe) -> Schedule:
    plan = recipe.schedule
    return Schedule(plan.kind, plan.steps, plan.warmup, plan.decay, plan.final)


def state_of(recipe: Recipe, data: Dataset, world: int, step: int = 0) -> State:
    cursor = step * recipe.batch.rows
    return State(step, cursor, world, recipe.as_dict(), data.fingerprint, data.vocab.hash)


def export(folder: Path, weights: dict[str, Tensor], trainer: Trainer) -> None:
    """The model as `omni generate` loads it, its tokenizers beside it."""
    tokenizers = trainer.recipe.tokenizers
    with atomic_path(folder) as scratch:
        save_model(scratch, weights, trainer.config, trainer.data.vocab)
        if tokenizers is not None:
            shutil.copytree(tokenizers, scratch / "tokenizers")


def adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Matrices decay; norms and embeddings do not."""
    plan = recipe.optimizer
    still = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    parameters = list(model.parameters())
    matrices = [parameter for parameter in parameters if parameter.ndim > 1 and id(parameter) not in still]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in parameters if id(parameter) not in chosen]
    groups = [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.lr, betas=plan.betas, eps=plan.eps, fused=True)


def deepspeed_config(recipe: Recipe, share: Share) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": share.micro,
        "gradient_accumulation_steps": share.accumulation,
        "gradient_clipping": recipe.optimizer.clip,
        "bf16": {"enabled": recipe.precision == "bf16"},
        "zero_optimization": {"stage": recipe.zero},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": None,
    }
