"""The training loop of one process: DeepSpeed around the model, everything else a pure function of the step."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from omni.errors import InputError
from omni.files import write_text
from omni.model.tensor_parallel import TensorParallel
from omni.model.transformer import Batch, Losses, OmniTransformer
from omni.train import backend
from omni.train.curvature.running import Probe
from omni.train.data.loader import GlobalBatch, Loader, rows_at
from omni.train.environment import prepare_process, restore_linear
from omni.train.faults.guard import Guard, write_down
from omni.train.faults.signals import StopSignals
from omni.train.faults.watchdog import Watchdog
from omni.train.monitor.log import Monitor
from omni.train.monitor.stopwatch import Stopwatch
from omni.train.monitor.tally import Tally, unigram_losses
from omni.train.monitor.vitals import Vitals
from omni.train.multitask.running import TaskWeights
from omni.train.reading import Reader
from omni.train.recipe import Recipe
from omni.train.stages import Stages
from omni.train.start.construct import construct
from omni.train.start.given import load_data, load_valid, share_of, state_of
from omni.train.start.initial import shape_of
from omni.train.state.checkpoint import State
from omni.train.state.fragments import forget, optimizer_steps
from omni.train.state.saver import Saver, unwritable
from omni.train.tuning.binary import binarize
from omni.train.validate import chosen_rows, validate

MOST_RETURNS = 10                                                       # to a checkpoint, before the run gives up


class Trainer:
    """One run in one process, from the recipe to the saved model."""

    step_module: type[nn.Module] = backend.Step

    def __init__(self, recipe: Recipe, run: Path, device: str = "auto", changed_recipe: bool = False) -> None:
        kind = prepare_process(device)
        self.recipe, self.run, self.changed_recipe = recipe, run, changed_recipe
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if kind == "cuda" else "cpu")
        self.data = load_data(recipe)
        self.valid = load_valid(recipe, self.data)
        self.stages = Stages.of(recipe, self.data)
        self.share = share_of(recipe, self.rank, self.world)
        self.config = shape_of(recipe, self.data.vocab)
        self.reader = Reader.of(recipe, self.data, self.config.n_layers)
        if self.config.max_steps < recipe.sequence_length:
            raise InputError(f"sequence_length: {recipe.sequence_length} is above model.max_steps="
                             f"{self.config.max_steps}; raise that")  # fmt: skip
        self.step, self.cursor, self.gradient_norm = 0, 0, 0.0
        self.guard = Guard(recipe.faults.spike, recipe.faults.patience)
        self.watchdog = Watchdog(60 * recipe.faults.hang_minutes)
        self.watch, self.returns = Stopwatch(), 0
        self.engine, self.optimizer = backend.start(
            self._model, self.config, recipe, self.share, self.device, self.step_module
        )
        self.weigher = TaskWeights.of(recipe, self.data.rows, self.engine)
        self.saver = Saver(run, recipe, self.engine, self.optimizer, self.config)

    def train(self) -> int | None:
        """Run to the end, or to a signal, whose number is returned. Every rank calls it."""
        self._resume()
        finished = self.step >= self.stages.steps
        monitor = self._monitor() if self.rank == 0 and not finished else None
        rows = chosen_rows(self.valid, self.recipe.validate.rows) if self.valid else []
        self.probe = Probe.of(self.recipe, self.engine, self.optimizer, self.loader(), self.weigher)
        with StopSignals() as signals, self.watchdog:
            while not finished and not self._loop(signals, monitor, rows):
                self._return(monitor)
            done = self.step >= self.stages.steps
            if monitor:
                monitor.close(done)
        return None if done else signals.received or signal.SIGTERM

    def close(self) -> None:
        self.engine.destroy()
        restore_linear()

    def loader(self) -> Loader:
        """This rank's batches from the cursor on, with what speech in them says where it is read."""
        return Loader(self.data, self.stages.order, self.share, self.cursor, self.reader.read if self.reader else None)

    # ---- the loop

    def _loop(self, signals: StopSignals, monitor: Monitor | None, rows: list[tuple[int, int]]) -> bool:
        """Steps to the end or to a signal, or, with False, until too many in a row were bad."""
        tally, steps_seen, log_every = self.new_tally(), 0.0, max(1, min(10, self.stages.steps // 20))
        saved_at = since = time.monotonic()
        since_step = self.step
        with contextlib.closing(iter(self.loader())) as batches:
            self.watch = Stopwatch()
            for batch in batches:
                self.watch.lap("data")
                self.optimize(batch, tally)
                self.watchdog.beat()
                self.step += 1
                self.cursor += self.share.rows
                steps_seen += batch.steps / self.recipe.parallel.size  # each of them counts its rows
                if self.guard.lost:
                    return False
                last = self.step == self.stages.steps
                stop, save = self._wishes(signals, time.monotonic() - saved_at)
                save = save or last or stop or self._due(self.recipe.checkpoint.every)
                if self.step % log_every == 0 or save:                  # the log knows all steps before a checkpoint
                    whole = self._sum(tally.sums, torch.tensor([steps_seen], dtype=torch.float64))
                    tally.sums, seen = whole[0], float(whole[1])
                    if monitor:
                        monitor.train(self._record(tally, seen, time.monotonic() - since, self.step - since_step))
                    tally, steps_seen, since, since_step = self.new_tally(), 0.0, time.monotonic(), self.step
                began = time.monotonic()
                every = self.recipe.validate.every
                if rows and (last or (every and self.step % every == 0)):
                    self._validate(rows, monitor)
                if self.probe and self.probe.due(self.stages, self.step):
                    found = self.probe.report(self.stages, self.step, self.gradient_norm, lambda: signals.wish)
                    if monitor and found:
                        monitor.curvature(found)
                if save:
                    self._save(wait=last or stop)
                    saved_at = time.monotonic()
                since += time.monotonic() - began                       # the rate is that of training alone
                self.watch.lap("other")
                if last or stop:
                    return True
        raise AssertionError("the loader has no end")

    def optimize(self, batch: GlobalBatch, tally: Tally) -> None:
        """One optimizer step on a global batch: the mean loss over its trained steps, whatever the number of ranks.

        A step that the guard refuses leaves weights and moments as they are.
        """
        if self.step in self.stages.resets:
            forget(self.engine, self.optimizer, self.recipe.zero)
        binarize(self.engine.module.model, self.recipe.binary, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.optimizer.lr * self.stages.factor(self.step) * group.get("rate", 1.0)
        # DeepSpeed divides by accumulation and averages over copies; the mean wanted is that over all trained steps
        whole = max(1, self.weight(batch))
        scale = self.share.accumulation * self.world / self.recipe.parallel.tensor / whole
        self.engine.train()
        summed, loss = torch.zeros((), device=self.device), 0.0
        if self.weigher:
            self.weigher.begin(batch, self.step)
        for number, losses in enumerate(self.losses(batch, tally), start=1):
            summed += losses.each.detach().sum()
            self.watch.lap("forward")
            self.engine.backward(losses.total * scale)
            self.watch.lap("backward")
            if number == len(batch.micro):
                loss = self._total(float(summed)) / self.recipe.parallel.tensor / whole
                self.gradient_norm = backend.gradient_norm(self.engine, self.recipe.zero)
                kind = self.stages.kind(self.cursor, self.step)
                self.optimizer.skip = not self.guard.judge(loss, self.gradient_norm, kind)
            self.engine.step()
            self.watch.lap("optimizer")
        if (norm := self.engine.get_global_grad_norm()) is not None:
            self.gradient_norm = float(norm)
        applied = not self.optimizer.skip and bool(self.engine.was_step_applied())
        self.guard.note(loss, applied)
        if self.weigher:
            self.weigher.end(applied, self.stages.factor(self.step))
        if not applied and self.rank == 0:
            write_down(self.run, self.step, self.cursor, loss, self.items(self.cursor))

    def losses(self, batch: GlobalBatch, tally: Tally) -> Iterator[Losses]:
        """The losses of each micro-batch, noted in `tally`, when it is asked for."""
        for micro, tasks in zip(batch.micro, batch.tasks, strict=True):
            losses = self.weigher.losses(micro, tasks, self._forward) if self.weigher else self._forward(micro)
            tally.add(losses, tasks)
            yield losses

    def weight(self, batch: GlobalBatch) -> int:
        """Terms whose mean is the loss of the whole global batch: its trained steps."""
        return batch.trained

    def items(self, cursor: int) -> list[str]:
        """Names of the items in the global batch at a row."""
        _, found = rows_at(self.data, self.stages.order, cursor, self.share.rows)
        return sorted({item for packed, row in found for item in packed.items(row)})

    def _forward(self, batch: Batch) -> Losses:
        batch = batch.to(self.device)
        return Losses(*self.engine(batch.ids, batch.loss, batch.document, batch.prefix, batch.reading))

    def _validate(self, rows: list[tuple[int, int]], monitor: Monitor | None) -> None:
        assert self.valid is not None
        self.engine.eval()
        with torch.no_grad():
            share = self.share
            tally = validate(self._forward, self.valid, rows, share.micro, share.rank, share.world)
        tally.sums = self._sum(tally.sums)[0]
        if monitor:
            losses = {"loss": tally.mean, "tasks": tally.by_task(), "modalities": tally.by_modality()}
            monitor.valid({"step": self.step, **losses})

    def _record(self, tally: Tally, steps_seen: float, seconds: float, steps: int) -> dict[str, Any]:
        parts, rows = self.watch.take(), range(self.cursor - steps * self.share.rows, self.cursor)
        return {
            "step": self.step,
            "rows": [rows.start, rows.stop],
            "loss": tally.mean,
            "lr": self.recipe.optimizer.lr * self.stages.factor(self.step - 1),
            "gradient_norm": self.gradient_norm,
            "tokens_per_second": steps_seen / seconds,
            "seconds_per_step": seconds / steps,
            "share": {part: spent / sum(parts.values()) for part, spent in parts.items()},
            "tasks": tally.by_task(),
            "modalities": tally.by_modality(),
            **({"weights": self.weigher.shown()} if self.weigher else {}),
            **self.vitals.read(rows, steps_seen / seconds),
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
        """Whether any rank wants to stop, and whether it is time to save by the first rank's clock.

        In the same message the ranks learn whether all have written the checkpoint that is on its way.
        """
        minutes = self.recipe.checkpoint.minutes
        save = self.rank == 0 and minutes > 0 and since_save > 60 * minutes
        (wishes,) = self._sum(torch.tensor([float(signals.wish), float(save), *self.saver.report()]))
        self.saver.settle(*wishes[2:].tolist())
        return bool(wishes[0] > 0), bool(wishes[1] > 0)

    def _total(self, value: float) -> float:
        return float(self._sum(torch.tensor([value], dtype=torch.float64))[0])

    # ---- start, save, go on

    def _model(self, groups: TensorParallel | None) -> OmniTransformer:
        return construct(self.config, self.recipe, self.data.vocab, self.device, groups)

    def _state(self) -> State:
        counted, learnt = optimizer_steps(self.optimizer), self.weigher.memory() if self.weigher else {}
        where = self.world, self.step, self.cursor
        return state_of(self.recipe, self.data, *where, counted, self.guard.memory(), learnt)

    def _save(self, wait: bool) -> None:
        """Begin a checkpoint, when the one before it is done. With `wait` it is written when this returns.

        Raises InputError when it could not be.
        """
        self._finish_saving()
        self.saver.begin(self._state(), self.data)
        if wait:
            self._finish_saving()
            if self.saver.newest_step != self.step:
                raise unwritable(self.run, self.step)

    def _finish_saving(self) -> None:
        self.saver.wait()
        (told,) = self._sum(torch.tensor(self.saver.report()))
        self.saver.settle(*told.tolist())

    def _resume(self) -> None:
        found = self.saver.resume(self._state(), self.changed_recipe, self._total)
        if found is not None:
            self.cursor = found.cursor
            self._remember(found)

    def _remember(self, found: State) -> None:
        self.step = found.step
        kind = -1 if self.changed_recipe else self.stages.kind(found.cursor - 1, found.step - 1)
        self.guard.remember(found.guard, kind)
        if self.weigher:
            self.weigher.remember(found.multitask)

    def _return(self, monitor: Monitor | None) -> None:
        """To the last checkpoint, and on from there behind the bad batches. Raises InputError where there is none."""
        self._finish_saving()
        step, skipped = self.step, self.guard.skipped
        if self.returns == MOST_RETURNS or (found := self.saver.load(self._total)) is None:
            raise InputError(
                f"{self.run}: the losses of {self.guard.in_a_row} steps before {step} were no numbers or far too high"
                f" ({self.run / 'skipped.jsonl'}); lower optimizer.lr, or look at those items"
            )
        self.returns += 1
        self._remember(found)
        self.guard.skipped = skipped
        if monitor:
            print(f"omni: bad losses up to step {step}; back to step {self.step}, behind those data", file=sys.stderr)
            monitor.go_back(self.step)

    def _monitor(self) -> Monitor:
        write_text(self.run / "recipe.yaml", self.recipe.yaml())
        unigram = unigram_losses(self.data, self.valid) if self.valid else {}
        self.vitals = Vitals(self.config, self.data, self.stages.order, self.device, self.world)
        return Monitor(self.run, self.stages.steps, self.step, unigram)
