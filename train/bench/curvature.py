"""`omni bench curvature`: the largest eigenvalue of a Hessian to 1 %, against PyHessian and curvlinops with scipy.

All work on the same small omni model at several stages of its training, the same batch and the same differentiable
attention, and take turns within every round: how far apart the largest eigenvalues lie changes with training, and with
it what each way costs. Ours is asked for 1 % and stops by its own bound. A peer has the loosest settings, of a ladder
of them, that come within 1 % of the truth (Lanczos to 1e-5) from five starts out of five at every stage: a user, who
sets them once, would have to be told that. Beside it stands what a peer takes with settings of its own for each stage,
which nobody could know. Time is that of the processor on one thread, so that other work on the machine does not count.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from omni.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from omni.figures import Report
    from omni.train.curvature import Eigenpair

EPILOG = """example:
  omni bench curvature --json
ratio_vs_pyhessian, ratio_vs_curvlinops: their time over ours, above 1 where ours is quicker, with the loosest settings
that are accurate at all stages; ..._tuned: with the loosest of each stage. steps_per_probe: ours in training steps on
the same batch; steps_per_warm_probe: again after each step, from the vector found before. The value is the median over
stages of the median over rounds, low and high the worst and the best stage; null for a peer that none of its settings
makes accurate."""
STEPS, ROWS, VOCAB = 128, 4, 512
STAGES = (25, 50, 100, 200, 400)                                        # steps of training
ACCURACY, STARTS = 0.01, 5
PEERS = ("pyhessian", "curvlinops")
FIGURES = {
    "ratio_vs_pyhessian": "x",
    "ratio_vs_curvlinops": "x",
    "ratio_vs_pyhessian_tuned": "x",
    "ratio_vs_curvlinops_tuned": "x",
    "error": "of the eigenvalue",
    "error_pyhessian": "of the eigenvalue",
    "error_curvlinops": "of the eigenvalue",
    "steps_per_probe": "training steps",
    "steps_per_warm_probe": "training steps",
    "seconds_per_probe": "s",
}
SHAPE = {"d_model": 128, "n_layers": 4, "n_heads": 4, "n_kv_heads": 4, "d_ff": 344}
CHANGES = (0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4, 3e-5)                  # of PyHessian, between iterations
SPACES = ((8, 0.1), (20, 0.1), (20, 0.01), (20, 1e-3))                   # of eigsh: vectors, tolerance


def configure(parser: argparse.ArgumentParser) -> None:
    """How trained, how often."""
    parser.description = "The largest eigenvalue of a training loss to 1 %: ours, PyHessian, and curvlinops with scipy."
    parser.epilog = EPILOG
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way at a stage (default: %(default)s)")
    parser.add_argument("--trained", type=int, nargs="+", default=STAGES, metavar="STEPS",
                        help=f"when to measure (default: {' '.join(map(str, STAGES))})")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure and print the table."""
    missing = [name for name in PEERS if find_spec(name) is None]
    if missing:
        peers = "pip install pyhessian curvlinops-for-pytorch"
        raise InputError(f"omni bench curvature: needs {' and '.join(missing)}; {peers}")
    if min(args.rounds, *args.trained) < 1:
        raise InputError("--rounds and --trained must be 1 or more")
    report = measure(args.rounds, args.trained)
    print(report.table())
    if args.json:
        print(report.json())


Ratios = dict[str, list[float]]                                         # of one stage, round by round
Way = Callable[[], float]


class Trained:
    """A model with its optimizer, at some stage of training."""

    def __init__(self) -> None:
        import torch

        self.model = _scores()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def step(self, batch: "tuple[Tensor, Tensor]") -> None:
        from torch.nn import functional as F

        self.optimizer.zero_grad()
        F.cross_entropy(self.model(batch[0]), batch[1]).backward()
        self.optimizer.step()


@dataclass(frozen=True)
class Stage:
    """A stage of training, the batch that is looked at, and the truth; ladder: of each peer, the loosest way first."""

    trained: Trained
    batch: "tuple[Tensor, Tensor]"
    truth: float
    ladder: dict[str, list[Way]]

    @classmethod
    def of(cls, trained: Trained, batch: "tuple[Tensor, Tensor]") -> "Stage":
        model = trained.model
        ladder: dict[str, list[Way]] = {
            "pyhessian": [partial(_pyhessian, model, batch, change) for change in CHANGES],
            "curvlinops": [partial(_curvlinops, model, batch, *space) for space in SPACES],
        }
        return cls(trained, batch, _ours(model, batch, 1e-5).value, ladder)

    def loosest(self, peer: str) -> int | None:
        """The first way of a peer that is accurate from every start. Power iteration may find the most negative one."""
        for rung, way in enumerate(self.ladder[peer]):
            if all(abs(way() / self.truth - 1) <= ACCURACY for _ in range(STARTS)):
                return rung
        return None


def measure(rounds: int, trained: Sequence[int]) -> "Report":
    """All figures."""
    import torch

    from omni.figures import Report
    from omni.model.twice import twice_differentiable
    from omni.progress import progress

    torch.set_num_threads(1)
    torch.manual_seed(0)
    run, done, stages = Trained(), 0, list[Stage]()
    for upto in progress(sorted(trained), "training", unit="stage"):
        for _ in range(upto - done):
            run.step(_batch())
        done = upto
        with twice_differentiable():
            stages.append(Stage.of(copy.deepcopy(run), _batch()))
    with twice_differentiable():
        needs = {peer: [one.loosest(peer) for one in progress(stages, peer, unit="stage")] for peer in PEERS}
    shared = {peer: max((rung for rung in rungs if rung is not None), default=None) for peer, rungs in needs.items()}
    found = []
    for at, stage in enumerate(progress(stages, "in turns", unit="stage")):
        own = {peer: rungs[at] for peer, rungs in needs.items()}
        found.append(_measured(stage, shared, own, rounds))
    return _told(Report("bench curvature"), sorted(trained), found)


def _told(report: "Report", trained: Sequence[int], stages: Sequence[Ratios]) -> "Report":
    for name, unit in FIGURES.items():
        medians = [statistics.median(stage[name]) for stage in stages if stage[name]]
        if not medians:                                                 # a peer that was accurate nowhere
            report.add(name, None, unit)
            continue
        low, high, n = min(medians), max(medians), len(medians)
        report.add(name, statistics.median(medians), unit, low=low, high=high, n=n)
    for upto, stage in zip(trained, stages, strict=True):
        for name in ("ratio_vs_pyhessian", "ratio_vs_curvlinops", "products", "eigenvalue"):
            if stage[name]:
                report.add(f"{name}_at_{upto}", statistics.median(stage[name]), FIGURES.get(name, "1"))
    return report


def _measured(stage: Stage, shared: dict[str, int | None], own: dict[str, int | None], rounds: int) -> Ratios:
    """All ways in turns on one state of the model, which then takes a step a round."""
    from omni.model.twice import twice_differentiable

    model, batch, truth = stage.trained.model, stage.batch, stage.truth
    rungs = {**shared, **{f"{peer}_tuned": rung for peer, rung in own.items()}}
    ways = {name: stage.ladder[name.removesuffix("_tuned")][rung] for name, rung in rungs.items() if rung is not None}
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", "step", "warm", *rungs)}
    errors: dict[str, list[float]] = {name: [] for name in ("ours", *rungs)}
    with twice_differentiable():
        for _ in range(rounds):
            took, best = _timed(lambda: _ours(model, batch, ACCURACY))
            seconds["ours"].append(took)
            errors["ours"].append(abs(best.value / truth - 1))
            for name, way in ways.items():
                took, value = _timed(way)
                seconds[name].append(took)
                errors[name].append(abs(value / truth - 1))
    vector, products = best.vector, best.products
    for _ in range(rounds):
        seconds["step"].append(_timed(lambda: stage.trained.step(batch))[0])
        with twice_differentiable():
            took, warm = _timed(partial(_ours, model, batch, ACCURACY, vector))
        seconds["warm"].append(took)
        vector = warm.vector

    def ratio(over: str, under: str) -> list[float]:
        return [a / b for a, b in zip(seconds[over], seconds[under], strict=True)] if seconds[over] else []

    return {
        **{f"ratio_vs_{name}": ratio(name, "ours") for name in rungs},  # none: accurate with none of its settings
        "error": errors["ours"],
        **{f"error_{peer}": errors[peer] for peer in PEERS},
        "steps_per_probe": ratio("ours", "step"),
        "steps_per_warm_probe": ratio("warm", "step"),
        "seconds_per_probe": seconds["ours"],
        "products": [float(products)],
        "eigenvalue": [truth],
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    value = work()
    return time.process_time() - began, value


# ---- the model


def _scores() -> "nn.Module":
    """A model, ids [rows, steps] to scores [rows * steps, vocab]."""
    import torch
    from torch import nn

    from omni.model.config import ModelConfig
    from omni.model.transformer import Batch, FeedForward, OmniTransformer

    class Gated(nn.Module):
        """The model's feed-forward in operations that curvlinops can take too: silu's gradient has no forward mode."""

        def __init__(self, whole: FeedForward) -> None:
            super().__init__()
            self.gate_up, self.down = whole.gate_up, whole.down

        def forward(self, x: "Tensor") -> "Tensor":
            gate, up = self.gate_up(x).chunk(2, dim=-1)
            return self.down(gate * gate.sigmoid() * up)

    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = OmniTransformer(ModelConfig(**SHAPE, vocab_size=VOCAB, z_loss=0.0))  # type: ignore[arg-type]
            for block in self.model.blocks:
                block.feed_forward = Gated(block.feed_forward)  # type: ignore[assignment]

        def forward(self, ids: "Tensor") -> "Tensor":
            whole = torch.ones_like(ids)
            states = self.model.hidden(Batch(ids[..., None], whole.bool(), whole, whole.bool()))
            return self.model.logits(states).flatten(0, 1)

    return Scores()


def _batch() -> "tuple[Tensor, Tensor]":
    """Noisy arithmetic progressions, which a model learns in part: ids [rows, steps], the next [rows * steps]."""
    import torch

    first, rate = torch.randint(VOCAB, (ROWS, 1)), torch.randint(1, 8, (ROWS, 1))
    ids = first + rate * torch.arange(STEPS + 1)
    noise = torch.randint(VOCAB, ids.shape)
    ids = torch.where(torch.rand(ids.shape) < 0.1, noise, ids % VOCAB)
    return ids[:, :-1].contiguous(), ids[:, 1:].flatten()


# ---- the ways


def _ours(
    model: "nn.Module", batch: "tuple[Tensor, Tensor]", tolerance: float, start: "Tensor | None" = None
) -> "Eigenpair":
    from torch.nn import functional as F

    from omni.train.curvature import Hessian, top_eigenvalue

    operator = Hessian([lambda: F.cross_entropy(model(batch[0]), batch[1])], list(model.parameters()))
    return top_eigenvalue(operator, tolerance, start=start)


def _pyhessian(model: "nn.Module", batch: "tuple[Tensor, Tensor]", change: float) -> float:
    """Power iteration on a gradient recorded once."""
    import warnings

    from pyhessian import hessian
    from torch import nn

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values, _ = hessian(model, nn.CrossEntropyLoss(), data=batch, cuda=False).eigenvalues(maxIter=1000, tol=change)
    for parameter in model.parameters():                                # breaks the cycle that it leaves behind
        parameter.grad = None
    return float(values[0])


def _curvlinops(model: "nn.Module", batch: "tuple[Tensor, Tensor]", space: int, tolerance: float) -> float:
    """scipy's eigsh (ARPACK, implicitly restarted Lanczos)."""
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import eigsh
    from torch import nn

    loss, parameters = nn.CrossEntropyLoss(), list(model.parameters())
    operator = HessianLinearOperator(model, loss, parameters, [batch], check_deterministic=False)
    return float(eigsh(operator.to_scipy(), k=1, which="LA", ncv=space, tol=tolerance)[0][0])
