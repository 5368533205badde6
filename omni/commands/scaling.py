"""`omni scaling fit|predict|plan`: what a loss would be at another size, mixture or amount of data."""

import argparse
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.figures import Report
    from omni.train.scaling import Fit

    Told = tuple[Report, list[str]]                                     # figures, and what is said below them
EPILOG = """examples:
  omni scaling fit runs.csv --law multilingual --out fit.json     columns: size, weight, loss and, if several, task
  omni scaling fit runs/a runs/b runs/c --law multilingual        folders of `omni train`: size and share of each task
  omni scaling fit runs.csv --law multilingual,separate           the first is kept, the others are compared with it
  omni scaling predict fit.json --params 1e9 --mixture fr=0.7 is=0.3
  omni scaling plan fit.json --target fr=1.4 is=2.2               the smallest model, and its mixture
Laws: power (column size), multilingual and separate (size, weight), data (data), encoder-decoder (data, encoder,
decoder). Losses are in nats."""
FLAGS = {"size": "--params", "weight": "--mixture", "data": "--data", "encoder": "--encoder", "decoder": "--decoder"}
NEGATIVE = re.compile(r"-(\.?\d|inf|nan)")                              # a number begins so; argparse knows no -1e9


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the actions."""
    parser.description = "Fit scaling laws to runs, and predict or plan others from them."
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    fitting = actions.add_parser("fit", help="fit a law to a table or to runs, task by task")
    fitting.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="a CSV or JSON file, or run folders")
    fitting.add_argument(
        "--law", default="multilingual", metavar="NAMES",
        help="the law to fit and, behind commas, others to compare with it (default: %(default)s)",
    )  # fmt: skip
    fitting.add_argument("--resamples", type=int, default=200, help="of the bootstrap (default: %(default)s)")
    fitting.add_argument("--out", type=Path, default=Path("fit.json"), metavar="FILE", help="default: %(default)s")
    predicting = actions.add_parser("predict", help="losses at another size and mixture, or amount of data")
    predicting.add_argument("--params", type=float, metavar="N",
                            help="parameters, counted as in the fit: of run folders those of the blocks")  # fmt: skip
    predicting.add_argument("--mixture", nargs="+", default=[], metavar="TASK=P", help="the tasks' shares of the data")
    predicting.add_argument("--data", type=float, metavar="D", help="amount of data, in the unit that was fitted")
    predicting.add_argument("--encoder", type=float, metavar="N", help="parameters of the encoder's layers")
    predicting.add_argument("--decoder", type=float, metavar="N", help="parameters of the decoder's layers")
    planning = actions.add_parser("plan", help="the mixture that reaches given losses")
    planning.add_argument("--target", nargs="+", required=True, metavar="TASK=LOSS", help="what is to be reached")
    planning.add_argument("--params", type=float, metavar="N",
                          help="size of the model, counted as in the fit (default: the least that can)")  # fmt: skip
    for action in (predicting, planning):
        action.add_argument("fit", type=Path, metavar="FIT", help="what `omni scaling fit` wrote")
    for action in (fitting, predicting, planning):
        action._negative_number_matcher = NEGATIVE
        action.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Do one action and print its table."""
    report, said = {"fit": _fit, "predict": _predict, "plan": _plan}[args.action](args)
    print("\n".join((report.table(), *said)))
    if args.json:
        print(report.json())


def _fit(args: argparse.Namespace) -> "Told":
    from dataclasses import asdict

    from omni.figures import Report
    from omni.files import write_json
    from omni.train.scaling import fit
    from omni.train.scaling.laws import LAWS
    from omni.train.scaling.table import read_points

    if args.resamples < 0:
        raise InputError(f"--resamples {args.resamples}: must be 0 or more")
    laws = _laws(args.law)
    needed = {"loss"}.union(*(LAWS[law].columns for law in laws))
    report, notes, saved, tasks = Report("scaling fit"), list[str](), {}, read_points(args.runs, needed)
    for task, points in tasks.items():
        _check_columns(args.runs, f"task {task}: " if len(tasks) > 1 else "", points, laws)
        try:
            found, *others = (fit(points, law, 0 if place else args.resamples) for place, law in enumerate(laws))
        except InputError as error:
            raise InputError(f"task {task}: {error}" if len(tasks) > 1 else str(error)) from None
        saved[task] = asdict(found)
        notes += _notes(task, found)
        _tell(report, task, found)
        if others:
            _compare(report, task, [found, *others])
    write_json(args.out, saved)
    return report, [*notes, f"written: {args.out}"]


def _notes(task: str, fitted: "Fit") -> list[str]:
    """What is to be known of a fit, for those who read figures from it."""
    return [f"note: {task}: {note}" for note in fitted.notes]


def _check_columns(runs: Sequence[Path], task: str, points: "Mapping[str, Sequence[Any]]", laws: Sequence[str]) -> None:
    """Raises InputError for a law whose columns are not there, with those laws whose columns are."""
    from omni.train.scaling.columns import missing
    from omni.train.scaling.laws import LAWS

    where = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} and {len(runs) - 1} more"
    others = " or ".join(f"--law {law}" for law in LAWS if not missing(points, law))
    for law in laws:
        if why := missing(points, law):
            raise InputError(f"{where}: {task}{why}; give it{others and f', or {others}'}")


def _laws(given: str) -> list[str]:
    """Names with commas between. Raises InputError for one that is none."""
    from omni.train.scaling.laws import LAWS

    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in LAWS:
            what = f"there is no law {name!r}" if name else "a name is missing beside a comma"
            raise InputError(f"--law {given}: {what}; use one or more of {', '.join(LAWS)}")
    return list(dict.fromkeys(names))


def _compare(report: "Report", task: str, fits: "Sequence[Fit]") -> None:
    """By how much each law's criterion lies above the least of them, without the correction for few points and with."""
    for name in ("aic", "aicc"):
        known = {fitted.law: getattr(fitted, name) for fitted in fits}
        least = min((value for value in known.values() if value is not None), default=0.0)
        for law, value in known.items():
            gap = None if value is None else value - least
            report.add(f"{task}_delta_{name}@{law}", gap, "1", n=fits[0].n)


def _tell(report: "Report", task: str, found: "Fit") -> None:
    """A fit's parameters and, of the law multilingual, the effective fraction where the weights tell it."""
    from omni.train.scaling.fraction import betas_of

    def add(name: str, value: float, interval: tuple[float, float] | None) -> None:
        low, high = interval or (None, None)
        report.add(f"{task}_{name}", value, "1", low=low, high=high, n=found.n)

    for name, value in found.parameters.items():
        add(name, value, found.intervals.get(name))
    if found.fraction or 1.0 in betas_of(found.parameters):
        for weight, share in found.fractions().items():
            add(f"f@{weight:g}", share, found.interval(partial(_share, weight=weight)))
    for place, value in enumerate(found.fraction or ()):
        add(f"c{place + 1}", value, found.interval(partial(_coefficient, place=place)))
    report.add(f"{task}_rmse", found.rmse, "log-loss", n=found.n)
    report.add(f"{task}_aic", found.aic, "1", n=found.n)
    report.add(f"{task}_aicc", found.aicc, "1", n=found.n)


def _share(fitted: "Fit", weight: float) -> float:
    return fitted.fractions()[weight]


def _coefficient(fitted: "Fit", place: int) -> float:
    return (fitted.fraction or (math.nan,) * 3)[place]


def _loss(fitted: "Fit", columns: "Mapping[str, Sequence[float]]") -> float:
    return float(fitted.predict(columns)[0])


def _predict(args: argparse.Namespace) -> "Told":
    from omni.figures import Report
    from omni.train.scaling.laws import LAWS

    for name in ("params", "data", "encoder", "decoder"):
        _check_positive(f"--{name}", getattr(args, name))
    fits, report, notes = _load(args.fit), Report("scaling predict"), list[str]()
    shares = _pairs(args.mixture, "--mixture", "; leave out a task that has no share")
    _known(shares, fits, "--mixture", args.fit)
    total = sum(shares.values())
    if total > 1 + 1e-6:
        raise InputError(f"--mixture: the shares add up to {total:g}; must be 1 or less, being of one mixture")
    for task, fitted in fits.items():
        if shares and task not in shares:
            continue
        given = {"size": args.params, "weight": shares.get(task), "data": args.data}
        given |= {"encoder": args.encoder, "decoder": args.decoder}
        columns = {name: [value] for name, value in given.items() if value is not None}
        if missing := [FLAGS[name] for name in LAWS[fitted.law].columns if name not in columns]:
            raise InputError(f"{task}: the law {fitted.law} asks for more; say {' and '.join(missing)} as well")
        if unread := [FLAGS[name] for name in columns if name not in LAWS[fitted.law].columns]:
            raise InputError(f"{task}: the law {fitted.law} does not read {' and '.join(unread)}; leave it out")
        notes += _notes(task, fitted)
        try:
            loss = _loss(fitted, columns)
        except InputError as error:
            raise InputError(f"{task}: {error}") from None
        low, high = fitted.interval(partial(_loss, columns=columns)) or (None, None)
        report.add(f"{task}_loss", loss, "nats", low=low, high=high)
    return report, notes


def _plan(args: argparse.Namespace) -> "Told":
    from omni.figures import Report
    from omni.train.scaling import plan, plan_intervals

    _check_positive("--params", args.params)
    fits, targets = _load(args.fit), _pairs(args.target, "--target", ", a loss in nats")
    _known(targets, fits, "--target", args.fit)
    wanted = {task: fits[task] for task in targets}
    made = plan(wanted, targets, args.params)
    doubt = plan_intervals(wanted, targets, made, args.params)
    report = Report("scaling plan")

    def add(name: str, value: float, unit: str, interval: "tuple[float, float] | None") -> None:
        low, high = interval or (None, None)
        report.add(name, value, unit, low=low, high=high)

    add("params", made.size, "parameters", doubt.size if doubt else None)
    for task, weight in made.weights.items():
        add(f"{task}_weight", weight, "1", doubt.weights.get(task) if doubt else None)
        add(f"{task}_loss", made.losses[task], "nats", doubt.losses[task] if doubt else None)
    if doubt:
        report.add("reached", doubt.reached, "of draws", n=min(len(fitted.draws) for fitted in wanted.values()))
    return report, [note for task, fitted in wanted.items() for note in _notes(task, fitted)]


def _load(path: Path) -> "dict[str, Fit]":
    from omni.files import read_json
    from omni.train.scaling import Fit

    try:
        saved = read_json(path)
    except InputError as error:
        raise InputError(f"{error}; FIT is what `omni scaling fit` wrote") from None
    try:
        fits = {task: Fit.of_json(fields) for task, fields in saved.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        fits = {}
    if not fits:
        raise InputError(f"{path}: not what `omni scaling fit` writes; fit it again")
    return fits


def _known(tasks: Iterable[str], fits: "Mapping[str, Fit]", flag: str, path: Path) -> None:
    if unknown := set(tasks) - set(fits):
        raise InputError(f"{flag}: {', '.join(sorted(unknown))} not in {path}, which has {', '.join(fits)}")


def _pairs(words: Sequence[str], flag: str, mend: str) -> dict[str, float]:
    """TASK=NUMBER, several. Raises InputError for other words, numbers not above 0, and a task that is named twice."""
    pairs = dict[str, float]()
    for word in words:
        task, _, number = word.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            task = ""
        if not task:
            raise InputError(f"{flag} {word}: must be TASK=NUMBER, such as fr=0.7")
        if task in pairs:
            raise InputError(f"{flag} {word}: {task} is named twice; give each task one number")
        _check_positive(f"{flag} {task}=", value, mend)
        pairs[task] = value
    return pairs


def _check_positive(flag: str, value: float | None, mend: str = "") -> None:
    if value is not None and not 0 < value < math.inf:
        said = f"{flag}{value:g}" if flag.endswith("=") else f"{flag} {value:g}"
        raise InputError(f"{said}: must be a finite number above 0{mend}")
