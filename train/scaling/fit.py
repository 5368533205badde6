"""Fitting a law: Huber's loss of log-losses, from many starts, with intervals by bootstrap (see `resample`)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np

from omni.errors import InputError
from omni.train.scaling.columns import check_enough, columns_of, doubts, numbers
from omni.train.scaling.fraction import Shape, Vector, fractions
from omni.train.scaling.laws import LAWS, Columns, Law
from omni.train.scaling.resample import HUBER, LEAST, TIE, TINY, WIDE, resample

FINALISTS = 3
MOST = 1e300                                                            # of a parameter that the points leave open
Interval = tuple[float, float]


@dataclass(frozen=True)
class Fit:
    """A fitted law.

    parameters: by name, in the columns' own units
    intervals:  95 %, by bootstrap; empty where it was not asked, and where there are no more points than parameters,
                which leave nothing to tell how far losses scatter
    aic, aicc:  Akaike's criterion, and with the correction for few points (lower is better; of the same losses only);
                None where there are too few for the correction, and in files of an omni that wrote aicc alone
    rmse:       root mean squared error of the log-loss; n: points
    fraction:   c1, c2, c3 of the effective fraction (omni.train.scaling.fraction), where enough weights were measured
    draws:      [resamples] of the bootstrap, each the parameters in their order and then those of `fraction`
    notes:      what is to be known of the fit: why it has no intervals, losses that rise with size
    """

    law: str
    parameters: dict[str, float]
    intervals: dict[str, Interval]
    aicc: float | None
    rmse: float
    n: int
    fraction: Shape | None = None
    draws: tuple[tuple[float, ...], ...] = ()
    aic: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of_json(cls, fields: Mapping[str, Any]) -> "Fit":
        """From what `asdict` gave. Raises ValueError, TypeError or KeyError for anything else, as an edited file."""
        shape, draws, notes = fields["fraction"], fields.get("draws", ()), tuple(map(str, fields.get("notes", ())))
        found = cls(**{**fields, "fraction": shape and tuple(shape), "draws": tuple(map(tuple, draws)), "notes": notes})
        found.check()
        return found

    def check(self) -> None:
        """Raises ValueError where the parameters are not those of the law, as in a file that was edited."""
        weights = sorted({float(name.partition("@")[2]) for name in self.parameters if "@" in name})
        names = LAWS[self.law].names({"weight": np.array(weights)}) if self.law in LAWS else None
        if names != list(self.parameters) or not all(math.isfinite(value) for value in self.parameters.values()):
            raise ValueError(f"law {self.law}: parameters {', '.join(self.parameters)} are not its own")
        width = len(self.parameters) + len(self.fraction or ())
        if any(len(draw) != width or not all(map(math.isfinite, draw)) for draw in self.draws):
            raise ValueError(f"law {self.law}: draws are not of {width} finite numbers each")

    def predict(self, columns: Mapping[str, Any]) -> Vector:
        """Losses where the columns say, [points]. A weight that was not fitted is predicted through the effective
        fraction (Fernandes et al. 2023, section 4); see `omni.train.scaling.fraction`.

        Raises InputError for a missing column and for numbers that are not positive.
        """
        law = LAWS[self.law]
        given = columns_of(columns, self.law, "give it")
        return law.predict(law.chosen(self.parameters, self.fraction, given), given)

    def fractions(self) -> dict[float, float]:
        """{weight: effective fraction} of the law multilingual. Raises InputError where nothing tells them."""
        return fractions(self.parameters, self.fraction)

    @cached_property
    def drawn(self) -> "list[Fit]":
        """The fit of each bootstrap draw."""
        names = list(self.parameters)
        return [
            Fit(self.law, dict(zip(names, draw, strict=False)), {}, None, self.rmse, self.n,
                draw[len(names) :] if self.fraction else None)  # type: ignore[arg-type]
            for draw in self.draws
        ]  # fmt: skip

    def interval(self, figure: "Callable[[Fit], float]") -> Interval | None:
        """95 % of a figure, such as `lambda one: one.predict(columns)[0]`, over the draws; None where there are none.

        It is that of the law, and says nothing of how a single run scatters about it.
        """
        if not self.draws:
            return None
        return middle([figure(one) for one in self.drawn], figure(self))


def fit(points: Mapping[str, Any], law: str = "power", resamples: int = 0, seed: int = 0) -> Fit:
    """Fit a law to losses: Huber's loss of log-losses (Hoffmann et al. 2022, appendix D.3), the best of many starts.

    A ten-thousandth of squared errors is added, so that one is the best, whatever the order of the points.

    points:    a data frame or mapping of equally long columns: `loss` in nats, and what the law needs: `size`,
               `encoder` and `decoder` in parameters, `weight` of the task in the mixture in 0 < p <= 1, of
               which six digits count, `data` in tokens or examples
    law:       "power"            L = beta N^-alpha + L_inf
               "multilingual"     the same with a beta a weight (Fernandes et al. 2023, equation 5)
               "separate"         a power law of its own for each weight (equation 4)
               "data"             L = alpha (1/D + C)^p (Bansal et al. 2022)
               "encoder-decoder"  L = alpha (1/D + b N_e^-p_e N_d^-p_d)^p (the same paper's joint form)
    resamples: of the bootstrap for the intervals; 0 for none. They take more points than parameters.
    Raises InputError for an unknown law, a missing column, fewer different points than parameters, too few different
    values of a column, and values that are not positive and finite.
    """
    _check_asked(law, resamples, seed)
    shape = LAWS[law]
    given, loss = columns_of(points, law, "give it, or fit another law"), numbers(points, "loss")
    names = shape.names(given)
    check_enough(law, given, len(names))
    units = {name: float(np.exp(np.log(given[name]).mean())) for name in shape.columns if name != "weight"}
    scaled = {name: values / units.get(name, 1.0) for name, values in given.items()}
    theta = _best(shape, scaled, loss)
    residuals = np.log(loss) - np.log(shape.predict(theta, scaled))
    fitted = dict(zip(names, _unscaled(shape, theta, units, given), strict=True))
    fraction = shape.curve(fitted, None)
    draws, notes = list[tuple[float, ...]](), doubts(law, given, loss)
    if resamples and len(loss) <= len(names):
        few = f"{len(loss)} points for {len(names)} parameters leave no errors to tell the scatter by"
        notes.append(f"no intervals: {few}; measure more runs")
    elif resamples:
        for logs in resample(shape, scaled, theta, residuals, resamples, seed):
            drawn = _unscaled(shape, np.exp(logs), units, given)
            again = shape.curve(dict(zip(names, drawn, strict=True)), fraction) if fraction else None
            draws.append((*drawn, *(again or ())))
    columns = zip(fitted.items(), zip(*draws, strict=True), strict=False)
    intervals = {name: middle(values, value) for (name, value), values in columns}
    (aic, aicc), rmse = _akaike(residuals, len(names)), float(np.sqrt(np.mean(residuals**2)))
    return Fit(law, fitted, intervals, aicc, rmse, len(loss), fraction, tuple(draws), aic, tuple(notes))


def _check_asked(law: Any, resamples: Any, seed: Any) -> None:
    """Raises InputError for an unknown law, and for numbers that are none of a bootstrap."""
    if not isinstance(law, str) or law not in LAWS:
        raise InputError(f"law {law}: unknown; use one of {', '.join(LAWS)}")
    if not isinstance(resamples, Integral) or resamples < 0:
        raise InputError(f"resamples={resamples}: must be 0 (no intervals) or a number of refits, such as 200")
    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed={seed}: must be a whole number of 0 or more")


def _best(law: Law, columns: Columns, loss: Vector) -> Vector:
    """The parameters of least Huber loss over all starts: each goes a little way, the best of them to the end."""
    starts = [np.log(np.maximum(start, TINY)) for start in law.starts(columns, loss)]
    begun = sorted((_descend(law, columns, np.log(loss), start, 12, WIDE) for start in starts), key=lambda one: one[0])
    near = [_descend(law, columns, np.log(loss), start, 100, WIDE)[1] for _, start in begun[:FINALISTS]]
    ended = [_descend(law, columns, np.log(loss), start, 200) for start in near]
    return np.exp(min(ended, key=lambda one: one[0])[1])


def _descend(
    law: Law, columns: Columns, log_loss: Vector, start: Vector, most: int, huber: float = HUBER
) -> tuple[float, Vector]:
    """(Huber loss, logarithms of the parameters) after a search of at most `most` steps from `start`."""
    from scipy.optimize import least_squares

    def residuals(logs: Vector) -> Vector:
        with np.errstate(over="ignore"):
            predicted = np.log(np.maximum(law.predict(np.exp(logs), columns), TINY))
        return np.clip(predicted - log_loss, -1e3, 1e3)

    found = least_squares(
        residuals, np.clip(start, LEAST, -LEAST), bounds=(LEAST - 1, 1 - LEAST), loss=_huber, f_scale=huber,
        x_scale="jac", max_nfev=most,
    )  # fmt: skip
    return float(found.cost), found.x


def _huber(squares: Vector) -> Vector:
    """Huber's loss and the squares that decide between equals, with their first two derivatives by the squared errors
    in its own unit: [points] to [3, points]."""
    large = np.maximum(squares, 1)                                      # where it is linear
    inside = squares <= 1
    values = np.where(inside, squares, 2 * np.sqrt(large) - 1) + TIE * squares
    return np.stack([values, np.where(inside, 1, large**-0.5) + TIE, np.where(inside, 0, -(large**-1.5) / 2)])


def _unscaled(law: Law, theta: Vector, units: Mapping[str, float], columns: Columns) -> tuple[float, ...]:
    """The parameters in the columns' own units, finite even where the points leave one open."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = law.rescale(theta, units, columns)
    return tuple(np.nan_to_num(found, nan=MOST, posinf=MOST).tolist())


def middle(values: Sequence[float], estimate: float) -> Interval:
    """The 95 % in the middle of what draws say, and as far as the estimate, should it lie on a border beyond."""
    low, high = np.percentile(values, [2.5, 97.5])
    return min(float(low), estimate), max(float(high), estimate)


def _akaike(residuals: Vector, parameters: int) -> tuple[float, float | None]:
    """Akaike's criterion of normal errors in the logarithm, and with the correction of Hurvich and Tsai (1989)."""
    n, k = len(residuals), parameters + 1                               # the errors' variance is one more
    variance = max(float(np.mean(residuals**2)), 1e-300)
    aic = n * math.log(variance) + 2 * k
    return aic, None if n - k - 1 <= 0 else aic + 2 * k * (k + 1) / (n - k - 1)
