"""Measured figures as every command reports them with --json (docs: DESIGN section 6)."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_MADE: ContextVar[dict[str, Any]] = ContextVar("made", default={})      # noqa: B039, never changed


@contextmanager
def made(**how: Any) -> Iterator[None]:
    """Reports of the block say how they were made, such as by which `argv`."""
    token = _MADE.set({**_MADE.get(), **how})
    try:
        yield
    finally:
        _MADE.reset(token)


@dataclass(frozen=True)
class Figure:
    """One measured number: its unit, its interval (`low`, `high`) and how many observations stand behind it."""

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass
class Report:
    """The figures of one run of one command, and the claims that a study has judged."""

    command: str
    figures: dict[str, Figure] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, value: float | None, unit: str, **interval: Any) -> None:
        self.figures[name] = Figure(value, unit, **interval)

    def table(self) -> str:
        """The figures as aligned lines for a terminal."""
        width = max((len(name) for name in self.figures), default=0)
        rows = []
        for name, figure in self.figures.items():
            value = "not measured" if figure.value is None else f"{figure.value:.4g}"
            span = "" if figure.low is None else f"  [{figure.low:.4g}, {figure.high:.4g}]"
            count = "" if figure.n is None else f"  n={figure.n}"
            rows.append(f"{name:<{width}}  {value} {figure.unit}{span}{count}")
        return "\n".join(rows)

    def json(self) -> str:
        """One line: {"command", "figures", "machine"}, "claims" where there are any, and how it was `made`."""
        figures = {name: asdict(figure) for name, figure in self.figures.items()}
        claims = {"claims": self.claims} if self.claims else {}
        return json.dumps({"command": self.command, "figures": figures, **claims, "machine": machine(), **_MADE.get()})


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    python = platform.python_version()
    return {"system": platform.system(), "cpu": _cpu_name(), "cores": os.cpu_count(), "python": python}


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
