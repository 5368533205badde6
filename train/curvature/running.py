"""The curvature of a run while it goes: a fixed batch, looked at every so many steps by all processes together."""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from omni.errors import InputError
from omni.model.transformer import Batch
from omni.train.curvature.hessian import CurvatureError, Hessian, Operator, Scaled
from omni.train.curvature.lanczos import HOLD, Eigenpair, UnconvergedError, top_eigenvalue
from omni.train.curvature.precondition import MOMENTS, NO_STEP, Preconditioner
from omni.train.data.loader import GlobalBatch, Loader, Share
from omni.train.optimizers import Adafactor, AnyOptimizer, Muon
from omni.train.recipe import Recipe
from omni.train.stages import Stages
from omni.train.state.fragments import fragments, optimizer_steps

if TYPE_CHECKING:
    from omni.train.multitask.running import TaskWeights

TOLERANCE = 0.05                                                        # of the eigenvalue: a monitor's accuracy
MOST, BASIS = 24, 6                                                     # products, and vectors of the basis
HELD = BASIS + 11                                                       # vectors of all parameters that a look holds
ALARM = 2.0                                                             # times the threshold
FIRST = 4                                                               # step; P is made of too few gradients before


class StoppedError(Exception):
    """A look was given up between two products, for the run is to stop."""


@dataclass(frozen=True)
class Look:
    """What a probe saw. The ratio is that of the preconditioned sharpness to the threshold of the step's rate, as far
    as its gradient was clipped; at a rate of 0, where nothing can become unstable, there is none.
    """

    sharpness: Eigenpair
    ratio: Eigenpair | None
    threshold: float
    converged: bool
    seconds: float

    def record(self, ahead: float) -> dict[str, Any]:
        """As log.jsonl has it. ahead: the largest rate before the next probe, as a multiple of this one's."""
        found = {"sharpness": self.sharpness.value, "sharpness_error": self.sharpness.error}
        products = self.sharpness.products
        if self.ratio:
            products += self.ratio.products
            found |= {
                "preconditioned": self.ratio.value * self.threshold,
                "threshold": self.threshold,
                "ratio": self.ratio.value,
                "ratio_error": self.ratio.error,
                "ratio_ahead": self.ratio.value * ahead,
            }
        return {**found, "converged": self.converged, "products": products, "seconds": self.seconds}


class Probe:
    """Sharpness of a run's loss on one batch, plain and as its optimizer feels it; each look starts from the last."""

    def __init__(
        self, recipe: Recipe, engine: Any, optimizer: AnyOptimizer, batch: GlobalBatch, weigher: "TaskWeights | None"
    ) -> None:
        """engine: of DeepSpeed around the model; batch: this process's share of the rows that are looked at
        weigher: of the tasks, where they do not all count alike
        """
        self.stop: Callable[[], bool] = lambda: False                   # asked before each sum over the processes
        self.recipe, self.engine, self.optimizer, self.batch, self.weigher = recipe, engine, optimizer, batch, weigher
        # the gradient's record, for speed; those of several rows a process would take more memory than training does
        self.keep = not recipe.activation_checkpointing and len(batch.micro) == 1
        self.parameters = {n: p for n, p in engine.module.model.named_parameters() if p.requires_grad}
        self.last: dict[str, Tensor] = {}
        self.sure = set[str]()                                          # of which a look has converged
        self.noted = False                                              # a Muon's ratio has been spoken of

    def look(self, norm: float) -> Look:
        """Every process calls it. norm: of the last gradient, before it was clipped

        Raises CurvatureError where there is no curvature to see and StoppedError where a process is to stop: both in
        all of them.
        """
        began = time.monotonic()
        hessian = Hessian(self._parts(), list(self.parameters.values()), self._total, self.keep, movable=False)
        sharpness, sure = self._top("plain", hessian)
        scale = preconditioner_of(self.recipe, self.engine, self.optimizer, norm)
        ratio, sure_too = None, True
        if math.isfinite(scale.threshold):
            ratio, sure_too = self._top("scaled", Scaled(hessian, scale))
        return Look(sharpness, ratio, scale.threshold, sure and sure_too, time.monotonic() - began)

    @classmethod
    def of(
        cls, recipe: Recipe, engine: Any, optimizer: AnyOptimizer, loader: Loader, weigher: "TaskWeights | None"
    ) -> "Probe | None":
        """On a run's first rows, whatever step it is at; None where the recipe does not want one.

        loader: of this process

        Raises InputError for more rows than a step has: a look costs as much as many steps on its rows.
        """
        if not recipe.monitor.curvature:
            return None
        if recipe.monitor.rows > recipe.batch.rows:
            raise InputError(f"monitor.rows: {recipe.monitor.rows} is above batch.rows={recipe.batch.rows}; a look at"
                             " one row is usual")  # fmt: skip
        share = Share(recipe.monitor.rows, 1, loader.share.rank, loader.share.world)
        batch = Loader(loader.data, loader.order, share, read=loader.read).batch(0)
        return cls(recipe, engine, optimizer, batch, weigher)

    def due(self, stages: Stages, step: int) -> bool:
        """Whether to look after `step` steps: every so many, and until then after 4, 8, 16 ..., also of a stage that
        begins anew, since a rate that is too high mostly shows in the first steps (Gilmer et al. 2021)."""
        every, young = self.recipe.monitor.curvature, stages.since(step)
        return step % every == 0 or (FIRST <= young < every and young.bit_count() == 1)

    def report(self, stages: Stages, step: int, norm: float, stop: Callable[[], bool]) -> dict[str, Any] | None:
        """A look's record after `step` steps, as log.jsonl has it; with `warning` or `note` where there is something
        to say; None where the look was given up. norm: as `look`. Every process calls it.

        stop: whether this process is to stop, so that the look is to be given up
        """
        self.stop = stop
        following = next(at for at in itertools.count(step + 1) if self.due(stages, at))
        rates = [stages.factor(at) for at in range(step - 1, following)]
        try:
            record = {"step": step, **self.look(norm).record(max(rates) / rates[0] if rates[0] else 0.0)}
        except StoppedError:
            return None
        except CurvatureError as error:
            return {"step": step, "warning": str(error)}
        if record.get("ratio_ahead", 0.0) <= ALARM:
            return record
        sharp = f"the loss is {record['ratio_ahead']:.1f} times as sharp as the steps to come can follow"
        if not isinstance(self.optimizer, Muon):
            record["warning"] = f"{sharp}; they may diverge: lower optimizer.lr, or warm up for longer"
        elif not self.noted:                                            # its steps are bounded
            record["note"], self.noted = f"{sharp}; Muon overshoots there, and need not diverge; not said again", True
        return record

    def _top(self, name: str, operator: Operator) -> tuple[Eigenpair, bool]:
        """The largest eigenvalue, or as much of it as the products allowed and False. Until a look is sure, there is
        no vector that is known to be the largest's, and what is found must hold."""
        hold = 0 if name in self.sure else HOLD
        try:
            found, sure = top_eigenvalue(operator, TOLERANCE, MOST + hold, self.last.get(name), BASIS, hold=hold), True
            self.sure.add(name)
        except UnconvergedError as error:
            found, sure = error.best, False
        self.last[name] = found.vector
        return found, sure

    def _total(self, vector: Tensor) -> Tensor:
        """The sum over all processes, unless one of them is to stop."""
        if bool(total(torch.tensor([float(self.stop())], device=vector.device)) > 0):
            raise StoppedError
        return total(vector)

    def _parts(self) -> list[Callable[[], Tensor]]:
        """This process's shares of the mean loss as it is trained, one a micro-batch. Every process calls it."""
        if self.weigher:
            return self.weigher.parts(self.batch, self._summed)
        return [partial(self._mean, micro) for micro in self.batch.micro]

    def _mean(self, micro: Batch) -> Tensor:
        return self._summed(micro) / max(1, self.batch.trained)

    def _summed(self, micro: Batch) -> Tensor:
        """The total loss of these rows; past DeepSpeed, which has nothing to do here."""
        batch = micro.to(self.engine.device)
        found: Tensor = self.engine.module(batch.ids, batch.loss, batch.document, batch.prefix, batch.reading)[0]
        return found


def total(vector: Tensor) -> Tensor:
    """The sum over all processes."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(vector)
    return vector


def preconditioner_of(recipe: Recipe, engine: Any, optimizer: AnyOptimizer, norm: float) -> Preconditioner:
    """Of a run's optimizer as it stands, whose state ZeRO 0 to 2 may have divided. Every process calls it.

    norm: of the last gradient, before it was clipped
    """
    named = {name: one for name, one in engine.module.model.named_parameters() if one.requires_grad}
    groups = _groups(engine, optimizer, recipe.zero)
    states = _states(engine, optimizer, recipe.zero, named)
    mine = [groups[id(one)] for one in named.values()]
    return Preconditioner.of(list(named.values()), states, mine, kept_of(recipe.optimizer.clip, norm))


def kept_of(clip: float, norm: float) -> float:
    """The share of a gradient of a norm that clipping leaves. clip: largest norm, or 0

    All of one that is not finite: no step is taken with it.
    """
    return clip / norm if 0 < clip < norm < math.inf else 1.0


def _groups(engine: Any, optimizer: AnyOptimizer, zero: int) -> dict[int, dict[str, Any]]:
    """Settings by the parameter's id. ZeRO gives the optimizer ranges of groups in place of the parameters."""
    members: Sequence[Sequence[nn.Parameter]] = [group["params"] for group in optimizer.param_groups]
    if zero:
        members = engine.optimizer.bit16_groups
    pairs = zip(members, optimizer.param_groups, strict=True)
    return {id(one): group for parameters, group in pairs for one in parameters}


def _states(
    engine: Any, optimizer: AnyOptimizer, zero: int, named: dict[str, nn.Parameter]
) -> list[dict[str, Any]]:
    """What of each parameter's state its preconditioner is made of, whole: each process adds what it holds."""
    steps = optimizer_steps(optimizer)
    if steps < 1:
        raise CurvatureError(NO_STEP)
    device = next(iter(named.values())).device
    states = {
        name: {kind: torch.zeros(shape, device=device) for kind, shape in _kinds(optimizer, parameter).items()}
        for name, parameter in named.items()
    }
    for part in fragments(engine, optimizer, zero):
        for kind, value in part.values.items():
            if kind in MOMENTS:
                states[part.name][kind].view(-1)[part.start : part.start + part.numel] = value
    found: list[dict[str, Any]] = []
    for name, parameter in named.items():
        whole: dict[str, Any] = {kind: total(value) for kind, value in states[name].items()}
        if isinstance(optimizer, Muon) and parameter in optimizer.rows:
            whole["rows"] = optimizer.rows[parameter]
        found.append({**whole, "step": steps})
    return found


def _kinds(optimizer: AnyOptimizer, parameter: nn.Parameter) -> dict[str, Sequence[int]]:
    """Shapes of what a preconditioner needs, by its name in the optimizer's state."""
    shape = parameter.shape
    if isinstance(optimizer, Muon) and parameter in optimizer.rows:
        return {"momentum": shape}
    if not isinstance(optimizer, Adafactor):
        return {"exp_avg_sq": shape}
    if len(shape) == 1:
        return {"variance": shape}
    return {"row_var": [*shape[:-1], 1], "col_var": [*shape[:-2], 1, shape[-1]]}
