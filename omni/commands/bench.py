"""`omni bench NAME`: our speed beside that of others, our plan beside what is, a live server, what guards stop."""

import argparse
import importlib
from typing import Any

BENCHMARKS = {
    "train": ("omni.train.bench.training", "a training step against the Trainer of transformers"),
    "memory": ("omni.train.plan.bench_memory", "the plan's memory against that of real runs"),
    "loader": ("omni.train.bench.loader", "start, resume and batches of ten billion tokens"),
    "checkpoint": ("omni.train.bench.checkpoint", "how long training waits for a checkpoint"),
    "latency": ("omni.eval.live.latency", "from the end of what a person says to the answer's first sound"),
    "sessions": ("omni.eval.live.sessions", "how many conversations at once stay in real time"),
    "barge-in": ("omni.eval.live.barge_in", "how soon an answer stops when the user speaks"),
    "turns": ("omni.eval.live.turns", "when recordings of people are held to have ended, without a server"),
    "curvature": ("omni.train.bench.curvature", "the largest eigenvalue of a loss against PyHessian and curvlinops"),
    "multitask": ("omni.train.bench.multitask", "gradients of many tasks against torchjd and plain training"),
    "decode": ("omni.decode.bench_decode", "single-token decoding against transformers.generate"),
    "binary": ("omni.decode.bench_binary", "decoding from one-bit matrices against floats"),
    "mbr": ("omni.decode.mbr.bench", "choosing among 1,024 candidates against mbrs"),
    "sweep": ("omni.train.fleet.bench", "many tiny models as fleets against one after the other"),
    "guards": ("omni.safety.guards.bench", "what the guards at run time stop, and what they let pass"),
    "eval": ("omni.eval.bench_eval", "lm-eval's requests against its own hf backend"),
}


class _Benchmark(argparse.ArgumentParser):
    """Imports its module only when it is the one that is run: each needs other libraries."""

    module = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        importlib.import_module(self.module).configure(self)
        return super().parse_known_args(args, namespace)


def configure(parser: argparse.ArgumentParser) -> None:
    """One sub-command a benchmark; each module has a `configure` and a `run` of its own."""
    parser.description = "Measure this machine: ours and its peer take turns, so that a busy core slows both alike."
    parser.epilog = "example:\n  omni bench train --json"
    actions = parser.add_subparsers(
        dest="benchmark", required=True, metavar="NAME", parser_class=_Benchmark, title="benchmarks"
    )
    for name, (module, what) in BENCHMARKS.items():
        action = actions.add_parser(name, help=what, formatter_class=parser.formatter_class)
        action.module = module


def run(args: argparse.Namespace) -> None:
    """Run one benchmark; it prints its table and, with --json, its figures as the last line."""
    from omni.figures import made
    from omni.safety.card.benches import BENCHES, measured_of

    if args.benchmark in BENCHES and args.data is None:
        from omni.train.data.items import usual_data

        args.data = usual_data()
    module = importlib.import_module(BENCHMARKS[args.benchmark][0])
    with made(of=measured_of(args.benchmark, args)):
        module.run(args)
