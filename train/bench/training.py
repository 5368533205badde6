"""`omni bench train`: our training step against LlamaForCausalLM in the Trainer of transformers, and a plain loop.

All ways train the same shape on the same sequences and take turns within every round. Tokens are useful ones: steps of
sequences, padding not counted. The peer is measured twice: as it is commonly run, its collator padding each batch to
the longest sequence, and on our packed rows. What is gained over the first and not over the second comes from packing.
The plain loop (omni.train.bench.plain) has our packed rows too. At the end, one rank of the real command is measured
against two, each with one thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni.figures import Report
    from omni.train.data.loader import Dataset
    from omni.train.recipe import Recipe

EPILOG = """example:
  omni bench train --json
  omni bench train --data runs/quickstart/shards/train --compile --json
Without --data, sequences of made-up ids have the lengths of the stamps' tasks: log-normal, median 82, mean 105, of
which the last 0.4 are trained. The shape: 8.5 million parameters (d_model 256, 8 layers), rows of 512 steps."""
STEPS, ROWS, MICRO_SEQUENCES = 512, 8, 8
SECONDS = 3.0                                                           # of matmuls that show what the machine gives
SHAPE = {"d_model": 256, "n_layers": 8, "n_heads": 4, "n_kv_heads": 4, "d_ff": 704}


def configure(parser: argparse.ArgumentParser) -> None:
    """How long, on what and on how many threads."""
    parser.description = "A training step against LlamaForCausalLM in the Trainer of transformers, same shape and data."
    parser.epilog = EPILOG
    parser.add_argument("--data", type=Path, help="folder of token shards (default: sequences made up for this)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="timed steps in a turn (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads; a busy core stalls several (default: 1)")
    parser.add_argument("--compile", action="store_true", help="the same again with torch.compile (some minutes)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure and print the table."""
    from importlib.util import find_spec

    from omni.errors import InputError

    if find_spec("accelerate") is None:
        raise InputError("omni bench train: the Trainer of transformers needs accelerate; pip install accelerate")
    if min(args.rounds, args.steps, args.threads) < 1:
        raise InputError("--rounds, --steps and --threads must be 1 or more")
    with tempfile.TemporaryDirectory(prefix="omni-bench-") as folder:
        report = measure(args.data, Path(folder), args.rounds, args.steps, args.threads, args.compile)
    print(report.table())
    if args.json:
        print(report.json())


@dataclass
class Way:
    """One way to train: `turn(n)` takes n steps and gives (seconds, useful tokens) of each."""

    name: str
    turn: Callable[[int], list[tuple[float, int]]]
    rates: list[float] = field(default_factory=list)                    # tokens per second of each round

    def play(self, steps: int) -> None:
        taken = self.turn(steps)
        self.rates.append(sum(tokens for _, tokens in taken) / sum(seconds for seconds, _ in taken))


def measure(
    shards: Path | None, folder: Path, rounds: int, steps: int, threads: int, compiled: bool
) -> "Report":
    """All figures, in a scratch folder."""
    import torch

    from omni.figures import Report
    from omni.train.bench.peer import HuggingFace, packed_examples, padded_examples
    from omni.train.bench.plain import PlainLoop
    from omni.train.data.loader import Dataset
    from omni.train.monitor.vitals import flops_per_token

    torch.set_num_threads(threads)
    data = Dataset.load([shards or made_up(folder / "shards")], STEPS, "drop")
    recipe = bench_recipe(data)
    ours = [Ours("ours", recipe, folder / "ours")]
    per_step = ours[0].tokens_per_step
    accumulation = max(1, round(per_step / mean_length(data) / MICRO_SEQUENCES))  # as many tokens a step as ours
    padded, packed = padded_examples(data), packed_examples(data)
    config = recipe.model.config(data.vocab)
    peers: list[HuggingFace | PlainLoop] = [
        HuggingFace("hf_trainer", config, padded, MICRO_SEQUENCES, accumulation, folder),
        HuggingFace("hf_trainer_packed", config, packed, ROWS, 1, folder),
        PlainLoop("plain_loop", config, packed, ROWS),
    ]
    if compiled:
        ours.append(Ours("ours_compiled", replace(recipe, compile=True), folder / "compiled"))
        peers.append(HuggingFace("hf_trainer_packed_compiled", config, packed, ROWS, 1, folder, compiled=True))
    ways = [Way(one.name, one.turn) for one in ours] + [Way(peer.name, peer.turn) for peer in peers]
    peak: list[float] = []
    for way in ways:
        way.turn(1)                                                     # allocate, and compile
    for one in ours:
        one.watch_anew()
    for _ in range(rounds):
        peak.append(matmul_peak(config.d_model))
        for way in ways:
            way.play(steps)
    report = Report("bench train")
    fill(report, ways, rounds * steps)
    for part, share in ours[0].shares().items():
        report.add("loader_share" if part == "data" else f"share_{part}", share, "of the step")
    report.add("matmul_peak", max(peak) / 1e9, "GFLOP/s", n=len(peak))
    flops = flops_per_token(config, data)
    report.add("mfu", statistics.median(ways[0].rates) * flops / max(peak), "of the matmul peak")
    used = sum(part.used * len(part) for part in data.parts) / sum(map(len, data.parts))
    report.add("packed_share", used, "of the steps of a row")
    report.add("threads", torch.get_num_threads(), "threads")
    for one in ours:
        one.close()
    add_speedup(report, recipe)
    return report


def add_speedup(report: "Report", recipe: "Recipe") -> None:
    """Tokens per second of two ranks over those of one, each a process of the real command with one thread.

    The machine's own share of it is measured too: matmuls in two processes at once against one alone.
    """
    import os

    from omni.train.launch import measure_throughput

    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        report.add("two_rank_speedup", None, "times")
        return
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        half = replace(recipe, batch=replace(recipe.batch, micro=ROWS // 2))
        one, two = (measure_throughput(half, nproc).tokens_per_second for nproc in (1, 2))
    finally:
        os.environ.pop("OMP_NUM_THREADS")
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
    report.add("two_rank_speedup", two / one, "times")
    alone, together = matmuls_of(1), matmuls_of(2)
    report.add("two_core_matmul_speedup", together / alone, "times")


def matmuls_of(processes: int) -> float:
    """FLOP/s of matmuls in this many processes at once, one thread each: what the machine itself gives."""
    import subprocess
    import sys

    code = (
        "import time, torch; torch.set_num_threads(1); a, b = torch.randn(4096, 256), torch.randn(256, 1024)\n"
        "[a @ b for _ in range(20)]; began = time.perf_counter(); n = 0\n"
        f"while time.perf_counter() - began < {SECONDS}: a @ b; n += 1\n"
        "print(n / (time.perf_counter() - began))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(processes)]
    return 2.0 * 4096 * 256 * 1024 * sum(float(process.communicate()[0]) for process in running)


def fill(report: "Report", ways: list[Way], count: int) -> None:
    """Rates of every way, and ratios round by round, so that noise on the machine cancels."""
    rates = {way.name: way.rates for way in ways}
    names = {"ours": "tokens_per_second", "ours_compiled": "tokens_per_second_compiled"}
    for name, found in rates.items():
        key = names.get(name, f"{name}_tokens_per_second")
        report.add(key, statistics.median(found), "tokens/s", low=min(found), high=max(found), n=count)
    ratios = {
        "ratio_vs_hf_trainer": ("ours", "hf_trainer"),
        "ratio_vs_hf_trainer_packed": ("ours", "hf_trainer_packed"),
        "ratio_vs_plain_loop": ("ours", "plain_loop"),
        "ratio_compiled_vs_hf_trainer": ("ours_compiled", "hf_trainer"),
        "ratio_compiled_vs_hf_trainer_packed_compiled": ("ours_compiled", "hf_trainer_packed_compiled"),
    }
    for key, (mine, peer) in ratios.items():
        if mine in rates and peer in rates:
            each = [a / b for a, b in zip(rates[mine], rates[peer], strict=True)]
            report.add(key, statistics.median(each), "times", low=min(each), high=max(each), n=len(each))


class Ours:
    """The engine's own steps: DeepSpeed, loader and tally included."""

    def __init__(self, name: str, recipe: "Recipe", folder: Path) -> None:
        from omni.train.data.loader import GlobalBatch
        from omni.train.engine import Trainer

        self.name = name
        self.trainer = Trainer(recipe, folder, device="cpu")
        self.batches: Iterator[GlobalBatch] = iter(self.trainer.loader())
        self.tokens_per_step = next(self.batches).steps

    def turn(self, steps: int) -> list[tuple[float, int]]:
        trainer, taken = self.trainer, []
        trainer.watch.lap("between")
        for _ in range(steps):
            began = time.perf_counter()
            batch = next(self.batches)
            trainer.watch.lap("data")
            trainer.optimize(batch, trainer.new_tally())
            trainer.step += 1
            taken.append((time.perf_counter() - began, batch.steps))
        return taken

    def watch_anew(self) -> None:
        self.trainer.watch.take()

    def shares(self) -> dict[str, float]:
        parts = {part: spent for part, spent in self.trainer.watch.take().items() if part not in ("between", "other")}
        return {part: spent / sum(parts.values()) for part, spent in parts.items()}

    def close(self) -> None:
        self.trainer.close()


def bench_recipe(data: "Dataset") -> "Recipe":
    from omni.train.recipe import Recipe

    folders = [str(part.shard.folder) for part in data.parts]
    values = {
        "data": folders,
        "too_long": "drop",
        "sequence_length": STEPS,
        "model": SHAPE,
        "batch": {"rows": ROWS, "micro": ROWS},
        "zero": 0,
        "schedule": {"kind": "constant", "steps": 10**6, "warmup": 10},
    }
    return Recipe.parse(values, "bench")


def made_up(folder: Path) -> Path:
    """Shards of random ids with the lengths of real ones; the vocabulary has 8,192 ids."""
    import numpy as np

    from omni.sequence import Sequence
    from omni.train.data.shards import ShardWriter
    from omni.vocab import Vocabulary

    controls = len(Vocabulary(text=1, codebooks=1, codebook_size=1, image=1, picture_tokens=1).controls)
    vocab = Vocabulary(text=8192 - controls - 5000, codebooks=1, codebook_size=4000, image=1000, picture_tokens=64)
    rng = np.random.default_rng(0)
    with ShardWriter(folder, vocab, "made-up") as shard:
        for number in range(4000):
            length = int(np.clip(rng.lognormal(np.log(82), 0.7), 16, STEPS))
            loss = np.arange(length) >= round(0.6 * length)
            shard.add(Sequence(rng.integers(controls, len(vocab), (length, 1)), loss, 0), str(number))
    return folder


def mean_length(data: "Dataset") -> float:
    lengths = [part.shard.index["length"][part.order] for part in data.parts]
    return float(sum(found.sum() for found in lengths) / sum(map(len, lengths)))


def matmul_peak(d_model: int) -> float:
    """FLOP/s of the step's largest kind of matmul, [4096, d_model] x [d_model, 4 d_model], best of ten."""
    import torch

    a, b = torch.randn(STEPS * ROWS, d_model), torch.randn(d_model, 4 * d_model)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - began)
    return 2.0 * a.shape[0] * a.shape[1] * b.shape[1] / min(times)
