"""`omni train doctor`: trials of a recipe before the long run. How high may the rate be, what holds it down?"""

import itertools
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omni.figures import Report
from omni.files import read_json, write_json, write_text
from omni.progress import progress
from omni.train.curvature.parts import PartOf, examine_parts
from omni.train.curvature.trials import Trial, Trials
from omni.train.monitor.curves import Curve, grid
from omni.train.recipe import Recipe
from omni.train.start.given import state_of

LEAP, STEP = 4.0, 2.0                                                   # between rates that are tried; the last time
LEAPS = 3                                                               # in one direction
MOST = LEAPS + 2                                                        # trials of one search for a rate
LEAST_WARMUP = 4                                                        # steps, of those that are tried


@dataclass(frozen=True)
class Edge:
    """The highest rate that was found stable, and the lowest above it that failed, if any that was tried did."""

    stable: float
    failed: float | None

    def __str__(self) -> str:
        return f"{self.stable:g}" if self.failed else f"at least {self.stable:g} (no rate that was tried failed)"


@dataclass(frozen=True)
class Findings:
    """Of one recipe. Edges are None where no rate that was tried is stable; so is the warmup. parts: at `parts_lr`
    most_warmup: steps of the longest warmup that a trial can have
    """

    trials: list[Trial]
    highest: Edge | None
    highest_cold: Edge | None
    warmup: int | None
    most_warmup: int
    parts: list[PartOf]
    parts_lr: float | None


def examine(recipe: Recipe, steps: int, out: Path, notes: Sequence[str] = ()) -> Findings:
    """Try a recipe, on one process; what is found lies in `out` as soon as it is, and is not tried again.

    steps: of a trial; notes: what to say of the trials once it is known that there will be some

    Raises InputError where the recipe cannot run.
    """
    with tempfile.TemporaryDirectory(prefix="omni-doctor-") as folder:
        trials = Trials(recipe, steps, Path(folder), lambda done: bar.update(done))
        for note in notes:
            print(f"omni: {note}", file=sys.stderr)
        bar = progress(None, "trials", unit="step")                     # when the recipe has proved to run at all
        try:
            findings = _Examination(trials, bar, out).whole()
        finally:
            bar.close()
            trials.trainer.close()
    write_text(out / "findings.json", report(recipe, findings).json() + "\n")
    grid(_curves(findings), out / "losses.png")
    return findings


class _Examination:
    """Trials that a file remembers."""

    def __init__(self, trials: Trials, bar: Any, out: Path) -> None:
        self.trials, self.bar, self.file = trials, bar, out / "trials.json"
        state = state_of(trials.recipe, trials.trainer.data, 1)
        self.of = json.loads(json.dumps({"steps": trials.steps, "recipe": state.recipe, "data": state.data}))
        self.known, self.parts = list[Trial](), list[PartOf]()
        self._allow(2 * MOST + trials_of_warmup(trials.steps // 2))
        if self.file.exists() and (found := read_json(self.file)).get("of") == self.of:
            self.known = [Trial(**one) for one in found["trials"]]
            self.parts = [PartOf(**one) for one in found["parts"]]

    def whole(self) -> Findings:
        lr, half = self.trials.recipe.optimizer.lr, self.trials.steps // 2
        highest = highest_stable(lambda rate: self.stable(rate, half), lr, climb=True)
        cold = warmup = None
        if highest:                                                     # a warmup lowers no rate
            self._allow(MOST + trials_of_warmup(half))
            cold = highest_stable(lambda rate: self.stable(rate, 0), highest.stable, climb=False)
            if cold and cold.failed is None:
                cold = replace(cold, failed=highest.failed)
            self._allow(trials_of_warmup(half))
            warmup = 0 if cold and cold.stable >= lr else least_warmup(lambda steps: self.stable(lr, steps), half)
        trials = sorted(self.known, key=lambda one: (one.warmup, one.lr))
        parts_lr = next((one.lr for one in self.known if one.stable), None)  # `stable` has seen them there
        return Findings(trials, highest, cold, warmup, half, self.parts, parts_lr)

    def stable(self, lr: float, warmup: int) -> bool:
        """Whether such a trial is, known or tried now; the first that is shows the parts, too."""
        found = next((one for one in self.known if (one.lr, one.warmup) == (lr, warmup)), None)
        if found is None:
            found = self.trials.run(lr, warmup)
            self.known.append(found)
            if found.stable and not self.parts:
                self.parts = examine_parts(self.trials.trainer)
            trials, parts = [asdict(one) for one in self.known], [asdict(one) for one in self.parts]
            write_json(self.file, {"of": self.of, "trials": trials, "parts": parts})
        self._allow(self.left - 1)
        return found.stable

    def _allow(self, trials: int) -> None:
        """So many may follow at the most."""
        self.left = trials
        self.bar.total = self.bar.n + trials * self.trials.steps
        self.bar.refresh()


def highest_stable(stable: Callable[[float], bool], lr: float, climb: bool) -> Edge | None:
    """The highest stable rate of lr * 2^k, if stability is lost but once as the rate grows.

    By leaps of four, down from `lr` where that is not stable, else, with `climb`, up; and a step of two within the last
    leap. None where none that was tried is stable.
    """
    up = stable(lr)
    if up and not climb:
        return Edge(lr, None)
    rates = [lr * LEAP ** (k if up else -k) for k in range(LEAPS + 1)]
    end = next((rate for rate in rates[1:] if stable(rate) != up), None)
    if end is None:                                                     # all alike
        return Edge(rates[-1], None) if up else None
    best = end / LEAP if up else end
    return Edge(best * STEP, best * LEAP) if stable(best * STEP) else Edge(best, best * STEP)


def least_warmup(stable: Callable[[int], bool], most: int) -> int | None:
    """The least stable warmup of 4, 8, 16, .., `most`, if more never does harm; None where none is.

    That 0 is not stable is known.
    """
    warmups = warmups_upto(most)
    if not stable(most):
        return None
    low, high = 0, len(warmups) - 1                                     # the least stable one is among these
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if stable(warmups[middle]) else (middle + 1, high)
    return warmups[low]


def warmups_upto(most: int) -> list[int]:
    """Those that are tried, in steps, ascending."""
    doubled = iter(LEAST_WARMUP * 2**k for k in range(most))
    return [*itertools.takewhile(lambda steps: steps < most, doubled), most]


def trials_of_warmup(most: int) -> int:
    """The most that `least_warmup` may take: the longest, and a search by halves."""
    return 1 + (len(warmups_upto(most)) - 1).bit_length()


def _curves(findings: Findings) -> dict[str, list[Curve]]:
    """The loss of every trial, against no training."""
    panels: dict[str, list[Curve]] = {}
    for trial in findings.trials:
        title = f"warmup of {trial.warmup}" if trial.warmup else "no warmup"
        points = [(float(step), one) for step, one in enumerate(trial.excess, start=1) if math.isfinite(one)]
        panels.setdefault(f"{title}: loss above that untrained", []).append(Curve(f"lr {trial.lr:g}", points))
    return panels


def report(recipe: Recipe, findings: Findings) -> Report:
    """Figures of an examination."""
    found = Report("train doctor")
    found.add("lr", recipe.optimizer.lr, "of the recipe")
    for name, edge, when in (
        ("highest_stable_lr", findings.highest, "after a warmup of half a trial"),
        ("highest_stable_lr_without_warmup", findings.highest_cold, "at once"),
    ):
        low, high = (edge.stable, edge.failed) if edge else (None, None)
        found.add(name, low, when, low=low, high=high)
    found.add("warmup_needed", findings.warmup, "steps at the recipe's rate")
    for part in findings.parts:
        low, high = part.ratio, part.ratio + part.error                 # a Ritz value is never above the largest
        found.add(f"ratio {part.name}", part.ratio, "of the stability threshold", low=low, high=high)
        found.add(f"spread {part.name}", part.spread, "largest eigenvalue over root mean square")
    return found


def told(recipe: Recipe, findings: Findings) -> str:
    """What it means, in lines for a terminal."""
    lr, lines = recipe.optimizer.lr, ["  rate      warmup  the loss, against no training"]
    for trial in findings.trials:
        end = f"{-trial.gain:+.3f} nats" + ("" if trial.stable else ": no better")
        end = f"failed at step {trial.failed}" if trial.failed else end
        lines.append(f"  {trial.lr:<9.3g} {trial.warmup:<7} {end}")
    if findings.highest is None:
        lines.append("no rate that was tried is stable: look at the data, or at init and precision; or the model that")
        lines.append("it begins with knows its data, and a few steps make it worse at any rate")
    else:
        word = "is stable in" if lr <= findings.highest.stable else "is ABOVE what is stable in"
        lines.append(f"optimizer.lr {lr:g} {word} these trials; the highest stable rate is {findings.highest}")
        lines.append(f"without a warmup it is {findings.highest_cold or 'below all that were tried'}")
        lines.append(_warmup(recipe, findings))
    if best := max((one for one in findings.trials if one.stable), key=lambda one: one.gain, default=None):
        lines.append(f"what learnt most in so few steps: {best.lr:g} after a warmup of {best.warmup}")
    if not findings.parts:
        return "\n".join(lines)
    least = {True: "", False: "at least "}
    worst = ", ".join(f"{part.name} {least[part.converged]}{part.ratio:.3g}" for part in findings.parts[:3])
    edge = "steps overshoot above 1, which Muon bounds" if recipe.optimizer.kind == "muon" else "1 is the edge"
    lines.append(f"sharpest parts at {findings.parts_lr:g}, in stability thresholds ({edge}): {worst}")
    widest = sorted(findings.parts, key=lambda part: -part.spread)[:3]
    wide = ", ".join(f"{part.name} {least[part.converged]}{part.spread:.0f}x" for part in widest)
    lines.append(f"worst conditioned parts, by their largest curvature over the root mean square: {wide}")
    return "\n".join(lines)


def _warmup(recipe: Recipe, findings: Findings) -> str:
    lr, theirs = recipe.optimizer.lr, recipe.schedule.warmup
    if findings.warmup is None:
        untried = f"more than {findings.most_warmup} warmup steps were not tried (--steps)"
        return f"at {lr:g} no warmup that was tried is enough; {untried}"
    need = f"a warmup of {findings.warmup} steps is enough" if findings.warmup else "no warmup is needed"
    return f"at {lr:g} {need} in these trials; the recipe has {theirs} steps of it"
