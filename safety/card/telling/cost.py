"""What making and measuring a model cost in energy: estimated from time and watts that are assumed, not metered."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni.figures import machine
from omni.safety.card.collect import Card, beside_model
from omni.safety.card.telling.pieces import Cell, Section, Table
from omni.shipped import FOLDER, TRAINED

WATTS_A_CORE = 15.0                                                     # assumed, of a server's core under load
WATTS_A_GPU = 700.0                                                     # the most that an H100 or H200 is made for
HEAD = ("what", "hours on the clock", "on", "watts, assumed", "kWh, estimated", "by")


@dataclass(frozen=True)
class Spent:
    """Hours on the clock on some cores, or on a GPU where these are None, and who says so."""

    what: str
    hours: float
    cores: int | None
    by: str

    def row(self) -> tuple[Cell, ...]:
        watts = WATTS_A_GPU if self.cores is None else WATTS_A_CORE * self.cores
        machines = "one GPU" if self.cores is None else f"{self.cores} core{'s' if self.cores > 1 else ''}"
        return (self.what, f"{self.hours:.2f}", machines, f"{watts:.0f}", f"{self.hours * watts / 1000:.4f}", self.by)


def cost(card: Card, model: Path) -> Section:
    """The section on the environment."""
    known = trained(model)
    spent = [*known, Spent("evaluation", card.seconds / 3600, 1, "the suites' logs")]
    text = [f"Hours times an assumed {WATTS_A_CORE:.0f} W a core, or {WATTS_A_GPU:.0f} W a GPU, the most that one"
            " draws: estimated, not metered. Not in it: runs that were thrown away, parts that were taken over from"
            " earlier versions, the rest of the machine, its cooling, and the time of answers that were kept from an"
            " earlier evaluation."]  # fmt: skip
    if not known:
        text.append("Training: how long it took is not known, since the run's log.jsonl is not beside the model.")
    made = f"Card made on {machine()['cpu']}, {machine()['cores']} cores."
    return Section("Environmental cost", [*text, made], [Table(HEAD, [one.row() for one in spent])])


def trained(model: Path) -> tuple[Spent, ...]:
    """What training took: by the run's log of seconds a step, or by what ships with omni; nothing where neither is."""
    log = beside_model(model, "log.jsonl")
    if log.is_file():
        records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        return (_by_log([one for one in records if one["kind"] == "train" and "seconds_per_step" in one]),)
    ours = TRAINED if model.resolve() == FOLDER.resolve() else ()
    return tuple(Spent(what, hours, cores, "docs/omni-tiny.md") for what, hours, cores in ours)


def _by_log(steps: Sequence[dict[str, Any]]) -> Spent:
    """A log does not count cores or GPUs; that there was one of these is told by the memory that it held."""
    spans = zip([0, *(one["step"] for one in steps)], steps, strict=False)
    seconds = sum((one["step"] - before) * one["seconds_per_step"] for before, one in spans)
    cores = None if any("allocated" in one for one in steps) else machine()["cores"]
    guess = "as if on one GPU" if cores is None else "as if on all cores of this machine"
    return Spent("training", seconds / 3600, cores, f"the run's log, {guess}")
