"""The laws: how a loss falls with what is spent, and where a search for their parameters begins.

Parameters are searched for as logarithms, so that they stay positive, over columns that are divided by their geometric
means, so that units do not matter. A law's `rescale` says what its parameters are in the columns' own units.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from omni.errors import InputError
from omni.train.scaling.fraction import Parameters, Shape, Vector, beta_at, curve

Columns = Mapping[str, Vector]
EXPONENTS = (0.05, 0.15, 0.35, 0.8)                                     # where searches begin
FLOORS = (0.02, 0.4, 0.8, 0.97)                                         # shares of the least loss


@dataclass(frozen=True)
class Law:
    """columns: what it needs beside `loss`, and how many different values of each: repeats of a run tell no parameter
                apart; apart: whether each weight needs as many for itself
    names:      of its parameters, which depend on the weights in the data
    predict:    (parameters [..., parameters], columns) -> losses [..., points]
    starts:     (columns, losses) -> parameters to begin a search at
    rescale:    (parameters, units of the columns, columns) -> parameters in the columns' own units
    chosen:     (parameters by name, curve, columns) -> the parameters that `predict` takes for these columns, whose
                weights need not be those that were fitted. Raises InputError for a weight that it says nothing of.
    curve:      (parameters by name, where to begin) -> c1, c2, c3 of the effective fraction, where the law has one
    """

    columns: Mapping[str, int]
    names: Callable[[Columns], list[str]]
    predict: Callable[[Vector, Columns], Vector]
    starts: Callable[[Columns, Vector], Iterator[Vector]]
    rescale: Callable[[Vector, Mapping[str, float], Columns], Vector]
    chosen: Callable[[Parameters, Shape | None, Columns], Vector]
    curve: Callable[[Parameters, Shape | None], Shape | None] = lambda parameters, begin: None
    apart: bool = False


def weights_of(columns: Columns) -> Vector:
    """The different mixture weights, ascending: [weights]."""
    return np.unique(columns["weight"])


def _all_of(parameters: Parameters, shape: Shape | None, columns: Columns) -> Vector:
    """Of a law whose parameters do not depend on the weights."""
    return np.array(list(parameters.values()))


def _each(theta: Vector) -> Vector:
    """The parameters one by one, each ready to meet the points: [..., parameters] -> [parameters, ..., 1]."""
    return np.moveaxis(theta, -1, 0)[..., None]


def _power_at(size: Vector, beta: Vector, alpha: Vector, floor: Vector) -> Vector:
    return beta * size**-alpha + floor


def _betas(size: Vector, loss: Vector, alpha: float, floor: float) -> float:
    """The beta that fits best in the logarithm, given the others."""
    return float(np.exp(np.mean(np.log(loss - floor) + alpha * np.log(size))))


def _corners(loss: Vector) -> Iterator[tuple[float, float]]:
    for alpha, share in itertools.product(EXPONENTS, FLOORS):
        yield alpha, share * float(loss.min())


# One size: L(N) = beta N^-alpha + L_inf.


def _power_starts(columns: Columns, loss: Vector) -> Iterator[Vector]:
    for alpha, floor in _corners(loss):
        yield np.array([_betas(columns["size"], loss, alpha, floor), alpha, floor])


def _power_rescale(theta: Vector, units: Mapping[str, float], columns: Columns) -> Vector:
    return np.array([theta[0] * units["size"] ** theta[1], theta[1], theta[2]])


# L(N) = beta N^-alpha + L_inf
POWER = Law(
    {"size": 3},
    lambda columns: ["beta", "alpha", "L_inf"],
    lambda theta, columns: _power_at(columns["size"], *_each(theta)),
    _power_starts,
    _power_rescale,
    _all_of,
)

# Fernandes et al. 2023: one exponent and one floor for all weightings of a task, a beta for each.


def _joint_names(columns: Columns) -> list[str]:
    return ["alpha", "L_inf", *(f"beta@{weight:g}" for weight in weights_of(columns))]


def _joint_predict(theta: Vector, columns: Columns) -> Vector:
    alpha, floor, *_ = _each(theta)
    beta = theta[..., 2:][..., np.searchsorted(weights_of(columns), columns["weight"])]
    return _power_at(columns["size"], beta, alpha, floor)


def _joint_starts(columns: Columns, loss: Vector) -> Iterator[Vector]:
    groups = [columns["weight"] == weight for weight in weights_of(columns)]
    for alpha, floor in _corners(loss):
        betas = [_betas(columns["size"][group], loss[group], alpha, floor) for group in groups]
        yield np.array([alpha, floor, *betas])


def _joint_rescale(theta: Vector, units: Mapping[str, float], columns: Columns) -> Vector:
    return np.array([theta[0], theta[1], *(theta[2:] * units["size"] ** theta[0])])


def _joint_chosen(parameters: Parameters, shape: Shape | None, columns: Columns) -> Vector:
    betas = beta_at(parameters, shape, weights_of(columns))
    return np.array([parameters["alpha"], parameters["L_inf"], *betas])


# L(N; p) = beta_p N^-alpha + L_inf
MULTILINGUAL = Law(
    {"size": 2, "weight": 1},
    _joint_names,
    _joint_predict,
    _joint_starts,
    _joint_rescale,
    _joint_chosen,
    curve,
)

# The same with everything free: a power law of its own for each weighting.


def _separate_names(columns: Columns) -> list[str]:
    return [f"{name}@{weight:g}" for weight in weights_of(columns) for name in ("beta", "alpha", "L_inf")]


def _separate_predict(theta: Vector, columns: Columns) -> Vector:
    rows = theta.reshape(*theta.shape[:-1], -1, 3)                      # [..., weights, 3]
    beta, alpha, floor = np.moveaxis(rows[..., np.searchsorted(weights_of(columns), columns["weight"]), :], -1, 0)
    return _power_at(columns["size"], beta, alpha, floor)


def _separate_starts(columns: Columns, loss: Vector) -> Iterator[Vector]:
    groups = [columns["weight"] == weight for weight in weights_of(columns)]
    for alpha, share in itertools.product(EXPONENTS, FLOORS):
        theta = []
        for group in groups:
            floor = share * float(loss[group].min())
            theta += [_betas(columns["size"][group], loss[group], alpha, floor), alpha, floor]
        yield np.array(theta)


def _separate_rescale(theta: Vector, units: Mapping[str, float], columns: Columns) -> Vector:
    rows = theta.reshape(-1, 3).copy()
    rows[:, 0] *= units["size"] ** rows[:, 1]
    return rows.ravel()


def _separate_chosen(parameters: Parameters, shape: Shape | None, columns: Columns) -> Vector:
    names = _separate_names(columns)
    for name in names:
        if name not in parameters:
            raise InputError(f"weight {name.partition('@')[2]}: not among the fitted ones; use the law multilingual")
    return np.array([parameters[name] for name in names])


# L_p(N) = beta_p N^-alpha_p + L_inf,p
SEPARATE = Law(
    {"size": 3, "weight": 1},
    _separate_names,
    _separate_predict,
    _separate_starts,
    _separate_rescale,
    _separate_chosen,
    apart=True,
)

# Bansal et al. 2022: L(D) = alpha (1 / D + C)^p.


def _data_starts(columns: Columns, loss: Vector) -> Iterator[Vector]:
    share = 1 / columns["data"]
    for exponent, constant in itertools.product(EXPONENTS, (0.001, 0.03, 0.3, 3.0)):
        bent = share + constant * float(share.min())
        yield np.array([np.exp(np.mean(np.log(loss) - exponent * np.log(bent))), constant * share.min(), exponent])


def _data_predict(theta: Vector, columns: Columns) -> Vector:
    alpha, constant, exponent = _each(theta)
    found: Vector = alpha * (1 / columns["data"] + constant) ** exponent
    return found


def _data_rescale(theta: Vector, units: Mapping[str, float], columns: Columns) -> Vector:
    return np.array([theta[0] * units["data"] ** theta[2], theta[1] / units["data"], theta[2]])


# L(D) = alpha (1/D + C)^p
DATA = Law(
    {"data": 3},
    lambda columns: ["alpha", "C", "p"],
    _data_predict,
    _data_starts,
    _data_rescale,
    _all_of,
)

# The same with the sizes of encoder and decoder: L(D, N_e, N_d) = alpha (1 / D + b N_e^-p_e N_d^-p_d)^p.


def _sides_predict(theta: Vector, columns: Columns) -> Vector:
    """With b N_e^-p_e N_d^-p_d, what more data does not help against."""
    alpha, constant, encoder, decoder, exponent = _each(theta)
    logs = np.log(constant) - encoder * np.log(columns["encoder"]) - decoder * np.log(columns["decoder"])
    product = np.exp(logs)                                              # no infinity times 0 in a search's far corners
    found: Vector = alpha * (1 / columns["data"] + product) ** exponent
    return found


def _sides_starts(columns: Columns, loss: Vector) -> Iterator[Vector]:
    for alpha, constant, exponent in _data_starts(columns, loss):
        yield np.array([alpha, constant, 0.3, 0.3, exponent])


def _sides_rescale(theta: Vector, units: Mapping[str, float], columns: Columns) -> Vector:
    alpha, constant, encoder, decoder, exponent = theta
    constant *= units["encoder"] ** encoder * units["decoder"] ** decoder / units["data"]
    return np.array([alpha * units["data"] ** exponent, constant, encoder, decoder, exponent])


# L(D, N_e, N_d) = alpha (1/D + b N_e^-p_e N_d^-p_d)^p
ENCODER_DECODER = Law(
    {"data": 2, "encoder": 2, "decoder": 2},
    lambda columns: ["alpha", "b", "p_e", "p_d", "p"],
    _sides_predict,
    _sides_starts,
    _sides_rescale,
    _all_of,
)

LAWS = {
    "power": POWER,
    "multilingual": MULTILINGUAL,
    "separate": SEPARATE,
    "data": DATA,
    "encoder-decoder": ENCODER_DECODER,
}
