"""`make soak`: twenty faults at seeded moments, and at the end the very weights of an undisturbed run.

Real processes of the real command, supervised: ranks are killed at any moment and in the middle of a save, stopped so
that they hang, the whole is told to stop, checkpoints are truncated and flipped, and writing fails for want of room.
The last line is JSON: faults_injected, samples_lost, samples_repeated (by the rows in the log), weights_bit_equal.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from omni.sequence import Segment, Sequence
from omni.train.data.shards import ShardWriter
from omni.train.monitor.log import read_log
from omni.vocab import Vocabulary

ROWS, STEPS, HANG_SECONDS, PATIENCE = 8, 900, 8, 180
RECIPE = """\
data: [{root}/shards]
sequence_length: 64
model: {{preset: mini, d_model: 64, n_layers: 2, n_heads: 2, n_kv_heads: 2, d_ff: 96}}
schedule: {{steps: {steps}, warmup: 20}}
batch: {{rows: 8, micro: 2}}
checkpoint: {{every: 5, minutes: 0, keep: 3}}
faults: {{hang_minutes: {hang}}}
"""


class Soak:
    """One disturbed run."""

    def __init__(self, recipe: Path, run: Path, seed: int) -> None:
        self.recipe, self.run, self.chance = recipe, run, random.Random(seed)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["train", str(self.recipe), "--out", str(self.run), "--nproc", "2", "--supervise", "100"]
        with (self.run.parent / "soak.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "omni.cli", *words], stdout=log, stderr=log, start_new_session=True
            )

    def ranks(self) -> list[int]:
        """Process ids of the ranks, the first one first."""
        assert self.process is not None
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):                          # it has ended meanwhile
                state, parent = stat.read_text().rpartition(")")[2].split()[:2]
                if int(parent) == self.process.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return sorted(found)

    def step(self) -> int:
        records = read_log(self.run)
        return int(records[-1]["step"]) if records else 0

    def checkpoints(self) -> list[Path]:
        return sorted((self.run / "checkpoints").glob("step-*"))

    def disturb(self, fault: str) -> None:
        getattr(self, fault)()

    def kill(self) -> None:
        os.kill(self.chance.choice(self.ranks()), signal.SIGKILL)

    def kill_in_a_save(self) -> None:
        wait_for(lambda: any((self.run / "checkpoints").glob(".partial-*")), "a save", pause=0.0005)
        self.kill()

    def stop_and_go_on(self) -> None:
        assert self.process is not None
        self.process.terminate()
        if self.process.wait(PATIENCE):
            raise SystemExit(f"soak: SIGTERM ended with {self.process.returncode}")
        self.start()

    def hang(self) -> None:
        ranks = self.ranks()
        os.kill(self.chance.choice(ranks), signal.SIGSTOP)
        wait_for(lambda: not set(ranks) & set(self.ranks()), "the watchdog")

    def truncate(self) -> None:
        self.damage(lambda content: content[: len(content) // 2])

    def flip(self) -> None:
        place = self.chance.random()

        def flipped(content: bytes) -> bytes:
            at = int(place * len(content))
            return content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]

        self.damage(flipped)

    def damage(self, change: Callable[[bytes], bytes]) -> None:
        """Stop everything, spoil a file of the newest checkpoint, let the run find out and take the one before it."""
        assert self.process is not None
        wait_for(lambda: len(self.checkpoints()) > 1, "a second checkpoint")
        ranks = self.ranks()
        for rank in ranks:
            os.kill(rank, signal.SIGKILL)
        victim = self.chance.choice(sorted(self.checkpoints()[-1].iterdir()))
        victim.write_bytes(change(victim.read_bytes()))

    def no_room(self) -> None:
        """Files of a rank may not grow beyond what no checkpoint fits into, until the next save has failed."""
        rank, before = self.chance.choice(self.ranks()), self.messages()
        resource.prlimit(rank, resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
        wait_for(lambda: self.messages() > before or rank not in self.ranks(), "a failed save")
        if rank in self.ranks():
            resource.prlimit(rank, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def messages(self) -> int:
        logs = [self.run.parent / "soak.log", *(self.run / "logs").glob("rank-*.log")]
        return sum(log.read_text(errors="replace").count("could not be written") for log in logs)


FAULTS = ("kill", "kill_in_a_save", "stop_and_go_on", "hang", "truncate", "flip", "no_room")


def wait_for(condition: Callable[[], bool], what: str, pause: float = 0.05, seen: Callable[[], str] = str) -> None:
    """Until the condition holds. seen: what there is instead, should it not."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"soak: waited {PATIENCE} s for {what} {seen()}")
        time.sleep(pause)


def make_data(folder: Path) -> None:
    vocab = Vocabulary(text=256, codebooks=1, codebook_size=20, image=10, picture_tokens=4)
    rng = np.random.default_rng(0)
    for task in ("copy", "say"):
        with ShardWriter(folder / task, vocab, task) as shard:
            for number in range(3000):
                text = rng.integers(0, 256, rng.integers(3, 20))
                answer = Segment("audio", (text % 20)[:, None], "assistant") if task == "say" else None
                answer = answer or Segment("text", text, "assistant")
                shard.add(Sequence.of([Segment("text", text), answer], vocab), str(number))


def soak(root: Path, faults: tuple[str, ...], seed: int, steps: int) -> dict[str, object]:
    """Both runs, and what the second, which has these faults in any order, lost."""
    make_data(root / "shards")
    recipe = root / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=root, steps=steps, hang=HANG_SECONDS / 60))
    words = ["train", str(recipe), "--out", str(root / "whole"), "--nproc", "2"]
    subprocess.run([sys.executable, "-m", "omni.cli", *words], check=True, capture_output=True)
    disturbed = Soak(recipe, root / "disturbed", seed)
    disturbed.start()
    order = list(faults)
    disturbed.chance.shuffle(order)
    injected, reached = 0, 0
    for number, fault in enumerate(order, start=1):
        reached = max(reached, disturbed.step()) + disturbed.chance.randint(6, max(7, steps // (len(order) + 8)))
        wait_for(
            lambda: disturbed.step() >= reached and len(disturbed.ranks()) == 2,  # noqa: B023
            f"step {reached} of two ranks",
            seen=lambda: f"(step {disturbed.step()}, ranks {disturbed.ranks()})",
        )
        print(f"fault {number} of {len(order)}: {fault} at step {disturbed.step()}", file=sys.stderr, flush=True)
        disturbed.disturb(fault)
        injected += 1
    assert disturbed.process is not None
    wait_for(lambda: disturbed.process is not None and disturbed.process.poll() is not None, "the end")
    whole, cut = (load_file(root / name / "model" / "model.safetensors") for name in ("whole", "disturbed"))
    lost, repeated = samples(root / "disturbed", steps * ROWS)
    return {
        "faults_injected": injected,
        "samples_lost": lost,
        "samples_repeated": repeated,
        "weights_bit_equal": all(torch.equal(whole[name], cut[name]) for name in whole),
    }


def samples(run: Path, rows: int) -> tuple[int, int]:
    """Rows that no record of the log covers, and rows that are covered more than once."""
    times = np.zeros(rows, int)
    for record in read_log(run):
        if record["kind"] == "train":
            first, last = record["rows"]
            times[first:last] += 1
    return int((times == 0).sum()), int(np.maximum(times - 1, 0).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="omni-soak-") as folder:
        faults = tuple(FAULTS[number % len(FAULTS)] for number in range(args.faults))
        found = soak(Path(folder), faults, args.seed, args.steps)
    print(json.dumps(found))
    if found["samples_lost"] or found["samples_repeated"] or not found["weights_bit_equal"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
