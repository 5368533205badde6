"""The effective fraction: how large a share of the model a task has that has the share p of the data.

f(p) = (beta_1 / beta_p)^(1/alpha): a model of N parameters that sees the task with weight p does on it what one of
f(p) N parameters does that sees nothing else. Between the weights that were measured, f(p) = p + c1 p^c2 (1-p)^c3
(Fernandes, Ghorbani, Garcia, Freitag and Firat 2023, section 4).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError

Vector = NDArray[np.float64]
Shape = tuple[float, float, float]                                      # c1, c2, c3
Parameters = Mapping[str, float]                                        # of a fit of the law multilingual
FEWEST = 3                                                              # weights between 0 and 1 that the curve needs
HUGE = 700.0                                                            # logarithm of nearly the largest number
PRIOR = 0.01                                                            # pull towards c = 1 where beta_1 is unknown


def fractions(parameters: Parameters, shape: Shape | None = None) -> dict[float, float]:
    """{weight: effective fraction} at the weights that were measured.

    Without p = 1 among them, beta_1 is what the curve says. Raises InputError where there is no curve either, and for
    parameters of another law.
    """
    if "alpha" not in parameters or not any(map(_is_beta, parameters)):
        raise InputError(
            "effective fraction: needs the parameters alpha and beta@WEIGHT of a fit of the law multilingual; there are"
            f" {', '.join(map(str, parameters)) or 'none'}"
        )
    betas, alpha = betas_of(parameters), parameters["alpha"]
    if 1.0 not in betas and shape is None:
        raise InputError("effective fraction: no run with weight 1, against which it is counted; measure one")
    logs = {weight: np.log(_whole(betas, alpha, shape) / beta) / alpha for weight, beta in betas.items()}
    return {weight: float(np.exp(min(share, HUGE))) for weight, share in logs.items()}


def curve(parameters: Parameters, begin: Shape | None = None) -> Shape | None:
    """(c1, c2, c3) that fit the betas best in least squares of log f; None where too few weights were measured.

    begin: where to search from, as from the curve of nearly the same betas (default: from several places).
    They must be three between 0 and 1 and p = 1. Without the last, as of mixtures in which every task has a share,
    beta_1 is one more unknown and they must be four; what they leave open, a weak pull towards c = 1 decides.
    """
    from scipy.optimize import least_squares

    alpha, betas = parameters["alpha"], betas_of(parameters)
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
    begun = starts if begin is None else [begin]
    ended = [least_squares(residuals, start, bounds=bounds, max_nfev=100) for start in begun]
    c1, c2, c3 = min(ended, key=lambda one: one.cost).x
    return float(c1), float(c2), float(c3)


def fraction_at(weight: Vector, c1: float, c2: float, c3: float) -> Vector:
    """The curve: f(0) = 0 and f(1) = 1 whatever c1, c2 > 0 and c3 > 0 are."""
    return weight + c1 * weight**c2 * (1 - weight) ** c3


def beta_at(parameters: Parameters, shape: Shape | None, weights: Vector) -> Vector:
    """The law's beta at each weight [points]: the fitted one where there is one, else beta_1 f(p)^-alpha.

    Raises InputError for a weight that was not measured where too few were for a curve.
    """
    betas = betas_of(parameters)
    if shape is None:
        if missing := sorted({float(weight) for weight in weights} - set(betas)):
            raise InputError(
                f"weight {missing[0]:g}: not measured, and too few others for a curve, which takes {FEWEST} and the"
                f" weight 1, or {FEWEST + 1}; measure more mixtures"
            )
        return np.array([betas[float(weight)] for weight in weights])
    found = curved_betas(parameters, shape, weights)
    for weight, beta in betas.items():
        found[weights == weight] = beta
    return found


def curved_betas(parameters: Parameters, shape: Shape, weights: Vector) -> Vector:
    """Beta_1 f(p)^-alpha at each weight [points], as the curve has it, measured or not."""
    alpha = parameters["alpha"]
    found: Vector = _whole(betas_of(parameters), alpha, shape) * _shares(weights, shape) ** -alpha
    return found


def _whole(betas: Mapping[float, float], alpha: float, shape: Shape | None) -> float:
    """Beta_1, as measured or, on the average over the measured weights, as the curve has it."""
    if 1.0 in betas or shape is None:
        return betas[1.0]
    return float(np.exp(alpha * _apart(betas, alpha, shape, np.array(list(betas))).mean()))


def _apart(betas: Mapping[float, float], alpha: float, shape: Shape, weights: Vector) -> Vector:
    """log(beta_1) / alpha as each weight [weights] tells it by the curve; all alike where the curve is right."""
    found: Vector = np.log([betas[weight] for weight in weights]) / alpha
    return found + np.log(_shares(weights, shape))


def _shares(weights: Vector, shape: Shape) -> Vector:
    """The curve, which may dip below 0 where c1 does, kept above it."""
    return np.maximum(fraction_at(weights, *shape), 1e-9)


def betas_of(parameters: Parameters) -> dict[float, float]:
    """{weight: beta} at the weights that were measured."""
    return {float(name[5:]): value for name, value in parameters.items() if _is_beta(name)}


def _is_beta(name: object) -> bool:
    return str(name).startswith("beta@")
