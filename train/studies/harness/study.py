"""A study: a protocol that is fixed before anything runs, cells that are measured, claims that are judged."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni.train.studies.harness.claims import Claim


@dataclass(frozen=True)
class Cell:
    """One independent piece of a study: what is set in it (anything that JSON holds), and its seed."""

    params: Mapping[str, Any]
    seed: int = 0

    @property
    def key(self) -> str:
        """Names the cell's file: the same for the same parameters and seed."""
        text = json.dumps({"params": dict(self.params), "seed": self.seed}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Result:
    """What a cell measured, the wall seconds that it took, and the processor's, which older cells did not note."""

    params: Mapping[str, Any]
    seed: int
    values: Mapping[str, Any]
    seconds: float
    processor: float | None = None


Results = Sequence[Result]
Table = Sequence[Sequence[str]]                                         # the first row is the head


@dataclass(frozen=True)
class Study:
    """Everything that is particular to one study.

    paper:    authors and year
    protocol: what is trained and measured, the grids and seeds, and which statistic decides which claim, in Markdown.
              It is written down before the first cell runs and kept by its hash: a changed protocol is another study.
    cells:    quick -> the cells, the long ones first
    run:      (params, seed, shared) -> values, at the top of a module so that another process finds it. It takes one
              thread and gives the same values for the same arguments; values are anything that JSON holds.
    judge:    results of all cells, in their order -> claims
    plot:     (results, folder) writes PNG files there -> {title: file}
    prepare:  (folder of `omni data prepare`, shared, quick) writes what cells share into the empty folder `shared`,
              once; None for a study that needs no data
    repeats:  (quick, axes, seeds) -> further cells, with seeds 1.. for what `--axes` names; None where nothing is named
    tables:   results -> {title: table}, where claims alone do not say it
    counts:   results -> {what: (how many, of how many)} of what went amiss without ending the study
    sources:  what `prepare` needs of a prepared folder beside the catalogues and stamps
    voiced:   whether `prepare` takes a folder of `omni data voice` alone
    shards:   whether `prepare` takes a folder of `omni data tokenize`, which it makes of a prepared one, at length
    """

    title: str
    paper: str
    protocol: str
    cells: Callable[[bool], Sequence[Cell]]
    run: Callable[[Mapping[str, Any], int, Path], Mapping[str, Any]]
    judge: Callable[[Results], list[Claim]]
    plot: Callable[[Results, Path], Mapping[str, Path]]
    prepare: Callable[[Path, Path, bool], None] | None = None
    repeats: Callable[[bool, Sequence[str], int], Sequence[Cell]] | None = None
    tables: Callable[[Results], Mapping[str, Table]] | None = None
    counts: Callable[[Results], Mapping[str, tuple[int, int]]] | None = None
    sources: tuple[str, ...] = ()
    voiced: bool = False
    shards: bool = False
