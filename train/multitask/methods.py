"""Multi-task optimizers by name: torchjd's where it has them, ours where it does not."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from omni.errors import InputError
from omni.train.multitask.gradients import MOST, Elementwise, Gramian
from omni.train.multitask.losses import GradNorm, RandomWeights, Scalarization


class Method(Protocol):
    """What turns the losses of tasks into one gradient."""

    def backward(
        self,
        losses: Sequence[Tensor],
        shared: Sequence[Tensor],
        own: Sequence[Tensor] = (),
        features: Sequence[Tensor] = (),
    ) -> Tensor:
        """Add the gradient to .grad of the shared parameters and of those of single tasks. Returns weights [tasks]."""


METHODS = {
    "scalarization": "a weighted sum (Xin et al. 2022: hard to beat)",
    "mgda": "the shortest common descent direction (Désidéri 2012; Sener and Koltun 2018)",
    "pcgrad": "conflicting gradients projected (Yu et al. 2020)",
    "gradnorm": "gradient norms balanced (Chen et al. 2018)",
    "imtl-g": "equal projections on every gradient (Liu et al. 2021)",
    "imtl-l": "losses scaled alike (Liu et al. 2021)",
    "rlw-normal": "random weights, softmax of normal (Lin et al. 2022)",
    "rlw-dirichlet": "random weights, flat Dirichlet (Lin et al. 2022)",
    "graddrop": "signs drawn by agreement (Chen et al. 2020)",
    "gradvac": "cosines raised to their running mean (Wang et al. 2021)",
    "cagrad": "the worst task's progress near the mean (Liu et al. 2021)",
    "nash-mtl": "Nash's bargain (Navon et al. 2022)",
    "uncertainty": "learnt noise of every task (Kendall et al. 2018)",
}
SCALES = ("imtl-l", "uncertainty")                                      # that learn a scale of every loss
VACCINE = 0.01                                                          # of a cosine in GradVac's running mean, as the
                                                                        # paper has it; torchjd's default is 0.5


def method(
    name: str,
    tasks: int,
    weights: Sequence[float] | None = None,
    most: int = MOST,
    seed: int = 0,
    **settings: Any,
) -> Method:
    """A method by name, for a number of tasks.

    weights: of `scalarization`, one each where left out; most: numbers of gradients in memory, of all tasks
    seed: of `rlw-dirichlet`; what torchjd draws (rlw-normal, pcgrad, gradvac, graddrop) is torch's own chance
    settings: layer, alpha and lr of `gradnorm`, as GradNorm has them
    Raises InputError for an unknown name, weights or settings that do not fit, or a package that is missing.
    """
    if name not in METHODS:
        raise InputError(f"multitask: unknown method {name!r}; use one of {', '.join(METHODS)}")
    if weights is not None and (name != "scalarization" or len(weights) != tasks):
        raise InputError(f"multitask.weights: {len(weights)} weights for {tasks} tasks; they belong to scalarization")
    if settings and (name != "gradnorm" or set(settings) - {"layer", "alpha", "lr"}):
        raise InputError(f"multitask: {', '.join(settings)}: only gradnorm has settings, which are layer, alpha and lr")
    if name == "scalarization":
        return Scalarization.fixed(weights or [1.0] * tasks)
    if name == "gradnorm":
        return GradNorm(tasks, **settings)
    if name == "rlw-dirichlet":
        return Scalarization(RandomWeights(seed))
    return _of_torchjd(name, tasks, most)


def scale(name: str, tasks: int) -> Any:
    """torchjd's module for losses [tasks] whose scales are learnt: of `imtl-l` or `uncertainty`.

    Raises InputError where torchjd is missing.
    """
    _need_torchjd(name)
    from torchjd import scalarization

    return {"imtl-l": scalarization.IMTLL, "uncertainty": scalarization.UW}[name](tasks)


def _need_torchjd(name: str) -> None:
    if find_spec("torchjd") is None:
        raise InputError(f"multitask: {name} is torchjd's; pip install torchjd")


def _of_torchjd(name: str, tasks: int, most: int) -> Method:
    _need_torchjd(name)
    from torchjd import aggregation, scalarization

    if name in (*SCALES, "rlw-normal"):
        combine = scale(name, tasks) if name in SCALES else scalarization.Random()
        return Scalarization(combine, list(combine.parameters()), tasks if name in SCALES else None)
    if name == "graddrop":
        return Elementwise(aggregation.GradDrop(), most)
    weightings: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "nash-mtl": _nash,
        "mgda": aggregation.MGDAWeighting,
        "pcgrad": aggregation.PCGradWeighting,
        "imtl-g": aggregation.IMTLGWeighting,
        "cagrad": lambda: aggregation.CAGradWeighting(c=0.5),
    }
    try:
        if name == "gradvac":
            return Gramian(Vaccine(tasks), most)
        weighting = weightings[name]()
        return Gramian(lambda products, here: weighting(products), most)
    except ImportError as error:                                        # a solver of its own
        raise InputError(f"multitask: {error}") from None


class Vaccine:
    """torchjd's GradVac, with the running means of the cosines of all pairs of tasks, whichever are there.

    torchjd's own are of the tasks last seen, and begin anew with their number: it is given ours every time.
    """

    def __init__(self, tasks: int) -> None:
        from torchjd.aggregation import GradVacWeighting

        self.means = torch.zeros(tasks, tasks, dtype=torch.float64)     # replaced with every call
        self._weighting: Any = GradVacWeighting(beta=VACCINE)

    def __call__(self, products: Tensor, here: list[int]) -> Tensor:
        """Products [here, here] of tasks of these numbers to weights [here]."""
        products, pairs = products.double(), (torch.tensor(here)[:, None], torch.tensor(here))
        self._weighting._phi_t = self.means.to(products.device)[pairs]
        self._weighting._state_key = (len(here), products.dtype)
        weights: Tensor = self._weighting(products)
        self.means = self.means.clone()
        self.means[pairs] = self._weighting._phi_t.to(self.means.device)
        return weights


def _nash() -> Callable[[Tensor], Tensor]:
    """Nash-MTL's weights follow from the products alone, so that a root of them stands in for the gradients.

    They are solved for from the same beginning every time: torchjd would begin with the last ones, but which tasks are
    in a batch changes.
    """
    from torchjd.aggregation import NashMTL

    solvers = {1: NashMTL(n_tasks=1)}                                   # says now whether what it needs is there

    def weigh(products: Tensor) -> Tensor:
        tasks = len(products)
        solver = solvers.setdefault(tasks, NashMTL(n_tasks=tasks)).weighting
        solver.prvs_alpha = np.ones(tasks, dtype=np.float32)
        values, vectors = torch.linalg.eigh(products)
        weights: Tensor = solver(vectors * values.clamp(min=0).sqrt())
        return weights

    return weigh
