"""All tasks of a suite, one after the other; finished logs are kept, interrupted ones are gone on with."""

import builtins
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inspect_ai
from inspect_ai import Task
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog, EvalLogInfo, EvalSample, list_eval_logs, read_eval_log
from inspect_ai.model import Model

from omni.errors import InputError
from omni.eval.answering import ANSWERS, ROOT
from omni.eval.inspected.kept import KeptModel
from omni.eval.inspected.served import ServedModel
from omni.eval.local import SUFFIXES, beside
from omni.eval.suite.outcome import Outcome, outcome
from omni.files import code, sha256
from omni.progress import progress

Maker = Callable[..., Task]                                             # a task by its data, n and seed
RETRIES = 3                                                             # of a request; Inspect's default is no end
KEY = "omni"                                                            # in a log's metadata
LASTING = (LookupError, TypeError, ValueError, AttributeError, NameError, ArithmeticError, AssertionError)
EVALUATION = (
    "eval/inspected", "eval/tasks", "eval/suite", "eval/aloud", "eval/live", "eval/abilities/scoring.py",
    "eval/abilities/subject.py", "eval/local.py", "eval/statistics.py",
)  # fmt: skip
QUESTIONS = ("train/data", "train/tasks")
ASKING = ("eval/inspected", "eval/abilities/subject.py")


@dataclass(frozen=True)
class Plan:
    """What a suite is run on.

    data: None for tasks that bring what they ask
    identity: what the answers depend on, such as the weights; sources: files and folders of the suite's own code
    jobs: requests that are on their way at a time; None for as many as Inspect thinks fit
    """

    model: Model
    data: Path | None
    limit: int
    seed: int
    identity: str
    sources: tuple[Path, ...] = ()
    jobs: int | None = None

    @property
    def retries(self) -> int | None:
        """Of a request, by Inspect; an endpoint's provider does it itself, and says what failed."""
        return None if isinstance(self.model.api, ServedModel) else RETRIES

    def key(self) -> dict[str, Any]:
        """What has to be equal for a log to be taken over, our code included."""
        return {
            "model": self.identity, "data": _data_identity(self.data), "limit": self.limit, "seed": self.seed,
            "code": code_of(self.sources),
        }  # fmt: skip


def run_suite(makers: Sequence[Maker], plan: Plan, out: Path) -> list[Outcome]:
    """Every task's outcome; logs go to `out`/logs. A task that the data have nothing for is left out, and says why.

    What our providers answer is kept in `out`/answers: what is asked again, as by other scorers, is not answered again.
    """
    api = plan.model.api
    with api.keeping(out / "answers", _answering(plan)) if isinstance(api, KeptModel) else nullcontext():
        return _outcomes(makers, plan, out / "logs")


def _outcomes(makers: Sequence[Maker], plan: Plan, logs: Path) -> list[Outcome]:
    key, outcomes = plan.key(), []
    for maker in (bar := progress(list(makers), "evaluating", unit="task")):
        name = maker.__name__
        bar.set_postfix_str(name)
        try:
            log = _finished(name, plan, key, logs) or _run(maker, plan, key, logs)
        except (InputError, PrerequisiteError) as error:              # of the data, or of a task of the user's own
            outcomes.append(Outcome(name, note=str(error)))
            continue
        outcomes.append(outcome(name, log))
    return outcomes


def logs_of(folder: Path) -> dict[str, EvalLog]:
    """The newest log of each task below a folder, without its samples."""
    return {log.eval.task.removeprefix("omni/"): log for log in _headers(folder)}


def _headers(folder: Path) -> Iterator[EvalLog]:
    """All logs below a folder, the oldest first, without their samples."""
    for info in sorted(list_eval_logs(str(folder)), key=_begun) if folder.is_dir() else []:
        yield read_eval_log(info, header_only=True)


def _begun(info: EvalLogInfo) -> tuple[str, float]:
    """A log's name says when it began, in whole seconds; of two in one second the one written first is older."""
    return Path(info.name).name.partition("_")[0], info.mtime or 0.0


def _finished(name: str, plan: Plan, key: dict[str, Any], logs: Path) -> EvalLog | None:
    """The log of this task under the same key, gone on with where it was interrupted; None where there is none.

    Of several it is the one with the most: what goes on with a log has nothing at first, and may be killed then.
    """
    headers = [log for log in _headers(logs) if log.eval.task.removeprefix("omni/") == name]
    found = [log for log in headers if (log.eval.metadata or {}).get(KEY) == key]
    if not found:
        return None
    whole = [read_eval_log(log.location, resolve_attachments=True) for log in found]
    done = [sum(not _passing(sample) for sample in log.samples or []) for log in whole]
    most = max(range(len(found)), key=lambda at: (done[at], at))
    if whole[most].status == "success" and done[most] == len(whole[most].samples or []):
        return whole[most]
    path = found[most].location                                         # a log without its samples would begin anew
    return _whole(lambda: inspect_ai.eval_retry(
        path, log_dir=str(logs), display="none", fail_on_error=False, max_retries=plan.retries, log_realtime=False,
        max_connections=plan.jobs,
    ))  # fmt: skip


def _passing(sample: EvalSample) -> bool:
    """Whether a sample failed for a reason that may have passed, such as an endpoint that was down.

    What was wrong with the sample, or is with our code, is wrong the next time as well; other code starts anew anyway.
    """
    if sample.error is None:
        return False
    name = sample.error.message.partition("(")[0]
    kind = getattr(builtins, name, None)
    return name != InputError.__name__ and not (isinstance(kind, type) and issubclass(kind, LASTING))


def _run(maker: Maker, plan: Plan, key: dict[str, Any], logs: Path) -> EvalLog:
    task = maker(data=None if plan.data is None else str(plan.data), n=plan.limit, seed=plan.seed)
    return _whole(lambda: inspect_ai.eval(
        task, model=plan.model, log_dir=str(logs), display="none", metadata={KEY: key}, seed=plan.seed,
        max_retries=plan.retries, fail_on_error=False, log_realtime=False, max_connections=plan.jobs,
    ))  # fmt: skip


def _whole(run: Callable[[], list[EvalLog]]) -> EvalLog:
    """The log of one task. Raises KeyboardInterrupt where Inspect took an interrupt for itself."""
    try:
        log = run()[0]
    except IndexError:                                                  # a run that is interrupted may have no log
        raise KeyboardInterrupt from None
    if log.status == "cancelled":
        raise KeyboardInterrupt
    return read_eval_log(log.location, resolve_attachments=True)


def _data_identity(data: Path | None) -> str | None:
    if data is None:
        return None                                                     # what a task brings is part of its code
    path = data / "manifest.json" if data.is_dir() else data
    if not path.is_file():
        raise InputError(f"{data}: no prepared data there; run `omni data prepare` or name another folder")
    if path == data and path.suffix not in SUFFIXES:
        raise InputError(f"{data}: a file of your own ends in {' or '.join(SUFFIXES)}")
    files = sorted(beside(path)) if path.suffix in SUFFIXES else []     # by size and time: a large set is not read
    seen = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((sha256(path), seen)).encode()).hexdigest() if seen else sha256(path)


def code_of(sources: Sequence[Path] = ()) -> str:
    """The code that figures depend on, and that of a suite that lies elsewhere: those of another version are stale.

    The evaluation's own, what makes questions of items, and what makes answers.
    """
    return code([*(ROOT / part for part in (*EVALUATION, *QUESTIONS)), *ANSWERS, *sources])


def _answering(plan: Plan) -> str:
    """The model, and the code by which it answers."""
    return f"{plan.identity} {code([*ANSWERS, *(ROOT / part for part in ASKING)])}"
