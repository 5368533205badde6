"""The progress bar that every long command shows: count, rate and time left, on stderr."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T] | None, label: str, total: int | None = None, unit: str = "item") -> "tqdm[T]":
    """Iterate over `items` behind a bar; with `items=None` the caller moves the bar with `.update(n)`.

    Outside a terminal the bar is refreshed every ten seconds, so that a log stays readable.
    """
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(
        items, desc=label, total=total, unit=unit, mininterval=interval, maxinterval=interval, dynamic_ncols=True
    )
