"""What a section of a card is made of, for every rendering."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from omni.eval.abilities.scoring import Measure
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


def source(one: Number) -> Cell:
    """Its log, as a cell."""
    return Link("log", one.source) if one.source else "computed"


def figure_table(numbers: Mapping[str, Number]) -> Table:
    """A row a figure, with its log and the command that gives it again."""
    return Table(FIGURES, [_row(name, one) for name, one in numbers.items()])


def by_group(card: Card, by: str, head: str, keep: Callable[[str], bool] = bool, names: Mapping[str, str] | None = None
             ) -> Table:  # fmt: skip
    """A row a group and a column a figure, whose logs are the last row. keep: which figures; names: of the groups."""
    found = {name: measures for name, measures in card.groups.get(by, {}).items() if keep(name)}
    groups = list(dict.fromkeys(who for measures in found.values() for who in measures))
    order = [one for one in names or () if one in groups] + sorted(one for one in groups if one not in (names or ()))
    rows: list[tuple[Cell, ...]] = [
        ((names or {}).get(who, who), *(shown(measures.get(who)) for measures in found.values())) for who in order
    ]
    if rows:
        logs = (source(card.numbers[name]) if name in card.numbers else "" for name in found)
        rows.append(("log", *logs))
    return Table((head, *found), rows)


def shown(one: Measure | None, sign: str = "") -> str:
    """With its interval and how much is behind it; nothing where there is none."""
    if one is None:
        return ""
    ends = f"[{one.low:{sign}.2f}, {one.high:{sign}.2f}]" if has_interval(one) else "(no interval)"
    return f"{one.value:{sign}.2f} {ends}, n={one.n}"


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
