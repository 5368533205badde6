"""Hessian-vector products as differences of gradients: half the time of exact ones, and true to about a hundredth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from omni.train.curvature.hessian import Hessian

STEP = 0.5                                                              # see `Differences`
LEAST, FIRST = 8, 32                                                    # roundings of all weights


class Differences:
    """(g(w + s v) - g(w)) / s for the gradient g of a Hessian's loss and v of length 1: H v, but for two errors.

    Rounding of gradients grows as 1 / s and the third derivative's part as s, steeply along the largest eigenvector:
    on a trained omni model with a largest eigenvalue of 35 it is 11 % of the product at s = 0.001 and 1.6 % at 0.0003,
    where rounding is 0.1 %. s = STEP (eps L / h)^1/2 with the loss L and the longest product h so far, which is half of
    the largest eigenvalue or more after one or two, as in the best step for a second difference (Gill et al. 1981):
    (L / h)^1/2 is how far the loss keeps its shape. It is LEAST eps |w| at least, so that the weights do move, and
    FIRST eps |w| before h is known, along a start that has less of the largest eigenvector.

    Good for a search, of which an exact product then tells whether it found what it believes. The weights are moved for
    each product and put back to the bit.
    """

    def __init__(self, hessian: Hessian) -> None:
        self.hessian, self.size = hessian, hessian.size
        self.weights = [one.detach().clone() for one in hessian.parameters]
        self.eps = max(torch.finfo(one.dtype).eps for one in self.weights)
        self.rounding = self.eps * float(torch.stack([one.norm() for one in self.weights]).norm())
        self.level = float(hessian.total(hessian.gradient.new_tensor([hessian.level])))
        self.longest = 0.0                                              # product of a vector of length 1

    def guess(self) -> Tensor:
        """The gradient [size]."""
        return self.hessian.guess()

    def __matmul__(self, vector: Tensor) -> Tensor:
        """About H v, [size] to [size]. Raises CurvatureError where the loss or its gradient is not finite there."""
        length = float(vector.norm()) or 1.0
        step = self._step() / length
        with self._moved(vector, step):
            gradient = self.hessian.gradient_here()
        product = gradient.sub_(self.hessian.gradient).div_(step)
        self.longest = max(self.longest, float(product.norm()) / length)
        return product

    def _step(self) -> float:
        if not self.longest:
            return FIRST * self.rounding or self.eps**0.5               # of weights that are all zero
        return max(STEP * (self.eps * self.level / self.longest) ** 0.5, LEAST * self.rounding)

    @contextmanager
    def _moved(self, vector: Tensor, step: float) -> Iterator[None]:
        """By `data`, of which the record of the gradient need not know: it finds the weights as they were."""
        pieces = vector.split([one.numel() for one in self.weights])
        try:
            for parameter, piece in zip(self.hessian.parameters, pieces, strict=True):
                parameter.data.add_(piece.view_as(parameter), alpha=step)
            yield
        finally:
            for parameter, weight in zip(self.hessian.parameters, self.weights, strict=True):
                parameter.data.copy_(weight)
