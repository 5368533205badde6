"""What a section of a card is made of, for every rendering."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from omni.safety.card.collect import Card, Number, has_interval

FIGURES = ("figure", "value", "95 %", "n", "chance", "unit", "log", "made by")


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


def figure_table(numbers: Mapping[str, Number]) -> Table:
    """A row a figure, with its log and the command that gives it again."""
    return Table(FIGURES, [_row(name, one) for name, one in numbers.items()])


def by_group(card: Card, by: str, head: str) -> Table:
    """Every figure of each group by itself."""
    rows: list[tuple[Cell, ...]] = [
        (name, who, f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]", str(one.n),
         source(card.numbers[name]) if name in card.numbers else "")
        for name, measures in card.groups.get(by, {}).items() for who, one in measures.items()
    ]  # fmt: skip
    return Table(("figure", head, "value, 95 %", "n", "log"), rows)


def _row(name: str, one: Number) -> tuple[Cell, ...]:
    measure = one.measure
    chance = "" if measure.chance is None else f"{measure.chance:.3g}"
    ends = f"{measure.low:.3g} to {measure.high:.3g}" if has_interval(measure) else ""
    return (name, f"{measure.value:.3g}", ends, str(measure.n), chance,
            measure.unit, source(one), one.command)  # fmt: skip


def published_table(table: tuple[Sequence[str], list[tuple[str, ...]]]) -> Table:
    """One of `theirs`."""
    head, rows = table
    return Table(head, list(rows))


def lines(table: Table) -> Iterator[tuple[Cell, ...]]:
    """The head and the rows."""
    yield tuple(table.head)
    yield from table.rows
