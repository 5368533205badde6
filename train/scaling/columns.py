"""The columns that a law reads, and what is wrong with them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from omni.errors import InputError
from omni.train.scaling.fraction import Vector
from omni.train.scaling.laws import LAWS, Columns, weights_of

FLAT = 1e-12                                                            # slope of losses that do not change


def columns_of(points: Mapping[str, Any], name: str, mend: str) -> dict[str, Vector]:
    """The columns that a law needs, of one length. Raises InputError for what cannot be used.

    mend: what to do about one that is missing
    """
    if not hasattr(points, "keys"):                                     # which frames have, that are no Mapping
        raise InputError(f"points: {type(points).__name__}; must be a data frame or a mapping of columns")
    law = LAWS[name]
    if why := missing(points, name):
        raise InputError(f"{why}; {mend}")
    found = {column: numbers(points, column) for column in law.columns}
    lengths = {column: len(values) for column, values in found.items()}
    if "loss" in points:
        lengths["loss"] = len(numbers(points, "loss"))
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{column} {length}" for column, length in lengths.items())
        raise InputError(f"columns must be equally long; rows: {said}")
    if "weight" in found:
        if (found["weight"] > 1).any():
            raise InputError("weight: must lie in 0 < p <= 1; give shares of the mixture, not per cent")
        found["weight"] = np.array([float(f"{weight:g}") for weight in found["weight"]])  # as parameters name it
    return found


def missing(points: Mapping[str, Any], name: str) -> str | None:
    """Which column of a law there is not; None where there are all."""
    lacking = [column for column in LAWS[name].columns if column not in points]
    there = ", ".join(map(str, points)) or "none"
    return f"law {name} needs the column {' and '.join(lacking)}; there are {there}" if lacking else None


def numbers(points: Mapping[str, Any], name: str) -> Vector:
    """One column, positive and finite. Raises InputError where it is not."""
    if name not in points:
        raise InputError(f"column {name}: missing; there are {', '.join(map(str, points)) or 'none'}")
    try:
        values = np.atleast_1d(np.asarray(points[name], np.float64))
    except (TypeError, ValueError):
        raise InputError(f"column {name}: holds something that is no number") from None
    if values.ndim > 1:
        raise InputError(f"column {name}: of shape {values.shape}; must be one row of numbers, [points]")
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        said = f"column {name}: row {bad[0] + 1} is {values[bad[0]]:g}; must be positive and finite"
        raise InputError(f"{said}; mend it, or leave that row out")
    return values


def check_enough(name: str, given: Columns, parameters: int) -> None:
    """Raises InputError where repeats, which say nothing of a law's shape, leave too few different points."""
    law = LAWS[name]
    for weight in weights_of(given) if law.apart else (None,):
        here = slice(None) if weight is None else given["weight"] == weight
        for column, least in law.columns.items():
            if (there := len(np.unique(given[column][here]))) < least:
                where = "" if weight is None else f" at weight {weight:g}"
                raise InputError(
                    f"law {name}: {there} different values of {column}{where}, and it takes {least}; measure more,"
                    " repeats of a run add none"
                )
    points = len(np.unique(np.stack(list(given.values())), axis=1).T)
    if points < parameters:
        raise InputError(f"law {name}: {points} different points for {parameters} parameters; measure more runs")


def doubts(name: str, given: Columns, loss: Vector) -> list[str]:
    """What is odd about points that can be fitted: losses that rise with what should lower them."""
    inputs = [column for column in LAWS[name].columns if column != "weight"]
    groups = given.get("weight", np.ones(len(loss)))
    apart = np.stack([groups == weight for weight in np.unique(groups)], 1).astype(float)
    logs = np.stack([np.log(given[column]) for column in inputs], 1)
    slopes = np.linalg.lstsq(np.hstack([logs, apart]), np.log(loss), rcond=None)[0]
    return [
        f"the losses do not fall with {column}, as the law {name} has it, so it says nothing of other values of"
        f" {column}; check the column"
        for column, slope in zip(inputs, slopes, strict=False) if slope > -FLAT
    ]  # fmt: skip
