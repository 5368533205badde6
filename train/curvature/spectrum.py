"""The trace of a symmetric operator and the density of its eigenvalues, from products with random vectors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from omni.train.curvature.hessian import Operator


@dataclass(frozen=True)
class Estimate:
    """A mean of random samples and its standard error; products: with vectors that it took."""

    value: float
    error: float
    products: int


def hutchinson(operator: Operator, samples: int = 30, seed: int = 0) -> Estimate:
    """The trace as the mean of z^T A z over vectors z of random signs (Hutchinson 1990).

    Raises ValueError for fewer than 2 samples.
    """
    if samples < 2:
        raise ValueError(f"samples: must be at least 2 for an error, got {samples}")
    generator = Generator().manual_seed(seed)
    found = []
    for _ in range(samples):
        z = signs(operator, generator)
        found.append(float(z @ (operator @ z)))
    return Estimate(*_mean(found), samples)


def hutch_plus_plus(operator: Operator, products: int = 30, seed: int = 0) -> Estimate:
    """The trace, exactly on the span of a third of the products and by Hutchinson on the rest (Meyer et al. 2021).

    The error falls as 1/products where Hutchinson's falls as its root. Raises ValueError for fewer than 6 products.
    """
    if products < 6:
        raise ValueError(f"products: must be at least 6, got {products}")
    generator = Generator().manual_seed(seed)
    rank = min(products // 3, operator.size)
    sketch = torch.stack([operator @ signs(operator, generator) for _ in range(rank)], dim=1)  # [size, rank]
    span = torch.linalg.qr(sketch)[0]                                   # [size, rank]
    inside = sum(float(column @ (operator @ column)) for column in span.T)
    found = []
    for _ in range(products - 2 * rank):
        z = signs(operator, generator)
        outside = z - span @ (span.T @ z)
        found.append(float(outside @ (operator @ outside)))
    mean, error = _mean(found)
    return Estimate(inside + mean, error, products)


@dataclass(frozen=True)
class Density:
    """Eigenvalues as weighted points that add up to 1: nodes and weights [points]; size: of the operator.

    counts: how many of the points each random vector gave
    """

    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]
    size: int
    counts: Sequence[int] = ()

    def moment(self, order: int) -> float:
        """The mean over all eigenvalues of their power `order`."""
        return float(self.weights @ self.nodes**order)

    def at(self, values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
        """The density at `values` [values], every node a bell of standard deviation `width`: [values]."""
        found: NDArray[np.float64] = self._bells(values, width).sum(axis=1)
        return found

    def error(self, values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
        """The standard error of `at` over the random vectors: [values]; infinite where there was only one."""
        count = len(self.counts)
        if count < 2:
            return np.full(len(values), math.inf)
        parts = np.split(self._bells(values, width), np.cumsum(self.counts)[:-1], axis=1)
        each = count * np.stack([part.sum(axis=1) for part in parts])   # [samples, values]
        spread: NDArray[np.float64] = each.std(axis=0, ddof=1) / math.sqrt(count)
        return spread

    def _bells(self, values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
        """What each node adds: [values, points]."""
        heights = self.weights / (width * math.sqrt(2 * math.pi))
        return np.exp(-0.5 * ((values[:, None] - self.nodes) / width) ** 2) * heights


def density(operator: Operator, samples: int = 4, steps: int = 40, seed: int = 0) -> Density:
    """Spectral density by stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017; Ghorbani et al. 2019).

    From each of `samples` random vectors, `steps` products give the nodes and weights of a Gauss quadrature. Raises
    ValueError for less than one of either.
    """
    if samples < 1 or steps < 1:
        raise ValueError(f"samples, steps: must be at least 1, got {samples} and {steps}")
    generator = Generator().manual_seed(seed)
    nodes, weights = [], []
    for _ in range(samples):
        values, first = tridiagonal(operator, signs(operator, generator), min(steps, operator.size))
        nodes.append(values)
        weights.append(first**2 / samples)
    return Density(np.concatenate(nodes), np.concatenate(weights), operator.size, [len(one) for one in nodes])


def tridiagonal(operator: Operator, start: Tensor, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ritz values after Lanczos from a vector, and the first component of each of their vectors: [steps or fewer] each.

    Fully reorthogonalised; ends early where the space is invariant.
    """
    basis = start.new_empty(steps, operator.size)
    diagonal, beside = [], []
    vector = start / start.norm()
    for step in range(steps):
        basis[step] = vector
        here = basis[: step + 1]
        product = operator @ vector
        diagonal.append(float(vector @ product))
        length = float(product.norm())
        for _ in range(2):
            product = product - (here @ product) @ here
        rest = float(product.norm())
        if step == steps - 1 or rest <= torch.finfo(product.dtype).eps * math.sqrt(operator.size) * length:
            break
        beside.append(rest)
        vector = product / rest
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    values, vectors = np.linalg.eigh(matrix)
    return values, vectors[0]


def signs(operator: Operator, generator: Generator) -> Tensor:
    """A vector [size] of random signs."""
    return (torch.randint(0, 2, (operator.size,), generator=generator) * 2 - 1).to(operator.guess())


def _mean(values: list[float]) -> tuple[float, float]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.inf
    return float(np.mean(values)), spread / math.sqrt(len(values))
