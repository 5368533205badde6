"""What a section of a card is made of, for every rendering."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from omni.safety.card.collect import Number, has_interval


@dataclass(frozen=True)
class Link:
    """A cell that leads to a file beside the card."""

    text: str
    target: str


Cell = str | Link


@dataclass
class Table:
    head: Sequence[str]
    rows: list[tuple[Cell, ...]]


@dataclass
class Section:
    """A heading, what is said under it, its tables and plots."""

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: dict[str, str] = field(default_factory=dict)                 # title to file beside the card


def value(one: Number) -> str:
    """With its interval and how much is behind it."""
    ends = f"[{one.measure.low:.2f}, {one.measure.high:.2f}]" if has_interval(one.measure) else "(no interval)"
    return f"{one.measure.value:.2f} {ends}, n={one.measure.n}"


def source(one: Number) -> Cell:
    """Its log, as a cell."""
    return Link("log", one.source) if one.source else "computed"


def published_table(table: tuple[Sequence[str], list[tuple[str, ...]]]) -> Table:
    """One of `theirs`."""
    head, rows = table
    return Table(head, list(rows))


def lines(table: Table) -> Iterator[tuple[Cell, ...]]:
    """The head and the rows."""
    yield tuple(table.head)
    yield from table.rows
