"""MetaInit: norms of weights for which the loss bends little along its gradient (Dauphin and Schoenholz 2019)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from omni.errors import InputError
from omni.train.inits.checked import check_finite, checked

EPS = 1e-5


def gradient_quotient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The mean of |(g - H g) / g - 1|: how much a gradient step of length one changes the gradient g itself.

    Zero for a linear loss. Differentiable. Parameters that the loss does not use are passed over. Raises InputError for
    a loss that is not one finite number or uses none of them.
    """
    loss = checked(loss, "metainit")
    found = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
    used = [(parameter, one) for parameter, one in zip(parameters, found, strict=True) if one is not None]
    if not used:
        raise InputError("metainit: the loss uses none of the parameters")
    parameters, gradient = zip(*used, strict=True)
    half = torch.stack([one.square().sum() / 2 for one in gradient]).sum()
    if half.requires_grad:
        product = torch.autograd.grad(half, parameters, create_graph=True, materialize_grads=True)  # H g
    else:                                                               # a linear loss
        product = tuple(map(torch.zeros_like, gradient))
    pairs = zip(gradient, product, strict=True)
    each = [((g - p) / (g + EPS * (2 * (g >= 0) - 1)) - 1).abs().sum() for g, p in pairs]
    return torch.stack(each).sum() / sum(parameter.numel() for parameter in parameters)


def metainit(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], steps: int = 500, lr: float = 0.1, momentum: float = 0.9
) -> float:
    """Change the norms of matrices, in place, by signed descent on the gradient quotient. Returns the last quotient.

    loss: of a batch, drawn anew at each call; noise for inputs and labels will do (section 4). It must allow three
    derivatives: within omni.model.twice.twice_differentiable() those of an omni model do. Where something goes wrong,
    the matrices are as they were. Raises InputError where the loss or the quotient is not one finite number.
    """
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    before = [matrix.detach().clone() for matrix in matrices]
    try:
        return _descend(loss, parameters, matrices, steps, lr, momentum)
    except BaseException:
        with torch.no_grad():
            for matrix, one in zip(matrices, before, strict=True):
                matrix.copy_(one)
        raise


def _descend(
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    matrices: Sequence[Tensor],
    steps: int,
    lr: float,
    momentum: float,
) -> float:
    speed, found = [0.0] * len(matrices), 0.0
    for _ in range(steps):
        quotient = gradient_quotient(loss(), parameters)
        slopes: Sequence[Tensor] = ()
        if quotient.requires_grad and matrices:
            slopes = torch.autograd.grad(quotient, matrices, materialize_grads=True)
        check_finite(torch.stack([quotient, *(slope.sum() for slope in slopes)]), "metainit")
        with torch.no_grad():
            for at, (matrix, slope) in enumerate(zip(matrices, slopes, strict=bool(slopes))):
                norm = float(matrix.norm())
                if not norm:                                            # nothing to scale
                    continue
                speed[at] = momentum * speed[at] - lr * float(torch.sign((matrix * slope).sum()))
                matrix.mul_(max(norm + speed[at], 0.01 * norm) / norm)
        found = float(quotient.detach())
    return found
