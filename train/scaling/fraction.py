"""The effective fraction: how large a share of the model a task has that has the share p of the data.

f(p) = (beta_1 / beta_p)^(1/alpha): a model of N parameters that sees the task with weight p does on it what one of
f(p) N parameters does that sees nothing else. Between the weights that were measured, f(p) = p + c1 p^c2 (1-p)^c3
(Fernandes, Ghorbani, Garcia, Freitag and Firat 2023, section 4).
"""

from collections.abc import Mapping

import numpy as np

from omni.errors import InputError
from omni.train.scaling.laws import Vector

Shape = tuple[float, float, float]                                      # c1, c2, c3
Parameters = Mapping[str, float]                                        # of a fit of the law multilingual
FEWEST = 3                                                              # weights between 0 and 1 that the curve needs


def enough(parameters: Parameters) -> bool:
    """Whether the weights that were measured allow for a curve: 1, and three below it."""
    betas = _betas(parameters)
    return 1.0 in betas and len(betas) > FEWEST


def fractions(parameters: Parameters) -> dict[float, float]:
    """{weight: effective fraction} at the weights that were measured. Raises InputError without p = 1."""
    betas = _betas(parameters)
    if 1.0 not in betas:
        raise InputError("effective fraction: no run with weight 1, against which it is counted; measure one")
    exponent = 1 / parameters["alpha"]
    return {weight: (betas[1.0] / beta) ** exponent for weight, beta in betas.items()}


def curve(found: Mapping[float, float]) -> Shape:
    """(c1, c2, c3) that fit measured fractions best in least squares of log f. Raises InputError for fewer than 3."""
    from scipy.optimize import least_squares

    weights = np.array([weight for weight in found if 0 < weight < 1])
    if len(weights) < FEWEST:
        raise InputError(f"effective fraction: {len(weights)} weights between 0 and 1; its curve needs {FEWEST}")
    target = np.log([found[weight] for weight in weights])

    def residuals(theta: Vector) -> Vector:
        return np.log(np.maximum(fraction_at(weights, *theta), 1e-9)) - target

    bounds = ([-1.0, 0.01, 0.01], [30.0, 6.0, 6.0])
    starts = [(c1, c2, c3) for c1 in (0.3, 2.0) for c2 in (0.5, 1.5) for c3 in (0.5, 1.5)]
    ended = [least_squares(residuals, start, bounds=bounds, max_nfev=100) for start in starts]
    c1, c2, c3 = min(ended, key=lambda one: one.cost).x
    return float(c1), float(c2), float(c3)


def fraction_at(weight: Vector, c1: float, c2: float, c3: float) -> Vector:
    """The curve: f(0) = 0 and f(1) = 1 whatever c1, c2 > 0 and c3 > 0 are."""
    return weight + c1 * weight**c2 * (1 - weight) ** c3


def beta_at(parameters: Parameters, shape: Shape | None, weights: Vector) -> Vector:
    """The law's beta at each weight [points]: the fitted one where there is one, else beta_1 f(p)^-alpha.

    Raises InputError for a weight that was not measured where too few were for a curve.
    """
    betas = _betas(parameters)
    missing = sorted({float(weight) for weight in weights} - set(betas))
    if missing and shape is None:
        raise InputError(f"weight {missing[0]:g}: not measured, and too few others for a curve")
    if missing and shape is not None:
        shares = np.maximum(fraction_at(np.array(missing), *shape), 1e-9)
        betas |= dict(zip(missing, betas[1.0] * shares ** -parameters["alpha"], strict=True))
    return np.array([betas[float(weight)] for weight in weights])


def _betas(parameters: Parameters) -> dict[float, float]:
    return {float(name[5:]): value for name, value in parameters.items() if name.startswith("beta@")}
