"""Cross-entropy and z-loss straight from hidden states, without keeping the logits."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from omni.model.twice import once, wanted_twice

CHUNK = {"cpu": 512, "cuda": 8192}                                      # rows of logits alive at a time


class _LinearCrossEntropy(torch.autograd.Function):
    """Forward computes the gradients too, chunk by chunk, so that logits are never stored or computed twice."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
        rows, table = hidden.shape[0], weight.to(hidden.dtype)          # under autocast alone they differ
        chunk = CHUNK["cpu" if hidden.device.type == "cpu" else "cuda"]
        losses = hidden.new_empty(rows, dtype=torch.float32)
        penalty = hidden.new_zeros((), dtype=torch.float32)
        needs_grad = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        grad_hidden = torch.empty_like(hidden) if needs_grad else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None  # not of a frozen table
        for start in range(0, rows, chunk):
            part = slice(start, start + chunk)
            logits = (hidden[part] @ table.T).float()                   # [chunk, vocab]
            target = targets[part, None]
            hit, most = logits.gather(1, target), logits.amax(dim=-1, keepdim=True)
            exponentials = logits.sub_(most).exp_()                     # in place, and computed once for both uses
            sums = exponentials.sum(dim=-1, keepdim=True)               # [chunk, 1]
            partition = sums.log() + most                               # log(Z), [chunk, 1]
            losses[part] = (partition - hit).squeeze(1)
            penalty += z_loss * partition.square().sum()
            if grad_hidden is not None:
                grad = exponentials.mul_((1 + 2 * z_loss * partition) / sums)
                grad.scatter_add_(1, target, grad.new_full(target.shape, -1.0))
                grad = grad.to(hidden.dtype)
                torch.mm(grad, table, out=grad_hidden[part])
                if grad_weight is not None and table is weight:
                    grad_weight.addmm_(grad.T, hidden[part])
                elif grad_weight is not None:
                    grad_weight += grad.T @ hidden[part]
        if needs_grad:
            ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.mark_non_differentiable(losses)
        return losses.sum() + penalty, losses

    @staticmethod
    @once
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grad_total, None if grad_weight is None else grad_weight * grad_total, None, None


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """Summed loss of `softmax(hidden @ weight.T)` against `targets`, plus z_loss * log(Z)^2 (Chowdhery et al. 2022).

    hidden: [rows, d_model], weight: [vocab, d_model], targets: [rows] long.
    Returns the differentiable total, and each row's cross-entropy [rows] float32 without gradient.
    """
    if wanted_twice():
        return _by_autograd(hidden, weight, targets, z_loss)
    if not torch.is_grad_enabled():                                     # which `forward` cannot see
        hidden, weight = hidden.detach(), weight.detach()
    total, losses = _LinearCrossEntropy.apply(hidden, weight, targets, z_loss)
    return total, losses


def _by_autograd(hidden: Tensor, weight: Tensor, targets: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """The same with logits kept, so that the gradient has a derivative too."""
    logits = hidden @ weight.T                                          # [rows, vocab]
    logits = logits if logits.dtype == torch.float64 else logits.float()
    losses = F.cross_entropy(logits, targets, reduction="none")
    return losses.sum() + z_loss * logits.logsumexp(dim=-1).square().sum(), losses.detach()
