"""`omni study NAME`: a paper's result measured again here, with a verdict for every claim."""

import argparse
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from omni.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omni.train.studies.harness.conduct import Conducted
    from omni.train.studies.harness.study import Study

EPILOG = """examples:
  omni study --list
  omni study multilingual-scaling --quick
  omni study all --json
  omni study ablations --shards runs/tiny/shards --axes layout size --seeds 3
  omni study rates --data runs/voiced
A study writes its protocol down before it runs, keeps every result as soon as it is measured and goes on where it was
interrupted. Where it trains on real text, --data is a folder of `omni data prepare --only catalogues stamps`; rates
takes one of `omni data voice`; ablations takes token shards, and makes them of --data, in many minutes, where it is run
by name without --shards."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Which study, how large, and where it goes."""
    parser.description = "Measure the claims of a paper at the size of this machine, with seeds and intervals."
    parser.epilog = EPILOG
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of `omni study --list`, or all")
    parser.add_argument("--list", action="store_true", help="name the studies that there are")
    parser.add_argument("--quick", action="store_true", help="a small version, in minutes: fewer seeds, shorter runs")
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="prepared folder (default: %(default)s)")
    parser.add_argument("--shards", type=Path, metavar="DIR", help="for ablations: folder of `omni data tokenize`")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/studies/NAME, NAME-quick for --quick")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="processes (default: one a core)")
    parser.add_argument("--axes", nargs="+", default=[], metavar="AXIS",
                        help="choices to repeat with --seeds; name all that should count")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="of --axes (default: %(default)s)")
    parser.add_argument("--keep-cells", action="store_true",
                        help="go on with results of other code, after an edit that does not change them")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print figures and claims as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Run the study or all of them; print the table of claims and where the page is."""
    from omni.train.studies.table import STUDIES

    if args.list:
        width = max(map(len, STUDIES), default=0)
        print("\n".join(f"{name:<{width}}  {what}" for name, (_, what) in STUDIES.items()))
        return
    if args.name is None:
        raise InputError("study: name a study, or all; `omni study --list` shows them")
    if args.jobs < 0:
        raise InputError(f"--jobs {args.jobs}: must be 0 (one a core) or a number of processes")
    if args.seeds < 1:
        raise InputError(f"--seeds {args.seeds}: must be at least 1")
    out: Path = args.out or Path("runs/studies") / (args.name + ("-quick" if args.quick else ""))
    if args.name == "all":
        _all(list(STUDIES), args, out)
    else:
        _tell(args, [_conduct(args.name, args, out)], out)


def _all(names: list[str], args: argparse.Namespace, out: Path) -> None:
    """Every study, and one table of those that ran, whatever happens to others.

    Raises InputError that names those others, each cause once. What needs shards or voices and has none is only named.
    """
    from omni.train.studies.table import load_study

    conducted: list[Conducted] = []
    refused: dict[str, list[str]] = {}                                  # cause: the studies that it kept from running
    left_out: list[str] = []                                            # lines that say which and why
    for name in names:
        try:
            if lacks := _lacks(load_study(name), args):
                left_out.append(f"left out: {name}; {lacks}, or run `omni study {name}`")
                continue
            conducted.append(_conduct(name, args, out))
        except InputError as error:
            refused.setdefault(str(error), []).append(name)
        except Exception as error:                                      # hours of the others are at stake
            traceback.print_exc()
            refused.setdefault(f"failed with {type(error).__name__} ({error}), see above", []).append(name)
    if conducted:
        _tell(args, conducted, out, left_out)
    else:
        print("\n".join(left_out))
    if refused:
        raise InputError("; ".join(f"{', '.join(kept)}: {cause}" for cause, kept in refused.items()))


def _lacks(study: "Study", args: argparse.Namespace) -> str:
    """What is to be named for a study that others' data do not do for; '' where there is nothing."""
    from omni.train.data.items import Manifest
    from omni.train.data.voicing import is_voiced

    if study.shards and args.shards is None:
        return "name its token shards with --shards"
    if study.voiced and not is_voiced(args.data):
        return "name a folder of `omni data voice` with --data"
    if study.sources and not {*study.sources} <= {item.source for item in Manifest.load(args.data).items}:
        return f"prepare {', '.join(study.sources)} too"
    return ""


def _conduct(name: str, args: argparse.Namespace, out: Path) -> "Conducted":
    from omni.train.studies.harness.conduct import conduct
    from omni.train.studies.harness.page import write_page
    from omni.train.studies.table import load_study

    study, folder = load_study(name), out / name if args.name == "all" else out
    if args.shards is not None and not study.shards and args.name != "all":
        raise InputError(f"--shards: study {name} takes none; leave it out")
    data = _shards(args.shards) if args.shards is not None and study.shards else args.data
    done = conduct(name, study, folder, data, args.quick, args.jobs, args.axes, args.seeds, args.keep_cells)
    write_page([done], folder / "study.html")
    return done


def _shards(folder: Path) -> Path:
    from omni.train.tasks.build import CHOICE

    if not (folder / CHOICE).is_file():
        raise InputError(f"--shards {folder}: no token shards there; make them with `omni data tokenize`")
    return folder


def _tell(args: argparse.Namespace, conducted: "list[Conducted]", out: Path, notes: "Sequence[str]" = ()) -> None:
    from dataclasses import asdict

    from omni.figures import Report
    from omni.train.studies.harness.conduct import time_spent, whole
    from omni.train.studies.harness.page import write_page

    report, totals = Report(f"study {args.name}"), dict[str, tuple[int, int]]()
    for done in conducted:
        print(f"{done.name}: {done.study.title}")
        for claim in done.claims:
            claimed, statistic, value, interval, seeds, verdict = claim.row()
            print(f"  {verdict:<12}  {claimed}: {statistic} {value} {interval}, {seeds} seeds")
            report.claims.append({"study": done.name, **asdict(claim)})
        for what, (count, among) in done.counts.items():
            print(f"  {what}: {count:,} of {among:,}")
            before, those = totals.get(what, (0, 0))
            totals[what] = before + count, those + among
    for word in ("shown", "not shown", "inconclusive"):
        count = sum(claim["verdict"] == word for claim in report.claims)
        report.add(word.replace(" ", "_"), count, "claims", n=len(report.claims))
    for what, (count, among) in totals.items():
        report.add(what.replace(" ", "_"), count, "", n=among)
    core, wall = whole(done.processor for done in conducted), sum(done.seconds for done in conducted)
    report.add("core_seconds", core, "s")
    report.add("wall_seconds", wall, "s")
    print(time_spent(sum(len(done.results) for done in conducted), core, wall))
    if args.name == "all":
        write_page(conducted, out / "study.html")
    print("\n".join([*notes, f"page: {out / 'study.html'}"]))
    if args.json:
        print(report.json())
