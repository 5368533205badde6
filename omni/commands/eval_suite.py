"""`omni eval suite`: all tasks on one model, as figures, as logs that Inspect opens, and as a page to hear and see."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni.errors import InputError
from omni.shipped import NAME, named_model

if TYPE_CHECKING:
    from collections.abc import Container

    from inspect_ai.model import Model

    from omni.eval.suite.outcome import Outcome

SUITES = ("capability", "safety", "preparedness", "live", "garak")
EPILOG = """examples:
  omni eval suite capability
  omni eval suite safety --limit 20 --out runs/safety
  omni eval suite live --data runs/voiced --limit 20
  omni eval suite capability --data runs/voiced --model served/omni-tiny --base-url URL
  inspect view --log-dir runs/capability/logs
An interrupted suite goes on where it stopped; docs/evaluation.md lists the tasks."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.description = "Inspect tasks on held-out items: every sample is scored, or is counted as an error."
    parser.epilog = EPILOG
    parser.add_argument("suite", choices=SUITES, help="what is measured")
    parser.add_argument(
        "--data", type=Path,
        help="folder of `omni data voice` or `omni data prepare`, or a JSONL of your own (default: $OMNI_DATA, or where"
        " those commands write; safety asks what its policy has, with what that asks about)",
    )  # fmt: skip
    add_model(parser)
    parser.add_argument("--limit", type=int, default=70, help="most samples a task; jailbreaks, five of each"
                        " disguise at least (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of samples and answers (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, metavar="N",
        help="requests on their way at a time, such as an endpoint has places for (default: Inspect's choice)",
    )  # fmt: skip
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help="only these of the suite")
    parser.add_argument("--out", type=Path, help="for logs, figures and the page (default: runs/SUITE)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Flags that name a model of ours, or one behind an endpoint."""
    parser.add_argument(
        "--model", default=NAME,
        help=f"{NAME}, a model folder, or PROVIDER/MODEL as Inspect names it; served/MODEL is an endpoint's",
    )  # fmt: skip
    parser.add_argument("--base-url", help="of an endpoint with OpenAI's chat completions")


def run(args: argparse.Namespace) -> None:
    """Run the suite and say where its results are. Raises InputError where not one sample could be scored."""
    from omni.eval.suite.gaps import add_gaps
    from omni.eval.suite.outcome import report
    from omni.eval.suite.page import write_page
    from omni.eval.suite.run import Plan, run_suite
    from omni.files import write_json
    from omni.safety.registry import asked_of, sources, suite

    if args.limit < 1:
        raise InputError(f"--limit: must be 1 or more, got {args.limit}")
    if args.jobs is not None and (args.jobs < 1 or args.suite == "live"):
        raise InputError(f"--jobs: must be 1 or more, got {args.jobs}" if args.jobs < 1 else
                         "--jobs: live conversations are held one by one; leave it out")  # fmt: skip
    out: Path = args.out or Path("runs") / args.suite
    makers, data = suite(args.suite, args.tasks), asked_of(args.suite, args.data)
    model, identity = opened(args.model, args.base_url)
    plan = Plan(model, data, args.limit, args.seed, identity, sources(args.suite), args.jobs)
    outcomes = run_suite(makers, plan, out)
    key, found = plan.key(), {one.task: one for one in outcomes}
    found |= {one.task: one for one in _earlier(out, args.suite, key, found)}
    add_gaps([*found.values()])
    figures = report(f"eval suite {args.suite}", outcomes)
    about = [("model", args.model), ("data", str(data or "what the tasks bring")),
             ("samples a task, at most", str(args.limit)), ("seed", str(args.seed))]  # fmt: skip
    whole = [found[maker.__name__] for maker in suite(args.suite) if maker.__name__ in found]
    write_json(out / "suite.json", {
        "suite": args.suite, "model": args.model, "command": _command(args, data), "key": key,
        "data": None if data is None else str(data.resolve()), "tasks": [one.as_dict() for one in whole],
    })  # fmt: skip
    write_page(out / "report.html", f"{args.suite} of {args.model}", about, whole)
    print(figures.table())
    for one in outcomes:
        if one.note:
            print(f"partial, {one.task}: {one.note}")
    print(f"page: {out / 'report.html'}\nfigures: {out / 'suite.json'}\nlogs: {out / 'logs'}")
    if args.json:
        print(figures.json())
    if any(one.given for one in outcomes) and not any(one.scored for one in outcomes):
        raise InputError(f"not one sample of {args.suite} was scored; the notes above say why")


def _earlier(out: Path, suite: str, key: dict[str, Any], now: "Container[str]") -> "list[Outcome]":
    """What earlier runs into this folder found under the same key: `--tasks` adds to a suite and takes nothing away.

    now: tasks that this run asked
    """
    from inspect_ai.log import read_eval_log

    from omni.eval.suite.outcome import Outcome, outcome, read_suite

    if not (out / "suite.json").is_file():
        return []
    about = read_suite(out)
    if about["suite"] != suite or about["key"] != key:
        return []
    paths = {task["task"]: out / "logs" / task["log"] if task["log"] else None
             for task in about["tasks"] if task["task"] not in now}  # fmt: skip
    notes = {task["task"]: task["note"] for task in about["tasks"]}
    return [
        Outcome(name, note=notes[name]) if path is None
        else outcome(name, read_eval_log(str(path), resolve_attachments=True))
        for name, path in paths.items() if path is None or path.is_file()
    ]  # fmt: skip


def _command(args: argparse.Namespace, data: Path | None) -> str:
    """What gives the same figures again; which of the tasks, and where to, is for whoever does it to say."""
    words = ["omni", "eval", "suite", args.suite, "--model", args.model]
    words += [] if data is None else ["--data", str(data)]
    words += [] if args.base_url is None else ["--base-url", args.base_url]
    return shlex.join([*words, "--limit", str(args.limit), "--seed", str(args.seed)])


def opened(name: str, base_url: str | None) -> "tuple[Model, str]":
    """The model, and what its answers depend on. Raises InputError when there is none of this name."""
    from inspect_ai._util.error import PrerequisiteError
    from inspect_ai.model import get_model
    from rich.text import Text

    from omni.eval.inspected.provider import OmniModel
    from omni.files import sha256

    ours = _ours(name)
    if ours is None:
        try:
            return get_model(name, base_url=base_url), f"{name} {base_url}"
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"--model {name}: neither a model folder nor one that Inspect knows ({error})") from None
        except (PrerequisiteError, OSError) as error:                   # a key, a package or weights are not there
            told = Text.from_markup(str(error.message)).plain if isinstance(error, PrerequisiteError) else str(error)
            raise InputError(f"--model {name}: {' '.join(told.removeprefix('ERROR: ').split())}") from None
    model = get_model(f"omni/{ours}")
    assert isinstance(model.api, OmniModel)
    weights = sha256(named_model(ours) / "checksums.json")
    return model, f"{weights} {model.api.pipeline.tokenizers.fingerprint}"


def _ours(name: str) -> str | None:
    """A model of ours, with or without the provider that Inspect names it by; None for one of another provider's."""
    provider, _, rest = name.partition("/")
    if provider == "omni" and rest and not (Path(name) / "checksums.json").is_file():
        return rest
    return name if name == NAME or not rest or provider in (".", "..", "") or Path(name).exists() else None
