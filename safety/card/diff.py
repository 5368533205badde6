"""Two cards: which figures changed by more than their intervals allow, and what one has that the other lacks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.files import read_json


@dataclass(frozen=True)
class Change:
    """A figure of two cards; None where one of them lacks it.

    apart: both have a 95 % interval, and these do not touch
    """

    name: str
    before: float | None
    after: float | None
    apart: bool


def diff(first: Path, second: Path) -> list[Change]:
    """Every figure of either card, in the order of the first. Raises InputError where there is no card."""
    ours, theirs = _figures(first), _figures(second)
    found = []
    for name in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(name, {}), theirs.get(name, {})
        apart = _known(one) and _known(other) and (one["high"] < other["low"] or other["high"] < one["low"])
        before, after = (float(side["value"]) if side else None for side in (one, other))
        found.append(Change(name, before, after, apart))
    return found


def _known(one: Mapping[str, Any]) -> bool:
    """Whether its interval is there: of a figure without one nothing is known of chance."""
    return one.get("low") is not None and one.get("high") is not None


def _figures(folder: Path) -> dict[str, dict[str, Any]]:
    about = read_json(folder / "card.json" if folder.is_dir() else folder)
    if not isinstance(about, dict) or "figures" not in about:
        raise InputError(f"{folder}: no card.json of `omni card` there")
    figures: dict[str, dict[str, Any]] = about["figures"]
    return figures
