"""Start a run on this machine: one process, or as many as are asked for, that stop together and save when told to."""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from omni.errors import InputError
from omni.files import write_text
from omni.train.environment import free_port
from omni.train.recipe import CheckpointRecipe, Recipe, ScheduleRecipe
from omni.train.state.lock import sole_writer

GRACE = 180.0                                                           # seconds for a rank to finish its step and save
BAD_INPUT = 2                                                           # exit code of the command line for it
NOTICE = 5.0                                                            # seconds for the others when one has failed
MODES = ("auto", "resume", "fresh")
OF_THE_RUN = ("tensorboard", "model", "adapter")                        # beside its checkpoints


@dataclass(frozen=True)
class Throughput:
    """Rates of a run after its first steps; start_seconds: from the command to the first step."""

    seconds_per_step: float
    tokens_per_second: float
    start_seconds: float


def launch(
    recipe: Recipe, run: Path, nproc: int = 1, mode: str = "auto", supervise: int = 0, say: bool = True
) -> None:
    """Train in `nproc` processes until done. Ctrl-C and SIGTERM make every rank save and stop.

    mode: "auto" goes on where the run stopped, "resume" even though the recipe has changed, "fresh" begins again.
    supervise: how often a run whose processes failed is started again from its last good checkpoint.
    say: whether the first rank says where the results are.
    Raises InputError for bad recipe or data before anything starts, and KeyboardInterrupt after Ctrl-C.
    """
    cores = len(os.sched_getaffinity(0))
    if supervise < 0:
        raise InputError(f"--supervise: must be at least 0, got {supervise}")
    with sole_writer(run) if run.exists() else nullcontext():           # which a refusal must not make
        _check(recipe, run, nproc, mode)
    if nproc == 1 and not supervise:
        return run_rank(recipe, run, mode, say)
    write_text(run / "recipe.yaml", recipe.yaml())
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // nproc)))
    words = ["train", str(run / "recipe.yaml"), "--out", str(run), *(["--resume"] if mode == "resume" else [])]
    for attempt in range(supervise + 1):
        with ExitStack() as files:
            meeting = {"WORLD_SIZE": str(nproc), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
            settings = {**meeting, "OMP_NUM_THREADS": threads}
            code = _finish([_start(rank, words, settings, run, files, say) for rank in range(nproc)], run)
        if code in (0, BAD_INPUT) or attempt == supervise:   # bad input does not get better
            break
        left = supervise - attempt - 1
        print(f"omni: starting again from the last good checkpoint; {left} more times if need be", file=sys.stderr)
    if code:
        raise SystemExit(code)


def run_rank(recipe: Recipe, run: Path, mode: str = "auto", say: bool = True) -> None:
    """Train as the process that the environment says (RANK, WORLD_SIZE, ...): alone, or one of a launcher's.

    The first rank says where the results are, unless `say` is off. Raises KeyboardInterrupt after Ctrl-C, and
    InputError where another run writes there.
    """
    from omni.train.tuning.preferences import trainer_of

    first = int(os.environ.get("RANK", 0)) == 0
    with sole_writer(run) if first else nullcontext():                  # its launcher ends the others
        trainer = trainer_of(recipe)(recipe, run, changed_recipe=mode == "resume")
        stopped = trainer.train()
        step, steps = trainer.step, trainer.stages.steps
        trainer.close()
    if first and stopped is None and say:
        print(f"model: {run / 'model'}\nlosses: {run / 'loss.html'}, {run / 'log.jsonl'}", flush=True)
    elif first:
        print(f"stopped after step {step} of {steps}; the same command goes on: {run}", file=sys.stderr)
    if stopped == signal.SIGINT:
        raise KeyboardInterrupt


def measure_throughput(recipe: Recipe, nproc: int = 1, steps: int = 8) -> Throughput:
    """Rates of the first `steps` of this recipe on `nproc` processes, trained aside and thrown away.

    A caller with a time budget divides by it to choose `schedule.steps`; the run itself stays a function of its steps.
    """
    from omni.train.monitor.log import read_log

    short = replace(
        recipe,
        schedule=ScheduleRecipe("constant", steps, 0),
        stages=[],
        valid=[],
        tokenizers=None,
        checkpoint=CheckpointRecipe(minutes=0),
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="omni-timing-") as folder:
        launch(short, Path(folder), nproc, say=False)
        records = read_log(Path(folder))
    total = time.monotonic() - began
    later = records[min(2, len(records) - 1) :]                         # the first steps allocate, and compile
    seconds = statistics.median(record["seconds_per_step"] for record in later)
    tokens = statistics.median(record["tokens_per_second"] for record in later)
    return Throughput(seconds, tokens, total - sum(record["seconds_per_step"] for record in records))


def _check(recipe: Recipe, run: Path, nproc: int, mode: str) -> None:
    """Everything that can be refused before a process starts; packs the data, which every rank then reads."""
    import torch

    from omni.precision import processor_has_bf16
    from omni.train.stages import Stages
    from omni.train.start.given import load_data, load_valid, share_of, state_of, trained_on
    from omni.train.start.initial import shape_of
    from omni.train.state.checkpoint import Checkpoints, check_same_run
    from omni.train.tuning.prepare import check_names

    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode}")
    share_of(recipe, 0, nproc)
    if recipe.tokenizers is not None and not Path(recipe.tokenizers).is_dir():
        raise InputError(f"tokenizers: {recipe.tokenizers}: no such folder; leave the key out or train them first")
    data = load_data(recipe)
    if data.dropped:
        print(f"{data.dropped} sequences are longer than {recipe.sequence_length} steps and left out", file=sys.stderr)
    if (valid := load_valid(recipe, data)) and (known := trained_on(data, valid)):
        print(f"omni: valid: {known[0]} is trained on too; its loss tells nothing of new data", file=sys.stderr)
    if recipe.precision == "bf16" and not torch.cuda.is_available() and not processor_has_bf16():
        print("omni: this processor imitates bf16, many times as slow as fp32; give --precision fp32", file=sys.stderr)
    check_names(recipe, shape_of(recipe, data.vocab))
    steps = Stages.of(recipe, data).steps
    if mode == "fresh":
        _clear(recipe, run)
    elif (found := Checkpoints(run).newest()) is not None:
        check_same_run(found[1], state_of(recipe, data, nproc), run, mode == "resume")
        if found[1].step > steps:
            print(f"omni: {run} has {found[1].step} steps already, not {steps}: nothing is left to do", file=sys.stderr)


def _clear(recipe: Recipe, run: Path) -> None:
    """Delete what a run left. Raises InputError where the recipe needs some of that."""
    from omni.train.state.checkpoint import Checkpoints

    needed = [Path(one).resolve() for one in (recipe.beginning, recipe.teacher, recipe.tokenizers) if one is not None]
    for name in OF_THE_RUN:
        if inside := [one for one in needed if one.is_relative_to((run / name).resolve())]:
            raise InputError(f"--fresh deletes {run / name}, and the recipe needs {inside[0]}; name another --out")
    Checkpoints(run).clear()
    for name in OF_THE_RUN:
        shutil.rmtree(run / name, ignore_errors=True)


def _start(
    rank: int, words: list[str], settings: dict[str, str], run: Path, files: ExitStack, say: bool
) -> "subprocess.Popen[bytes]":
    """One rank; all but the first write to a log of their own. A group of its own keeps the terminal's Ctrl-C away."""
    environment = {**os.environ, **settings, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    (run / "logs").mkdir(parents=True, exist_ok=True)
    errors = None if rank == 0 else files.enter_context(_log(run, rank).open("w"))
    output = subprocess.DEVNULL if rank == 0 and not say else errors
    command = [sys.executable, "-m", "omni.cli", *words]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=errors, start_new_session=True)


def _log(run: Path, rank: int) -> Path:
    return run / "logs" / f"rank-{rank}.log"


def _finish(ranks: "list[subprocess.Popen[bytes]]", run: Path) -> int:
    """Wait for all ranks and return the first bad exit code, or 0. A signal is passed on to all.

    When one fails, the others get some seconds to notice, then they are asked for their stacks and killed.
    """
    with _received() as received:
        deadline, told = float("inf"), False
        while any(rank.poll() is None for rank in ranks):
            codes = [rank.poll() for rank in ranks]
            if received and not told:
                told, deadline = True, time.monotonic() + GRACE
                _signal(ranks, signal.SIGTERM)
            if any(codes) and deadline == float("inf"):
                deadline = time.monotonic() + NOTICE
            if time.monotonic() > deadline or len(received) > 1:
                _end(ranks)
            time.sleep(0.05)
    for number, rank in enumerate(ranks):
        if rank.returncode and not received:
            print(f"omni: rank {number} failed{f'; see {_log(run, number)}' if number else ''}", file=sys.stderr)
    if signal.SIGINT in received:
        raise KeyboardInterrupt
    code = next((rank.returncode for rank in ranks if rank.returncode), 0)
    return code if code >= 0 else 128 - code


def _end(ranks: "list[subprocess.Popen[bytes]]") -> None:
    """Stacks of what still runs into its log, a stopped process included; then the end."""
    _signal(ranks, signal.SIGCONT)
    _signal(ranks, signal.SIGUSR1)
    time.sleep(1)
    _signal(ranks, signal.SIGKILL)


@contextmanager
def _received() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them."""
    numbers: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        numbers.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield numbers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal(ranks: "list[subprocess.Popen[bytes]]", number: int) -> None:
    for rank in ranks:
        if rank.poll() is None:
            rank.send_signal(number)
