"""Running a study: each cell once, in processes of one thread, its result kept as soon as it is there."""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.files import atomic_path, read_json, write_json, write_text
from omni.progress import progress
from omni.train.data.engines import one_thread, processes
from omni.train.studies.harness.claims import COLUMNS, Claim
from omni.train.studies.harness.code import code_of
from omni.train.studies.harness.study import Cell, Result, Study, Table

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Conducted:
    """A study that has run: its folder holds protocol.md, study.json, cells/, claims.json, results.md, plots/ and
    study.html. mixed: modules that changed between its cells; counts: as `Study` has them."""

    name: str
    study: Study
    folder: Path
    results: list[Result]
    claims: list[Claim]
    plots: dict[str, Path]
    tables: dict[str, Table]
    mixed: list[str]
    counts: dict[str, tuple[int, int]]

    @property
    def seconds(self) -> float:
        """Wall seconds of all cells together; more where something else uses the cores."""
        return sum(result.seconds for result in self.results)

    @property
    def processor(self) -> float | None:
        """Seconds of processor time of all cells together; None where one of them did not note its own."""
        return whole(result.processor for result in self.results)

    @property
    def spent(self) -> str:
        """What its cells took, in words."""
        return time_spent(len(self.results), self.processor, self.seconds)


def whole(times: Iterable[float | None]) -> float | None:
    """The sum, which is None where one of them is."""
    known = list(times)
    return None if None in known else sum(one for one in known if one is not None)


def time_spent(cells: int, processor: float | None, wall: float) -> str:
    """What so many cells took, in words: both in seconds, over all of them."""
    clock = f"{wall / 60:.1f} minutes by their clocks"
    if processor is None:
        return f"{cells} cells, {clock}, their processor time was not noted"
    return f"{cells} cells, {processor / 60:.1f} minutes of processor time, {clock}"


def conduct(
    name: str,
    study: Study,
    folder: Path,
    data: Path,
    quick: bool = False,
    jobs: int = 0,
    axes: Sequence[str] = (),
    seeds: int = 1,
    keep: bool = False,
) -> Conducted:
    """Measure the cells that `folder` does not hold yet, then judge and plot. jobs: processes, 0 for one a core.

    axes, seeds: what is to be measured with several seeds, and with how many. keep: go on with cells of other code.
    Raises InputError when the folder holds this study under another protocol, size, data or, without `keep`, code, or
    it has no such axes.
    """
    jobs = jobs or os.cpu_count() or 1
    cells = [*study.cells(quick), *_repeats(name, study, quick, axes, seeds)]
    mixed = _begin(name, study, folder, data, quick, keep)
    missing = [cell for cell in cells if not _path(folder, cell).is_file()]
    with progress(None, name, total=len(cells), unit="cell") as bar:
        bar.update(len(cells) - len(missing))
        for _ in _measure(study, missing, folder, min(jobs, len(missing))):
            bar.update(1)
    results = [_read(folder, cell) for cell in cells]
    claims = study.judge(results)
    (folder / "plots").mkdir(exist_ok=True)
    plots = dict(study.plot(results, folder / "plots"))
    tables = dict(study.tables(results)) if study.tables else {}
    counts = dict(study.counts(results)) if study.counts else {}
    written = {"Claims": [COLUMNS, *(claim.row() for claim in claims)], **tables}
    write_json(folder / "claims.json", [asdict(claim) for claim in claims])
    done = Conducted(name, study, folder, results, claims, plots, tables, mixed, counts)
    parts = [*(f"{title}\n\n{_markdown(table)}" for title, table in written.items()), f"{done.spent}\n"]
    write_text(folder / "results.md", "\n".join(parts))
    return done


def _repeats(name: str, study: Study, quick: bool, axes: Sequence[str], seeds: int) -> Sequence[Cell]:
    if not axes:
        return ()
    if study.repeats is None:
        raise InputError(f"--axes: study {name} has none, its seeds are in its protocol; leave --axes out")
    return study.repeats(quick, axes, seeds)


def _markdown(table: Table) -> str:
    head, *rows = (f"| {' | '.join(row)} |\n" for row in table)
    return "".join((head, "|---" * len(table[0]) + "|\n", *rows))


def _begin(name: str, study: Study, folder: Path, data: Path, quick: bool, keep: bool) -> list[str]:
    """Write the protocol down, or check that the folder was begun under the same one; prepare what cells share.

    Returns the modules that have changed since the folder's first cells.
    """
    protocol = hashlib.sha256(study.protocol.encode()).hexdigest()
    about: dict[str, Any] = {"study": name, "quick": quick, "protocol": protocol, "data": None}
    if study.prepare is not None:
        about["data"] = _fingerprint(data)
    code, mixed = code_of(study.run.__module__), list[str]()
    if (folder / "study.json").is_file():
        kept = read_json(folder / "study.json")
        differing = [key for key in about if not isinstance(kept, dict) or kept.get(key) != about[key]]
        if differing:
            raise InputError(
                f"{folder}: holds results under another {' and '.join(differing)}; name another --out or remove it"
            )
        mixed = sorted({*kept.get("mixed", []), *_changed(folder, kept.get("code"), code, keep)})
    write_text(folder / "protocol.md", study.protocol.strip() + "\n")
    write_json(folder / "study.json", {**about, "code": code, "mixed": mixed})
    if not (folder / "shared").is_dir():
        with atomic_path(folder / "shared") as scratch:
            scratch.mkdir()
            if study.prepare is not None:
                study.prepare(data, scratch, quick)
    return mixed


def _changed(folder: Path, before: dict[str, str] | None, code: dict[str, str], keep: bool) -> list[str]:
    """The modules whose code is not that which made what the folder holds. Raises InputError for any without `keep`."""
    if not (folder / "shared").is_dir():                                # nothing was made yet
        return []
    known = before or {}
    changed = [name for name in sorted({*code, *known}) if known.get(name) != code.get(name)]
    if changed and not keep:
        few = ", ".join(changed[:3]) + (" and others" if len(changed) > 3 else "")
        why = f"{few} changed" if before else "which was not noted"
        raise InputError(
            f"{folder}: holds results of other code ({why}); go on with --keep-cells if the change does not touch them,"
            " or measure anew under another --out"
        )
    return changed


def _fingerprint(data: Path) -> str:
    """Of a folder of `omni data prepare` or, where a study takes that too, of `omni data tokenize`."""
    if (data / "choice.json").is_file():
        summaries = sorted(data.glob("*/*/shard.json"))
        return hashlib.sha256("".join(read_json(path)["fingerprint"] for path in summaries).encode()).hexdigest()
    if not (data / "manifest.json").is_file():
        raise InputError(f"{data}: no prepared data there; run `omni data prepare` or name another folder with --data")
    fingerprint: str = read_json(data / "manifest.json")["fingerprint"]
    return fingerprint


def _path(folder: Path, cell: Cell) -> Path:
    return folder / "cells" / f"{cell.key}.json"


def _read(folder: Path, cell: Cell) -> Result:
    kept = read_json(_path(folder, cell))
    return Result(cell.params, cell.seed, kept["values"], kept["seconds"], kept.get("processor_seconds"))


def _measure(study: Study, cells: Sequence[Cell], folder: Path, jobs: int) -> Iterator[None]:
    """One step a finished cell. A cell that fails stops the study; what is finished stays."""
    if jobs <= 1:
        for cell in cells:
            with one_thread():                                          # as in a process of its own: the same sums
                _one(study, cell, folder)
            yield
        return
    threads = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))                      # read when the children load their libraries
    try:
        with processes(jobs) as pool:
            waiting = [pool.submit(_one, study, cell, folder) for cell in cells]
            for done in as_completed(waiting):
                done.result()
                yield
    finally:
        for name, value in threads.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _one(study: Study, cell: Cell, folder: Path) -> None:
    """Run a cell and write its file."""
    began, worked = time.perf_counter(), time.process_time()
    values = study.run(cell.params, cell.seed, folder / "shared")
    wall, processor = time.perf_counter() - began, time.process_time() - worked
    spent = {"seconds": round(wall, 3), "processor_seconds": round(processor, 3)}
    write_json(_path(folder, cell), {"params": dict(cell.params), "seed": cell.seed, **spent, "values": dict(values)})
