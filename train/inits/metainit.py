"""MetaInit: norms of weights for which the loss bends little along its gradient (Dauphin and Schoenholz 2019)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

EPS = 1e-5


def gradient_quotient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The mean of |(g - H g) / g - 1|: how much a gradient step of length one changes the gradient g itself.

    Zero for a linear loss. Differentiable.
    """
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    half = sum((one.square().sum() / 2 for one in gradient), torch.zeros(()))
    product = torch.autograd.grad(half, parameters, create_graph=True)  # H g
    pairs = zip(gradient, product, strict=True)
    each = [((g - p) / (g + EPS * (2 * (g >= 0) - 1)) - 1).abs().sum() for g, p in pairs]
    return torch.stack(each).sum() / sum(parameter.numel() for parameter in parameters)


def metainit(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], steps: int = 500, lr: float = 0.1, momentum: float = 0.9
) -> float:
    """Change the norms of matrices, in place, by signed descent on the gradient quotient. Returns the last quotient.

    loss: of a batch, drawn anew at each call; noise for inputs and labels will do (section 4). It must allow three
    derivatives: within omni.model.twice.twice_differentiable() those of an omni model do.
    """
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    speed = [0.0] * len(matrices)
    quotient = torch.zeros(())
    for _ in range(steps):
        quotient = gradient_quotient(loss(), parameters)
        slopes = torch.autograd.grad(quotient, matrices)
        with torch.no_grad():
            for at, (matrix, slope) in enumerate(zip(matrices, slopes, strict=True)):
                norm = float(matrix.norm())
                if not norm:                                            # nothing to scale
                    continue
                speed[at] = momentum * speed[at] - lr * float(torch.sign((matrix * slope).sum()))
                matrix.mul_(max(norm + speed[at], 0.01 * norm) / norm)
    return float(quotient.detach())
