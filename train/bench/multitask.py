"""`omni bench multitask`: combined gradients of several tasks, ours against torchjd's own path, and what each costs.

A shared network with a head a task. Both combine the same losses with torchjd's rule, and take turns within every
round; ours accumulates the products of gradients parameter by parameter, torchjd writes the whole Jacobian down first.
Time is that of the processor on one thread, so that other work on the machine does not count.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from omni.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from omni.figures import Report

EPILOG = """example:
  omni bench multitask --json
ratio_vs_torchjd: their time over ours, above 1 where ours is quicker, the median of the rules; overhead_*: a step with
that rule over a step on the plain sum; parity_error: largest difference of the two gradients, over their norm."""
WIDTH, DEPTH, ROWS, TURNS = 512, 4, 64, 3
RULES = {
    "mgda": "MGDA", "pcgrad": "PCGrad", "imtl-g": "IMTLG", "gradvac": "GradVac", "cagrad": "CAGrad",
    "nash-mtl": "NashMTL", "graddrop": "GradDrop",
}  # fmt: skip
BY_CHANCE = "graddrop"                                                  # whose signs both draw in another order
OTHERS = ("gradnorm", "imtl-l", "uncertainty", "rlw-dirichlet")         # beside plain training alone


def configure(parser: argparse.ArgumentParser) -> None:
    """How many tasks, how often."""
    parser.description = "Combined gradients of several tasks: ours, torchjd's, and plain training."
    parser.epilog = EPILOG
    parser.add_argument("--tasks", type=int, default=3, help="losses with a head each (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each way (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure and print the table."""
    if find_spec("torchjd") is None:
        raise InputError("omni bench multitask: compares with torchjd; pip install torchjd")
    if args.tasks < 2 or args.rounds < 1:
        raise InputError("--tasks must be 2 or more and --rounds 1 or more")
    report = measure(args.tasks, args.rounds)
    print(report.table())
    if args.json:
        print(report.json())


def measure(tasks: int, rounds: int) -> "Report":
    """All figures."""
    import torch

    from omni.figures import Report

    torch.set_num_threads(1)
    torch.manual_seed(0)
    trunk, heads, losses = _network(tasks)
    ways: dict[str, Callable[[], None]] = {"plain": lambda: torch.stack(losses()[1]).sum().backward()}
    for name, peer in RULES.items():
        ways[name] = _ours(name, trunk, heads, losses, tasks)
        ways[f"torchjd {name}"] = _theirs(peer, trunk, losses, tasks)
    ways |= {name: _ours(name, trunk, heads, losses, tasks) for name in OTHERS}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    gradients: dict[str, Tensor] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(_timed(way, trunk, heads))
            gradients[name] = torch.cat([p.grad.flatten() for p in trunk.parameters() if p.grad is not None])
    return _report(Report("bench multitask"), seconds, gradients, rounds)


def _report(report: "Report", seconds: dict[str, list[float]], gradients: "dict[str, Tensor]", n: int) -> "Report":
    def ratios(over: str, under: str) -> list[float]:
        return [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]

    every = {name: ratios(f"torchjd {name}", name) for name in RULES}
    medians = [statistics.median(values) for values in every.values()]
    report.add("ratio_vs_torchjd", statistics.median(medians), "x", low=min(medians), high=max(medians), n=n)
    for name, values in every.items():
        report.add(f"ratio_{name}", statistics.median(values), "x", low=min(values), high=max(values), n=n)
    pairs = [(gradients[name], gradients[f"torchjd {name}"]) for name in RULES if name != BY_CHANCE]
    errors = [float((ours - theirs).norm() / ours.norm()) for ours, theirs in pairs]
    report.add("parity_error", max(errors), "of the norm", n=len(errors))
    for name in (*RULES, *OTHERS):
        values = ratios(name, "plain")
        report.add(f"overhead_{name}", statistics.median(values), "x", low=min(values), high=max(values), n=n)
        report.add(f"steps_per_second_{name}", TURNS / statistics.median(seconds[name]), "1/s", n=n)
    report.add("steps_per_second_plain", TURNS / statistics.median(seconds["plain"]), "1/s", n=n)
    return report


def _timed(way: Callable[[], None], trunk: "nn.Module", heads: "nn.Module") -> float:
    import torch

    began = time.process_time()
    for _ in range(TURNS):
        torch.manual_seed(0)                                            # pcgrad and gradvac draw an order
        trunk.zero_grad()
        heads.zero_grad()
        way()
    return time.process_time() - began


def _network(tasks: int) -> "tuple[nn.Module, nn.Module, Callable[[], tuple[Tensor, list[Tensor]]]]":
    """Trunk, heads, and what gives features and losses."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    trunk = nn.Sequential(*(layer for _ in range(DEPTH) for layer in (nn.Linear(WIDTH, WIDTH), nn.GELU())))
    heads = nn.ModuleList(nn.Linear(WIDTH, 10) for _ in range(tasks))
    inputs, classes = torch.randn(ROWS, WIDTH), torch.randint(10, (tasks, ROWS))

    def losses() -> "tuple[Tensor, list[Tensor]]":
        features = trunk(inputs)
        return features, [F.cross_entropy(head(features), y) for head, y in zip(heads, classes, strict=True)]

    return trunk, heads, losses


def _ours(name: str, trunk: "nn.Module", heads: "nn.Module", losses: Any, tasks: int) -> Callable[[], None]:
    from omni.train.multitask import method

    shared, own = list(trunk.parameters()), list(heads.parameters())

    def step() -> None:
        method(name, tasks).backward(losses()[1], shared, own)

    return step


def _theirs(rule: str, trunk: "nn.Module", losses: Any, tasks: int) -> Callable[[], None]:
    from torchjd import aggregation
    from torchjd.autojac import jac_to_grad, mtl_backward

    needed: dict[str, dict[str, float]] = {"CAGrad": {"c": 0.5}, "NashMTL": {"n_tasks": tasks}}

    def step() -> None:
        features, found = losses()
        mtl_backward(found, features=features)
        jac_to_grad(trunk.parameters(), getattr(aggregation, rule)(**needed.get(rule, {})))

    return step
