"""Draws of a fit's parameters: refits of losses scattered anew, from which its intervals are read.

All draws descend at once (Levenberg and Marquardt's steps, reweighted for Huber's loss), some fifty times as fast as
one by one, so that each begins at several places and goes to the end: searches that stop early lie too near the fit,
and from a parameter on the border, such as a floor of 0, no slope leads away.
"""

from collections.abc import Callable

import numpy as np

from omni.train.scaling.fraction import Vector
from omni.train.scaling.laws import Columns, Law

HUBER = 1e-3                                                            # log-loss from which errors count linearly
TIE = 1e-4                                                              # of squares that are added, without which many
                                                                        # parameters are the best: errors count as in a
                                                                        # median, and four have any between two of them
WIDE = 0.1                                                              # the same on the way there, where all are far
LEAST = -40.0                                                           # logarithm of a parameter that is as good as 0
TINY = 1e-12
STEPS = 20, 60                                                          # of a draw, on the way there and at the end
LONGEST = 3.0                                                           # step, of a parameter's logarithm
DELTA = 1e-6                                                            # of the slopes, which are differences
ROOM = 4_000_000                                                        # numbers of slopes that are held at once
Search = Callable[[Vector], Vector]                                     # logarithms of parameters -> log-losses


def resample(law: Law, columns: Columns, theta: Vector, residuals: Vector, resamples: int, seed: int) -> Vector:
    """Logarithms of the parameters of refits of the fitted losses with errors drawn anew: [resamples, parameters].

    A fit has fewer errors left than points, its spare ones, and some of them are 0. So a draw takes the residuals by
    chance, and as much normal noise as the fit took away. How large errors are, few points hardly tell: each draw has
    its own guess of that, as Student's t has. There must be more points than parameters.
    """
    n, k, random = len(residuals), len(theta), np.random.default_rng(seed)
    taken = np.sqrt(np.sum(residuals**2) / (n - k) * k / n)
    errors = residuals[random.integers(n, size=(resamples, n))] + taken * random.normal(size=(resamples, n))
    errors *= np.sqrt((n - k) / random.chisquare(n - k, size=(resamples, 1)))
    fitted = np.log(law.predict(theta, columns))
    starts = np.log(np.stack([theta, *list(law.starts(columns, np.exp(fitted)))[::5]]))  # along the grid's diagonal
    begun = np.clip(starts, LEAST, -LEAST)
    block = max(1, ROOM // (n * k * len(begun)))
    blocks = [_refit(law, columns, fitted + errors[at : at + block], begun) for at in range(0, resamples, block)]
    return np.concatenate([np.empty((0, k)), *blocks])


def _refit(law: Law, columns: Columns, log_losses: Vector, starts: Vector) -> Vector:
    """The best of all starts [starts, parameters] for each row of losses [draws, points]: [draws, parameters]."""

    def search(logs: Vector) -> Vector:
        with np.errstate(over="ignore"):
            return np.log(np.maximum(law.predict(np.exp(logs), columns), TINY))

    draws, many = len(log_losses), len(starts)
    begun = np.repeat(starts, draws, axis=0)
    logs, cost = _descend(search, np.tile(log_losses, (many, 1)), begun, STEPS[0], WIDE)
    best = cost.reshape(many, draws).argmin(0)
    return _descend(search, log_losses, logs.reshape(many, draws, -1)[best, np.arange(draws)], STEPS[1], HUBER)[0]


def _descend(search: Search, log_losses: Vector, logs: Vector, steps: int, huber: float) -> tuple[Vector, Vector]:
    """(logarithms [searches, parameters], Huber loss [searches]) after some steps, each of which is kept if it helps.

    log_losses: [searches, points]; logs: where to begin
    """
    apart = _apart(search, log_losses, logs)
    cost, damping = _huber(apart, huber), np.full(len(logs), 1e-2)
    for _ in range(steps):
        step = _step(search, logs, log_losses, apart, damping, huber)
        tried = np.clip(logs + step, LEAST - 1, 1 - LEAST)
        there = _apart(search, log_losses, tried)
        better = (spent := _huber(there, huber)) < cost
        logs, apart = np.where(better[:, None], tried, logs), np.where(better[:, None], there, apart)
        cost = np.where(better, spent, cost)
        damping = np.clip(np.where(better, damping / 4, damping * 5), 1e-9, 1e9)
    return logs, cost


def _step(search: Search, logs: Vector, log_losses: Vector, apart: Vector, damping: Vector, huber: float) -> Vector:
    """Of least squares, damped; errors beyond Huber's bound weigh as much less as they are larger."""
    k = logs.shape[1]
    slopes = np.stack([_apart(search, log_losses, logs + DELTA * row) - apart for row in np.eye(k)], -1) / DELTA
    weighed = slopes * (huber / np.maximum(np.abs(apart), huber) + TIE)[..., None]
    square = np.swapaxes(weighed, 1, 2) @ slopes                        # [searches, parameters, parameters]
    scale = np.diagonal(square, axis1=1, axis2=2)
    most = scale.max(1, keepdims=True)                                  # a parameter without a slope stays where it is
    square = square + np.eye(k) * (damping[:, None] * scale + 1e-10 * most + 1e-14)[:, None]
    step = -np.linalg.solve(square, np.swapaxes(weighed, 1, 2) @ apart[..., None])[..., 0]
    return step * np.minimum(1, LONGEST / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))


def _apart(search: Search, log_losses: Vector, logs: Vector) -> Vector:
    return np.clip(search(logs) - log_losses, -1e3, 1e3)


def _huber(apart: Vector, huber: float) -> Vector:
    """Huber's loss of each search, and the squares that decide between equals: [searches]."""
    size = np.abs(apart)
    return (np.where(size <= huber, size**2, huber * (2 * size - huber)) + TIE * size**2).sum(-1) / 2
