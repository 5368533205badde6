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
PRIOR = 0.01                                                            # pull towards c = 1 where beta_1 is unknown


def fractions(parameters: Parameters) -> dict[float, float]:
    """{weight: effective fraction} at the weights that were measured. Raises InputError without p = 1."""
    betas = _betas(parameters)
    if 1.0 not in betas:
        raise InputError("effective fraction: no run with weight 1, against which it is counted; measure one")
    exponent = 1 / parameters["alpha"]
    return {weight: (betas[1.0] / beta) ** exponent for weight, beta in betas.items()}


def curve(parameters: Parameters) -> Shape | None:
    """(c1, c2, c3) that fit the betas best in least squares of log f; None where too few weights were measured.

    They must be three between 0 and 1 and p = 1. Without the last, as of mixtures in which every task has a share,
    beta_1 is one more unknown and they must be four; what they leave open, a weak pull towards c = 1 decides.
    """
    from scipy.optimize import least_squares

    alpha, betas = parameters["alpha"], _betas(parameters)
    weights = np.array([weight for weight in betas if weight < 1])
    if len(weights) < FEWEST + (1.0 not in betas):
        return None

    def residuals(theta: Vector) -> Vector:
        apart = _apart(betas, alpha, (theta[0], theta[1], theta[2]), weights)
        if 1.0 in betas:
            return apart - np.log(betas[1.0]) / alpha
        return np.concatenate((apart - apart.mean(), PRIOR * np.log(np.maximum(theta, 1e-9))))

    bounds = ([-1.0 if 1.0 in betas else 0.0, 0.01, 0.01], [30.0, 6.0, 6.0])
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
    alpha, betas = parameters["alpha"], _betas(parameters)
    missing = sorted({float(weight) for weight in weights} - set(betas))
    if missing and shape is None:
        raise InputError(
            f"weight {missing[0]:g}: not measured, and too few others for a curve, which takes {FEWEST} and the weight"
            f" 1, or {FEWEST + 1}; measure more mixtures"
        )
    if missing and shape is not None:
        whole = betas.get(1.0) or np.exp(alpha * _apart(betas, alpha, shape, np.array(list(betas))).mean())
        shares = np.maximum(fraction_at(np.array(missing), *shape), 1e-9)
        betas |= dict(zip(missing, whole * shares**-alpha, strict=True))
    return np.array([betas[float(weight)] for weight in weights])


def _apart(betas: Mapping[float, float], alpha: float, shape: Shape, weights: Vector) -> Vector:
    """log(beta_1) / alpha as each weight [weights] tells it by the curve; all alike where the curve is right."""
    found: Vector = np.log([betas[weight] for weight in weights]) / alpha
    return found + np.log(np.maximum(fraction_at(weights, *shape), 1e-9))


def _betas(parameters: Parameters) -> dict[float, float]:
    return {float(name[5:]): value for name, value in parameters.items() if name.startswith("beta@")}
