"""The largest eigenvalue of a symmetric operator, with a bound on its error: Lanczos (1950), and power iteration."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from omni.train.curvature.differences import Differences
from omni.train.curvature.hessian import CurvatureError, FlatError, Hessian, Operator, Scaled

LEAST, LEAST_WARM = 5, 4                                                # products before a pair is believed
HOLD = 6                                                                # more, through which it must stand
NOISE = 1.0                                                             # of chance in a start, against its length
FLAT = "curvature: the Hessian is zero here: the loss is constant or linear, or like ReLU in pieces, around the weights"
COARSE = 1e-3                                                           # tolerance for which differences are too rough
CONFIRMATIONS = 2                                                       # tried, of what differences believe
SKEW = 0.1                                                              # of the projection's scale, if not symmetric
CLEAN = 0.1                                                             # of a vector left: it is not cleaned again


@dataclass(frozen=True)
class Eigenpair:
    """The largest eigenvalue and its vector [size].

    residual: |A v - value v| for the vector v of length 1: there is an eigenvalue within it of `value`, always
    error: bound on |value - the largest|, if no eigenvalue hides from the start (`bound`)
    products: with vectors that it took, exact ones and differences of gradients
    """

    value: float
    vector: Tensor
    error: float
    residual: float
    products: int


def bound(values: Tensor, residuals: Tensor) -> float:
    """How far above the largest Ritz value the largest eigenvalue can lie, without one that no Ritz pair shows yet.

    For the best m pairs together, in whose basis the operator is [[T, R^T], [R, C]]: as x^T A x is at most
    t |u|^2 + 2 |R| |u| |v| + c |v|^2 with t and c the largest eigenvalues of T and C, the largest of A is above t by
    |R|^2 / (t - c) at the most. c is what the next Ritz pair allows. With m = 1 it is the bound of Kato and Temple;
    more pairs see past eigenvalues that are close to the largest. values, ascending, and residuals: [count]
    """
    squares = residuals.flip(0).square().cumsum(0)[:-1]                 # |R|^2 for m = 1, 2, ...
    gaps = values[-1] - (values + residuals).flip(0)[1:]
    return min([float(residuals[-1]), *(squares / gaps)[gaps > 0].tolist()])


class UnconvergedError(CurvatureError):
    """The bound stayed above the tolerance, or was not below it for long; `best` is what was found, with its bound."""

    def __init__(self, best: Eigenpair, tolerance: float) -> None:
        why = f"uncertain by {best.error:.2g}, more than {tolerance:.2g} of it"
        if best.error <= tolerance * abs(best.value):
            why = "without the further ones through which it must stand"
        super().__init__(
            f"curvature: {best.products} products leave the eigenvalue {best.value:.4g} {why}; allow more products or a"
            " higher tolerance"
        )
        self.best = best


def top_eigenvalue(
    operator: Operator,
    tolerance: float = 0.01,
    most: int = 100,
    start: Tensor | None = None,
    basis: int = 40,
    seed: int = 0,
    hold: int | None = None,
) -> Eigenpair:
    """The algebraically largest eigenvalue, within `tolerance` of its size.

    Lanczos with full reorthogonalisation, restarted from the best Ritz vectors when `basis` vectors are in memory
    (thick restart, Wu and Simon 2000). start: a guess [size], as the vector of the last probe, instead of the
    operator's own; some chance is mixed in, so that a wrong one does not hold it back. hold: further products through
    which the bound must hold and the value stand before it is believed, since eigenvalues may hide from the start until
    then (default: HOLD for a preconditioned Hessian without a start, at whose largest the gradient does not point; else
    0).

    A Hessian is searched by differences of gradients (`Differences`) where its weights may be moved; value, residual
    and bound are then those of one exact product with what was found, and of the others' gaps. Where that does not
    confirm it, and for tolerances below COARSE, all products are exact.

    Raises UnconvergedError after `most` products, FlatError where the operator is zero, ValueError for fewer than 2
    vectors, no products, a tolerance that is not above 0, or a start of another size or with numbers that are none.
    """
    if basis < 2:
        raise ValueError(f"basis: must be at least 2 vectors, got {basis}")
    _check_search(operator, tolerance, most, start)
    if hold is None:
        hold = HOLD if start is None and isinstance(operator, Scaled) else 0
    trust = _Trust(tolerance, LEAST if start is None else LEAST_WARM, hold)
    begin, basis, spent = _begin(operator, start, seed), min(basis, operator.size), 0
    if (differences := _differences(operator, tolerance)) is not None:
        found, spent = _by_differences(operator, _Krylov(differences, begin, basis), replace(trust), most)
        if found is not None and found.error <= tolerance * abs(found.value):
            return found
        if found is not None and most - spent < LEAST_WARM:
            raise UnconvergedError(found, tolerance)
        begin = begin if found is None else _begin(operator, found.vector, seed)
    space = _Krylov(operator, begin, basis)
    sure = space.search(trust, most - spent)
    best = replace(space.best(), products=space.products + spent)
    if not sure:
        raise UnconvergedError(best, tolerance)
    return best


@dataclass
class _Trust:
    """When the best pair of a search is believed. stood: value and products when the bound first held."""

    tolerance: float
    least: int
    hold: int
    stood: tuple[float, int] | None = None

    def __call__(self, value: float, error: float, products: int) -> bool:
        """Whether the bound has held, and the value stood, through `hold` products after the first of them."""
        if products < self.least or error > self.tolerance * abs(value):
            self.stood = None
        elif self.stood is None or value > self.stood[0] + self.tolerance * abs(value):  # it hid until now
            self.stood = value, products
        return self.stood is not None and products >= self.stood[1] + self.hold


def _differences(operator: Operator, tolerance: float) -> Differences | None:
    """The cheaper products to search by, where they are accurate enough and the weights can be moved for them."""
    if tolerance < COARSE or not isinstance(operator, Hessian) or not operator.movable:
        return None
    fit = all(one.is_leaf and one.dtype in (torch.float32, torch.float64) for one in operator.parameters)
    return Differences(operator) if fit and not torch.is_autocast_enabled(operator.gradient.device.type) else None


def _by_differences(
    operator: Operator, space: "_Krylov", trust: _Trust, most: int
) -> tuple[Eigenpair | None, int]:
    """What a search by differences finds, with value, residual and bound from an exact product, and all products.

    It goes on, once, where the exact product does not confirm what was believed. None where differences are of no use:
    their projection is not symmetric or zero, or the gradient is not finite nearby.
    """
    found, exact = None, 0
    while exact < CONFIRMATIONS and space.products + exact + 2 <= most:
        try:
            space.search(trust, most - exact - 1, symmetric=True)
        except CurvatureError:
            return None, space.products + exact
        if space.skewed:
            return None, space.products + exact
        exact += 1
        found = space.confirmed(operator, space.products + exact)
        if found.value == 0.0:                                          # the exact search says whether all is flat
            return None, found.products
        if found.error <= trust.tolerance * abs(found.value) or space.done or space.full:
            break
    return found, space.products + exact


def _begin(operator: Operator, start: Tensor | None, seed: int) -> Tensor:
    """A guess, or the operator's own, and as much chance."""
    start = operator.guess() if start is None else start
    chance = torch.randn(operator.size, generator=Generator().manual_seed(seed)).to(start)
    return torch.add(chance.mul_(NOISE / chance.norm()), start, alpha=1 / (float(start.norm()) or 1.0))


def power_iteration(
    operator: Operator, tolerance: float = 0.01, most: int = 1000, start: Tensor | None = None, seed: int = 0
) -> Eigenpair:
    """The eigenvalue of largest size, of either sign: two vectors in memory, and many more products than Lanczos takes.

    It ends where the residual, which bounds the distance to the next eigenvalue, is within `tolerance` of the value.
    Raises UnconvergedError after `most` products, FlatError where the operator is zero, ValueError for no products, a
    tolerance that is not above 0, or a start that is zero, of another size or with numbers that are none.
    """
    _check_search(operator, tolerance, most, start)
    if start is not None and not bool(start.any()):
        raise ValueError("start: must not be zero; leave it out for one by chance")
    chance = torch.randn(operator.size, generator=Generator().manual_seed(seed))
    vector = chance.to(operator.guess()) if start is None else start
    for products in range(1, most + 1):
        vector = vector / vector.norm()
        product = operator @ vector
        if not bool(product.any()):
            raise FlatError(FLAT)
        value = float(vector @ product)
        residual = float((product - value * vector).norm())
        found = Eigenpair(value, vector, residual, residual, products)
        if residual <= tolerance * abs(value):
            return found
        vector = product
    raise UnconvergedError(found, tolerance)


def _check_search(operator: Operator, tolerance: float, most: int, start: Tensor | None) -> None:
    """Raises ValueError for what no search can begin with."""
    if most < 1:
        raise ValueError(f"most: must be at least 1 product, got {most}")
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance: must be a share of the eigenvalue above 0, got {tolerance}")
    if start is not None and start.shape != (operator.size,):
        raise ValueError(f"start: must be of shape [{operator.size}], got {list(start.shape)}")
    if start is not None and not bool(start.isfinite().all()):
        raise ValueError("start: has numbers that are not finite")


class _Krylov:
    """An orthonormal basis V and the operator's projection V^T A V on it, grown by one product at a time."""

    def __init__(self, operator: Operator, vector: Tensor, most: int) -> None:
        self.operator, self.most, self.count, self.products = operator, most, 0, 0
        self.basis = vector.new_empty(most, operator.size)              # V^T
        self.projected = torch.zeros(most, most, dtype=torch.float64)
        self.next, self.beta, self.scale = vector / vector.norm(), 0.0, 0.0
        self.skew = 0.0                                                 # of the projection, until the first restart
        self.done = False                                               # the basis holds an invariant space

    @property
    def full(self) -> bool:
        return self.count == self.most

    @property
    def skewed(self) -> bool:
        return self.skew > SKEW * self.scale

    def search(self, trust: _Trust, most: int, symmetric: bool = False) -> bool:
        """Grow until the best pair is believed, or `most` products are made: whether it is believed.

        symmetric: it ends, too, where the projection is not, or the basis full
        """
        while True:
            self.grow()
            value, error, _ = self.judge()
            if trust(value, error, self.products) or self.done:
                return True
            if self.products >= most or (symmetric and (self.full or self.skewed)):
                return False
            if self.full:
                self.restart()

    def grow(self) -> None:
        self.basis[self.count] = self.next
        product = self.operator @ self.next
        self.products += 1
        if self.products == 1 and not bool(product.any()):
            raise FlatError(FLAT)
        whole = float(product.norm())
        self.scale = max(self.scale, whole)
        here = self.basis[: self.count + 1]
        row = here @ product
        product = torch.addmv(product, here.T, row, alpha=-1)
        if float(product.norm()) < CLEAN * whole:                       # rounding shows in what is left
            again = here @ product
            product, row = product.addmv_(here.T, again, alpha=-1), row + again
        column = row.double().cpu()
        if self.count:                                                  # what symmetry asks for is `beta`, after zeros
            self.skew = max(self.skew, abs(float(column[-2]) - self.beta), *column[:-2].abs().tolist())
        self.projected[self.count, : self.count + 1] = column
        self.projected[: self.count + 1, self.count] = column
        self.count += 1
        self.beta = float(product.norm())
        rounding = torch.finfo(product.dtype).eps * math.sqrt(self.operator.size)
        self.done = self.beta <= rounding * self.scale or self.count == self.operator.size
        self.next = product.div_(self.beta) if not self.done else self.next

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Ritz values, ascending, [count], and their vectors in the basis, [count, count]."""
        values, vectors = torch.linalg.eigh(self.projected[: self.count, : self.count])
        return values, vectors

    def judge(self) -> tuple[float, float, float]:
        """The largest Ritz value, the bound on its error and its residual."""
        values, vectors = self.pairs()
        residuals = self._residuals(vectors)
        value, residual = float(values[-1]), float(residuals[-1])
        return value, bound(values, residuals), residual

    def best(self) -> Eigenpair:
        value, error, residual = self.judge()
        return Eigenpair(value, self._largest(self.pairs()[1]), error, residual, self.products)

    def confirmed(self, operator: Operator, products: int) -> Eigenpair:
        """The best pair with what an exact product says of it: value, residual and, with the others' gaps, bound.

        products: that were made, with this one
        """
        values, vectors = self.pairs()
        vector = self._largest(vectors)
        vector /= vector.norm()
        product = operator @ vector
        value, residuals = float(vector @ product), self._residuals(vectors)
        values[-1], residuals[-1] = value, float(product.sub_(vector, alpha=value).norm())
        return Eigenpair(value, vector, bound(values, residuals), float(residuals[-1]), products)

    def _largest(self, vectors: Tensor) -> Tensor:
        """The best Ritz vector [size], of all in the basis."""
        return vectors[:, -1].to(self.basis) @ self.basis[: self.count]

    def _residuals(self, vectors: Tensor) -> Tensor:
        """Of every pair, [count], from their vectors in the basis."""
        return (0.0 if self.done else self.beta) * vectors[-1].abs()

    def restart(self) -> None:
        """Keep the best half of the Ritz vectors; the vector that comes next is orthogonal to them already."""
        values, vectors = self.pairs()
        kept = max(1, self.count // 2)
        best = vectors[:, -kept:].T.to(self.basis) @ self.basis[: self.count]
        self.basis[:kept] = best
        self.projected.zero_()
        self.projected[:kept, :kept] = torch.diag(values[-kept:])
        self.count = kept
