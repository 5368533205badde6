"""Trainings of tokenizers that can be stopped: their state as one safetensors file, their end as a summary."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from omni.errors import InputError
from omni.files import atomic_path, read_json, write_json
from omni.progress import progress

STATE = "training.safetensors"
SUMMARY = "training.json"
Parts = Mapping[str, nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]


class Progress(Protocol):
    """How far a run is; every training's own `Run` has these."""

    step: int
    steps: int
    history: list[dict[str, float]]


def finished(out: Path, identity: dict[str, Any], what: str) -> bool:
    """Whether `out` holds the end of this very run. Raises InputError when it holds another one's."""
    if not (out / SUMMARY).exists():
        return False
    _refuse_other(read_json(out / SUMMARY)["run"], identity, out, what)
    return True


def go_on(
    run: Progress,
    what: str,
    step: Callable[[], dict[str, float]],
    save: Callable[[], None],
    *,
    every: int,
    save_every: float,
    shown: Mapping[str, str],
    more: Callable[[], dict[str, float]] = dict,
) -> None:
    """All remaining steps; their figures go into the history as means over `every` steps, with `more` of that moment.

    It is saved between steps only, so that Ctrl-C never leaves half a step behind, and where no mean is half taken.
    save_every: seconds; shown: words beside the bar, and the figure that each tells
    """
    recent: list[dict[str, float]] = []
    saved = time.monotonic()
    with progress(None, what, total=run.steps, unit="step") as bar:
        bar.update(run.step)
        while run.step < run.steps:
            recent.append(step())
            run.step += 1
            bar.update(1)
            if run.step % every and run.step < run.steps:
                continue
            means = {name: float(np.mean([row[name] for row in recent if name in row])) for name in recent[-1]}
            run.history.append({"step": run.step, **means, **more()})
            bar.set_postfix({word: f"{means[name]:.3f}" for word, name in shown.items()})
            recent = []
            if time.monotonic() - saved > save_every:
                save()
                saved = time.monotonic()


def timed(trial: Progress, step: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of the next steps of a trial that is thrown away, but for the first two, which warm up."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        step()
        trial.step += 1
        seconds.append(time.perf_counter() - begun)
    return seconds[2:]


def finish(out: Path, identity: dict[str, Any], run: Progress) -> None:
    """Write the summary; the state is not needed any more."""
    write_json(out / SUMMARY, {"run": identity, "steps": run.steps, "history": run.history})
    with suppress(FileNotFoundError):
        (out / STATE).unlink()


def save_state(
    path: Path, parts: Parts, optimizers: Optimizers, identity: dict[str, Any], run: Progress
) -> None:
    """Write modules and optimizers by name, and how far `run` is, atomically."""
    tensors: dict[str, Tensor] = {}
    for name, module in parts.items():
        tensors |= {f"{name}.{key}": value.contiguous() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{slot}": value.contiguous() for slot, value in slots.items()}
    meta = {"run": identity, "step": run.step, "steps": run.steps, "history": run.history}
    with atomic_path(path) as scratch:
        save_file(tensors, scratch, metadata={"state": json.dumps(meta)})


def load_state(
    path: Path, parts: Parts, optimizers: Optimizers, identity: dict[str, Any], run: Progress, what: str
) -> None:
    """Fill modules, optimizers and `run` from a saved state, where there is one.

    Raises InputError for a damaged file, or one of another run.
    """
    if not path.exists():
        return
    try:
        with safe_open(path, "pt") as file:
            meta = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        _refuse_other(meta["run"], identity, path.parent, what)
        for name, module in parts.items():
            module.load_state_dict(_part(tensors, f"{name}."))
        for name, optimizer in optimizers.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in _part(tensors, f"{name}.").items():
                index, slot = key.split(".")
                slots.setdefault(int(index), {})[slot] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        run.step, run.steps, run.history = meta["step"], meta["steps"], meta["history"]
    except (SafetensorError, RuntimeError, KeyError, TypeError, json.JSONDecodeError):
        raise InputError(f"{path}: damaged training state; delete it to begin again") from None


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _refuse_other(found: dict[str, Any], wanted: dict[str, Any], out: Path, what: str) -> None:
    if differing := [name for name in wanted if found.get(name) != wanted[name]]:
        raise InputError(f"{out}: holds {what} run with another {', '.join(differing)}; choose another folder")
