"""Fitting a law: Huber's loss of log-losses, from many starts, with intervals by bootstrap."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from omni.errors import InputError
from omni.train.scaling.fraction import beta_at, curve
from omni.train.scaling.laws import LAWS, Columns, Law, Vector

HUBER = 1e-3                                                            # log-loss from which errors count linearly
LEAST = -40.0                                                           # logarithm of a parameter that is as good as 0
TINY = 1e-12
FINALISTS = 3


@dataclass(frozen=True)
class Fit:
    """A fitted law.

    parameters: by name, in the columns' own units; intervals: 95 %, by residual bootstrap, None where it was not asked
    aicc:       Akaike's criterion with the correction for few points (lower is better; of the same losses only)
    rmse:       root mean squared error of the log-loss; n: points
    fraction:   c1, c2, c3 of the effective fraction (omni.train.scaling.fraction), where enough weights were measured
    """

    law: str
    parameters: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    aicc: float
    rmse: float
    n: int
    fraction: tuple[float, float, float] | None = None

    def check(self) -> None:
        """Raises ValueError where the parameters are not those of the law, as in a file that was edited."""
        weights = sorted({float(name.partition("@")[2]) for name in self.parameters if "@" in name})
        names = LAWS[self.law].names({"weight": np.array(weights)}) if self.law in LAWS else None
        if names != list(self.parameters) or not all(math.isfinite(value) for value in self.parameters.values()):
            raise ValueError(f"law {self.law}: parameters {', '.join(self.parameters)} are not its own")

    def predict(self, columns: Mapping[str, Any]) -> Vector:
        """Losses where the columns say, [points]. A weight that was not fitted is predicted through the effective
        fraction (Fernandes et al. 2023, section 4); see `omni.train.scaling.fraction`.

        Raises InputError for a missing column and for numbers that are not positive.
        """
        law = LAWS[self.law]
        given = _columns(columns, law)
        if self.law == "multilingual":
            beta = beta_at(self.parameters, self.fraction, given["weight"])
            losses: Vector = beta * given["size"] ** -self.parameters["alpha"] + self.parameters["L_inf"]
            return losses
        if self.law == "separate":
            known = {name.partition("@")[2] for name in self.parameters}
            rows = []
            for size, weight in zip(given["size"], given["weight"], strict=True):
                if f"{weight:g}" not in known:
                    raise InputError(f"weight {weight:g}: not among the fitted ones; use the law multilingual")
                own = (self.parameters[f"{name}@{weight:g}"] for name in ("beta", "alpha", "L_inf"))
                rows.append(law.predict(np.array(list(own)), {"size": np.array([size]), "weight": np.array([1.0])})[0])
            return np.array(rows)
        return law.predict(np.array(list(self.parameters.values())), given)


def fit(points: Mapping[str, Any], law: str = "power", resamples: int = 0, seed: int = 0) -> Fit:
    """Fit a law to losses: Huber's loss of log-losses (Hoffmann et al. 2022, appendix D.3), the best of many starts.

    points:    a data frame or mapping of equally long columns: `loss` in nats, and what the law needs: `size`,
               `encoder` and `decoder` in parameters, `weight` of the task in the mixture in 0 < p <= 1, of
               which six digits count, `data` in tokens or examples
    law:       "power"            L = beta N^-alpha + L_inf
               "multilingual"     the same with a beta a weight (Fernandes et al. 2023, equation 5)
               "separate"         a power law of its own for each weight (equation 4)
               "data"             L = alpha (1/D + C)^p (Bansal et al. 2022)
               "encoder-decoder"  L = alpha (1/D + b N_e^-p_e N_d^-p_d)^p (the same paper's joint form)
    resamples: of the residual bootstrap for the intervals; 0 for none
    Raises InputError for an unknown law, a missing column, fewer points than parameters, and values that are not
    positive and finite.
    """
    if law not in LAWS:
        raise InputError(f"law {law}: unknown; use one of {', '.join(LAWS)}")
    shape = LAWS[law]
    given, loss = _columns(points, shape), _column(points, "loss")
    names = shape.names(given)
    if len(loss) < len(names):
        raise InputError(f"law {law}: {len(loss)} points for {len(names)} parameters; measure more runs")
    units = {name: float(np.exp(np.log(given[name]).mean())) for name in shape.columns if name != "weight"}
    scaled = {name: values / units.get(name, 1.0) for name, values in given.items()}
    theta = _best(shape, scaled, loss)
    residuals = np.log(loss) - np.log(shape.predict(theta, scaled))
    fitted = dict(zip(names, shape.rescale(theta, units, given).tolist(), strict=True))
    intervals = _bootstrap(shape, scaled, theta, residuals, units, names, resamples, seed) if resamples else {}
    aicc, rmse = _aicc(residuals, len(names)), float(np.sqrt(np.mean(residuals**2)))
    fraction = curve(fitted) if law == "multilingual" else None
    return Fit(law, fitted, intervals, aicc, rmse, len(loss), fraction)


def _best(law: Law, columns: Columns, loss: Vector) -> Vector:
    """The parameters of least Huber loss over all starts: each goes a little way, the best of them to the end."""
    starts = [np.log(np.maximum(start, TINY)) for start in law.starts(columns, loss)]
    begun = sorted((_descend(law, columns, np.log(loss), start, 12) for start in starts), key=lambda one: one[0])
    ended = [_descend(law, columns, np.log(loss), start, 200) for _, start in begun[:FINALISTS]]
    return np.exp(min(ended, key=lambda one: one[0])[1])


def _descend(law: Law, columns: Columns, log_loss: Vector, start: Vector, most: int) -> tuple[float, Vector]:
    """(Huber loss, logarithms of the parameters) after a search of at most `most` steps from `start`."""
    from scipy.optimize import least_squares

    def residuals(logs: Vector) -> Vector:
        with np.errstate(over="ignore"):
            predicted = np.log(np.maximum(law.predict(np.exp(logs), columns), TINY))
        return np.clip(predicted - log_loss, -1e3, 1e3)

    found = least_squares(
        residuals, np.clip(start, LEAST, -LEAST), bounds=(LEAST - 1, 1 - LEAST), loss="huber", f_scale=HUBER,
        x_scale="jac", max_nfev=most,
    )  # fmt: skip
    return float(found.cost), found.x


def _bootstrap(
    law: Law, columns: Columns, theta: Vector, residuals: Vector, units: Mapping[str, float], names: list[str],
    resamples: int, seed: int,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """95 % percentile intervals: refits of the fitted losses with residuals drawn anew, widened for lost freedom."""
    n, random = len(residuals), np.random.default_rng(seed)
    wide = (residuals - residuals.mean()) * math.sqrt(n / max(n - len(theta), 1))
    centre, start = np.log(law.predict(theta, columns)), np.log(np.maximum(theta, TINY))
    drawn = []
    for _ in range(resamples):
        noisy = centre + wide[random.integers(n, size=n)]
        logs = _descend(law, columns, noisy, start, 30)[1]
        drawn.append(law.rescale(np.exp(logs), units, columns))
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    return {name: (float(one), float(other)) for name, one, other in zip(names, low, high, strict=True)}


def _aicc(residuals: Vector, parameters: int) -> float:
    """Akaike's criterion of normal errors in the logarithm, with the correction of Hurvich and Tsai (1989)."""
    n, k = len(residuals), parameters + 1                               # the errors' variance is one more
    if n - k - 1 <= 0:
        return math.inf
    variance = max(float(np.mean(residuals**2)), 1e-300)
    return n * math.log(variance) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def _columns(points: Mapping[str, Any], law: Law) -> dict[str, Vector]:
    """The columns that a law needs, of one length."""
    found = {name: _column(points, name) for name in law.columns}
    lengths = {len(values) for values in found.values()}
    if "loss" in points:
        lengths.add(len(_column(points, "loss")))
    if len(lengths) > 1:
        raise InputError(f"columns {', '.join(found)}, loss: must be equally long, not {sorted(lengths)}")
    if "weight" in found:
        if (found["weight"] > 1).any():
            raise InputError("weight: must lie in 0 < p <= 1; give shares of the mixture, not per cent")
        found["weight"] = np.array([float(f"{weight:g}") for weight in found["weight"]])  # as parameters name it
    return found


def _column(points: Mapping[str, Any], name: str) -> Vector:
    if name not in points:
        raise InputError(f"column {name}: missing; there are {', '.join(map(str, points)) or 'none'}")
    try:
        values = np.atleast_1d(np.asarray(points[name], np.float64))
    except (TypeError, ValueError):
        raise InputError(f"column {name}: holds something that is no number") from None
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        raise InputError(f"column {name}: row {bad[0] + 1} is {values[bad[0]]:g}; must be positive and finite")
    return values
