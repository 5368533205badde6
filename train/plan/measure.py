"""Peak memory of real runs on this machine, part by part, beside what the plan says of them."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni.errors import InputError
from omni.files import write_json
from omni.train.buckets import reduce_bucket
from omni.train.environment import free_port
from omni.train.monitor.stopwatch import Stopwatch
from omni.train.plan.allocations import Allocations, bytes_of_tensors, freed_here, state_tensors
from omni.train.plan.memory import bytes_of, memory, rope_bytes
from omni.train.recipe import Recipe

if TYPE_CHECKING:
    from omni.train.engine import Trainer

STEPS = 3                                                               # optimizer steps; the last one is looked at


@dataclass(frozen=True)
class Parts:
    """Bytes of one process, measured or planned.

    weights, masters, optimizer: held between steps; gradients: held from one micro-batch to the next
    working: what a micro-batch comes to need beside those and the reduction bucket: activations, loss, gathered weights
    peak: the most in a step, the bucket included
    """

    weights: float
    gradients: float
    masters: float
    optimizer: float
    working: float
    peak: float


class _Marking(Stopwatch):
    def lap(self, part: str) -> None:
        Allocations.mark(part)
        super().lap(part)


def measured(recipe: Recipe, world: int) -> tuple[Parts, Parts]:
    """(measured, planned) memory of the first of `world` processes that train a recipe for three steps.

    The recipe needs two micro-batches or more a step and process. Raises InputError when the run fails.
    """
    with tempfile.TemporaryDirectory(prefix="omni-memory-") as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(recipe.yaml(), encoding="utf-8")
        meeting = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        command = [sys.executable, "-m", "omni.train.plan.measure", str(path), str(Path(folder) / "parts.json")]
        ranks = [
            subprocess.Popen(
                command,
                env={**os.environ, "OMP_NUM_THREADS": "1", **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for rank in range(world)
        ]
        errors = [rank.communicate()[1].decode(errors="replace") for rank in ranks]
        for rank, error in zip(ranks, errors, strict=True):
            if rank.returncode:
                last = error.strip().splitlines()[-1:] or ["no message"]
                raise InputError(f"measuring {world} processes of zero {recipe.zero}: {last[0]}")
        found = json.loads((Path(folder) / "parts.json").read_text(encoding="utf-8"))
    return Parts(**found["measured"]), Parts(**found["planned"])


def _work(recipe: Recipe, path: Path) -> None:
    """One process: train, and, in the first, write down what was held."""
    from omni.train.engine import Trainer

    freed_here()
    with tempfile.TemporaryDirectory(prefix="omni-memory-") as folder, Allocations() as record:
        trainer = Trainer(recipe, Path(folder), device="cpu")
        trainer.watch = _Marking()
        loader = trainer.loader()
        for step in range(STEPS):
            batch = loader.batch(step * recipe.batch.rows)
            record.mark("begin")
            trainer.optimize(batch, trainer.new_tally())
            trainer.step += 1
        record.mark("begin")
    if trainer.rank == 0:
        longest = max(batch.micro, key=lambda micro: int((micro.document > 0).sum()))
        steps = int((longest.document > 0).sum())
        trained = max(int(micro.loss.sum()) for micro in batch.micro)
        found = {"measured": asdict(_parts(trainer, record)), "planned": asdict(_planned(trainer, steps, trained))}
        write_json(path, found)
    trainer.close()


def _parts(trainer: "Trainer", record: Allocations) -> Parts:
    """Of the last step: between steps, between its micro-batches, and in the last of them."""
    zero, engine, bucket = trainer.recipe.zero, trainer.engine, _bucket(trainer)
    begins = [at for at, moment in enumerate(record.moments) if moment.name == "begin"]
    rest = record.moments[begins[-2]].held
    last = record.moments[begins[-2] + 1 : begins[-1]]                  # three marks a micro-batch
    before, forward, backward = last[-4], last[-3], last[-2]
    between = before.held - rest - (bucket if zero == 1 else 0)         # stage 1 keeps its bucket for the step
    lasting = bucket if zero in (1, 3) else 0
    fullest = max(forward.peak, backward.peak - (bucket - lasting)) - before.held
    parameters = list(engine.module.parameters())
    kept = bytes_of_tensors([engine.optimizer.grad_partitions_flat_buffer]) if zero == 3 else between
    return Parts(
        weights=bytes_of_tensors([one.ds_tensor for one in parameters] if zero == 3 else parameters),
        gradients=kept,
        masters=bytes_of_tensors(_masters(engine.optimizer)),
        optimizer=bytes_of_tensors(state_tensors(trainer.optimizer)),
        working=fullest,
        peak=max(moment.peak for moment in last),
    )


def _masters(optimizer: Any) -> list[Any]:
    """The fp32 weights in DeepSpeed's optimizers of stages 1 and 2, and 3; without ZeRO there are none."""
    return [
        tensor
        for name in ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat")
        for tensor in getattr(optimizer, name, [])
    ]


def _planned(trainer: "Trainer", steps: int, trained: int) -> Parts:
    plan = memory(trainer.config, trainer.recipe, trainer.world, "cpu", steps, trained)
    begin = plan.loss + max(plan.logits, plan.scaled)                   # of backward, or a block computed again
    working = plan.activations + max(begin, plan.recomputed) + plan.buffers - rope_bytes(trainer.config)
    if trainer.recipe.zero == 3 and trainer.world > 1:                  # small weights stay gathered throughout
        small = [one for one in trainer.engine.module.parameters() if one.ds_persist]
        working -= bytes_of(trainer.recipe) * sum(one.ds_numel for one in small)
    return Parts(plan.weights, plan.gradients, plan.masters, plan.optimizer, working, plan.total)


def _bucket(trainer: "Trainer") -> int:
    return bytes_of(trainer.recipe) * reduce_bucket(trainer.config) if trainer.recipe.zero else 0


if __name__ == "__main__":
    _work(Recipe.load(sys.argv[1]), Path(sys.argv[2]))
