"""`omni train doctor`: trials of a recipe before the long run. How high may the rate be, what holds it down?"""

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from omni.figures import Report
from omni.model.twice import twice_differentiable
from omni.progress import progress
from omni.train.curvature.hessian import CurvatureError, Hessian, Operator, Part, Scaled
from omni.train.curvature.lanczos import UnconvergedError, top_eigenvalue
from omni.train.curvature.running import preconditioner_of
from omni.train.curvature.spectrum import signs
from omni.train.data.loader import Loader
from omni.train.engine import Trainer
from omni.train.faults.guard import Guard
from omni.train.recipe import CheckpointRecipe, MonitorRecipe, Recipe, ScheduleRecipe
from omni.train.stages import Stages
from omni.train.state.fragments import forget

LEAP, STEP = 4.0, 2.0                                                   # between rates that are tried; the last time
MOST_TRIES = 4                                                          # in one direction
WORSE = 1.2                                                             # times the loss untrained: a trial has failed
TOLERANCE, MOST = 0.1, 8                                                # of a part's eigenvalue


@dataclass(frozen=True)
class Trial:
    """A few steps from the first weights. losses: of every step; untrained: of the first weights on the same rows,
    since batches of a mixture differ by more than a few steps teach.
    """

    lr: float
    warmup: int
    losses: Sequence[float]
    untrained: Sequence[float]

    @property
    def gain(self) -> float:
        """How much lower the loss of the last fifth is than untrained, in nats."""
        last = max(1, len(self.losses) // 5)
        pairs = zip(self.losses[-last:], self.untrained[len(self.losses) - last :], strict=False)
        return statistics.fmean(before - after for after, before in pairs)

    @property
    def stable(self) -> bool:
        """Whether it learnt, and was never much worse than untrained."""
        return not any(map(failed, self.losses, self.untrained)) and self.gain > 0


def failed(loss: float, untrained: float) -> bool:
    return not math.isfinite(loss) or loss > WORSE * untrained


@dataclass(frozen=True)
class PartOf:
    """How the optimizer finds the curvature of some parameters alone.

    ratio: largest eigenvalue over the stability threshold at the rate; spread: over the root mean square of all of the
    part's eigenvalues, which is 1 where all directions are alike
    """

    name: str
    ratio: float
    spread: float


@dataclass(frozen=True)
class Findings:
    """Of one recipe. Rates are None where none that was tried is stable; so is the warmup."""

    trials: list[Trial]
    highest: float | None
    highest_cold: float | None
    warmup: int | None
    parts: list[PartOf]


class Doctor:
    """Tries a recipe again and again from the same weights, on one process."""

    def __init__(self, recipe: Recipe, steps: int, folder: Path) -> None:
        """steps: of a trial. Raises InputError where the recipe cannot run."""
        self.steps, self.trials = steps, list[Trial]()
        quiet = {"valid": [], "stages": [], "checkpoint": CheckpointRecipe(minutes=0), "monitor": MonitorRecipe()}
        if recipe.stages:                                               # a trial is the beginning of the first
            quiet["mixture"] = recipe.stages[0].mixture
        alone = replace(recipe, zero=0, compile=False, schedule=ScheduleRecipe("constant", steps, 0), **quiet)  # type: ignore[arg-type]
        self.trainer = Trainer(alone, folder)
        self.recipe = alone
        self.first = [parameter.detach().clone() for parameter in self.trainer.engine.module.parameters()]
        self.bar = progress(None, "trials", unit="step")
        began = time.monotonic()
        self.untrained = self._losses(0.0, 0)
        took = time.monotonic() - began
        print(f"omni: a trial of {steps} steps takes {took:.0f} s here; up to fourteen follow", file=sys.stderr)

    def examine(self) -> Findings:
        """Everything, in up to fourteen trials."""
        lr, half = self.recipe.optimizer.lr, self.steps // 2
        parts = self._parts() if self.trial(lr, half).stable else None  # whose weights are still there
        highest = self._highest(lr, half, climb=True)
        cold = self._highest(highest or lr, 0, climb=False)             # a warmup lowers no rate
        warmup = next((w for w in self._warmups() if self.trial(lr, w).stable), None)
        if parts is None and highest:
            self._losses(highest, half)
            parts = self._parts()
        self.bar.close()
        self.trainer.close()
        trials = sorted(self.trials, key=lambda one: (one.warmup, one.lr))
        return Findings(trials, highest, cold, warmup, parts or [])

    def trial(self, lr: float, warmup: int) -> Trial:
        """Known already, or some steps at this rate, reached after a warmup; it ends where it has failed."""
        known = [one for one in self.trials if (one.lr, one.warmup) == (lr, warmup)]
        if not known:
            known = [Trial(lr, warmup, self._losses(lr, warmup), self.untrained)]
            self.trials += known
        return known[0]

    def _losses(self, lr: float, warmup: int) -> list[float]:
        """Train from the first weights; up to a step that has failed."""
        trainer = self.trainer
        schedule = ScheduleRecipe("constant", self.steps, warmup)
        trainer.recipe = replace(self.recipe, schedule=schedule, optimizer=replace(self.recipe.optimizer, lr=lr))
        trainer.stages = Stages.of(trainer.recipe, trainer.data)
        trainer.step = trainer.cursor = 0
        trainer.guard = Guard(0.0, self.steps)
        with torch.no_grad():
            for parameter, first in zip(trainer.engine.module.parameters(), self.first, strict=True):
                parameter.copy_(first)
        forget(trainer.engine, trainer.optimizer, 0)
        loader, losses = trainer.loader(), list[float]()
        for step in range(self.steps):
            tally = trainer.new_tally()
            trainer.optimize(loader.batch(trainer.cursor), tally)
            losses.append(tally.mean)
            trainer.step, trainer.cursor = step + 1, trainer.cursor + trainer.share.rows
            self.bar.update(1)
            if lr and failed(losses[-1], self.untrained[step]):
                break
        return losses

    def _highest(self, lr: float, warmup: int, climb: bool) -> float | None:
        """The highest stable rate of lr * 2^k: below lr where that is not stable, else, with `climb`, above it, too."""
        up = self.trial(lr, warmup).stable
        if up and not climb:
            return lr
        rates = [lr * LEAP ** (k if up else -k) for k in range(MOST_TRIES + 1)]
        end = next((rate for rate in rates[1:] if self.trial(rate, warmup).stable != up), None)
        if end is None:                                                 # all alike
            return rates[-1] if up else None
        stable = end / LEAP if up else end
        return stable * STEP if self.trial(stable * STEP, warmup).stable else stable

    def _warmups(self) -> list[int]:
        """None, a few steps, and doubling up to the whole trial."""
        found = [0]
        while (found[-1] or 2) * 2 <= self.steps:
            found.append((found[-1] or 2) * 2)
        return found

    def _parts(self) -> list[PartOf]:
        """The worst first, where a trial at a stable rate has just ended."""
        trainer, model = self.trainer, self.trainer.engine.module.model
        named = {name: one for name, one in model.named_parameters() if one.requires_grad}
        batch = Loader(trainer.data, trainer.stages.order, replace(trainer.share, rows=1)).batch(0)
        found = []
        with twice_differentiable():
            micro = batch.micro[0].to(trainer.device)
            hessian = Hessian([lambda: model(micro).total / max(1, batch.trained)], list(named.values()))
            scaled = Scaled(hessian, preconditioner_of(trainer.engine, trainer.optimizer, 0))
            for name, (start, stop) in spans({name: one.numel() for name, one in named.items()}).items():
                part = Part(scaled, start, stop)
                try:
                    found.append(PartOf(name, *_condition(part)))
                except CurvatureError:                                  # no row of the batch uses it
                    continue
        return sorted(found, key=lambda one: -one.ratio)


def _condition(part: Operator) -> tuple[float, float]:
    """The largest eigenvalue, and how often it holds the root mean square of all."""
    try:
        top = top_eigenvalue(part, TOLERANCE, MOST).value
    except UnconvergedError as error:
        top = error.best.value
    square = float((part @ signs(part, torch.Generator().manual_seed(0))).square().mean())
    return top, top / math.sqrt(square) if square else math.inf


def spans(sizes: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Where the parts of a model lie in a flat vector: what stands side by side and has the same name but for its end.

    `blocks.0.attention.qkv.weight` and `blocks.0.attention_norm.weight`, before it, belong to `blocks.0.attention`.
    """
    found: dict[str, tuple[int, int]] = {}
    at = 0
    for name, size in sizes.items():
        words = name.split(".")[:-1]
        part = (".".join(words[: 3 if words[:1] == ["blocks"] else 1]) or name).removesuffix("_norm")
        found[part] = (found[part][0] if part in found else at, at + size)
        at += size
    return found


def examine(recipe: Recipe, steps: int) -> Findings:
    """Try a recipe in a scratch folder. Raises InputError where it cannot run."""
    with tempfile.TemporaryDirectory(prefix="omni-doctor-") as folder:
        return Doctor(recipe, steps, Path(folder)).examine()


def report(recipe: Recipe, findings: Findings) -> Report:
    """Figures of an examination."""
    found = Report("train doctor")
    found.add("lr", recipe.optimizer.lr, "of the recipe")
    found.add("highest_stable_lr", findings.highest, "after a warmup of half a trial")
    found.add("highest_stable_lr_without_warmup", findings.highest_cold, "at once")
    found.add("warmup_needed", findings.warmup, "steps at the recipe's rate")
    for part in findings.parts:
        found.add(f"ratio {part.name}", part.ratio, "of the stability threshold")
        found.add(f"spread {part.name}", part.spread, "largest eigenvalue over root mean square")
    return found


def told(recipe: Recipe, findings: Findings) -> str:
    """What it means, in lines for a terminal."""
    lr, lines = recipe.optimizer.lr, ["  rate      warmup  the loss, against no training"]
    for trial in findings.trials:
        end = f"{-trial.gain:+.3f} nats" + ("" if trial.stable else ": no better")
        lines.append(f"  {trial.lr:<9.3g} {trial.warmup:<7} {_failure(trial) or end}")
    if findings.highest is None:
        lines.append("no rate that was tried is stable: look at the data, or at init and precision; or the model that")
        lines.append("it begins with knows its data, and a few steps make it worse at any rate")
    else:
        word = "no higher than" if lr <= findings.highest else "ABOVE"
        lines.append(f"optimizer.lr {lr:g} is {word} the highest stable rate of these trials, {findings.highest:g}")
        lines.append(_warmup(recipe, findings))
    if not findings.parts:
        return "\n".join(lines)
    worst = ", ".join(f"{part.name} ({part.ratio:.2g})" for part in findings.parts[:3])
    lines.append(f"sharpest parts, as shares of the stability threshold: {worst}")
    widest = sorted(findings.parts, key=lambda part: -part.spread)[:3]
    lines.append("worst conditioned: " + ", ".join(f"{part.name} ({part.spread:.0f}x its mean)" for part in widest))
    return "\n".join(lines)


def _failure(trial: Trial) -> str | None:
    bad = map(failed, trial.losses, trial.untrained)
    return next((f"failed at step {step}" for step, one in enumerate(bad, start=1) if one), None)


def _warmup(recipe: Recipe, findings: Findings) -> str:
    lr, theirs = recipe.optimizer.lr, recipe.schedule.warmup
    if findings.warmup is None:
        return f"at {lr:g} no warmup of these trials suffices"
    need = f"a warmup of {findings.warmup} steps" if findings.warmup else "no warmup"
    return f"at {lr:g} {need} suffices in these trials; the recipe has {theirs}"
