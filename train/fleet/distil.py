"""Training a fleet on what another, already trained, thinks of every step (Hinton, Vinyals and Dean 2015)."""

import torch
from torch import Tensor

from omni.train.fleet.model import Shape, Weights, states_of
from omni.train.fleet.pairs import PAD
from omni.train.fleet.trainer import Objective, Trained


def distilled(shape: Shape, teacher: Trained, share: float = 0.5) -> Objective:
    """The loss of a fleet of `shape` whose members each learn from the teacher's member of the same number.

    share: of the cross-entropy with the teacher's probabilities; the rest is that with the targets themselves.
    """

    def loss(weights: Weights, source: Tensor, target: Tensor) -> Tensor:
        real = target[:, :, 1:] != PAD                                  # [members, rows, length + 1]
        with torch.no_grad():
            soft = _scores(teacher.shape, teacher.weights, source, target).softmax(dim=-1)
        logs = _scores(shape, weights, source, target).log_softmax(dim=-1)  # [members, rows, length + 1, vocab]
        hard = logs.gather(-1, target[:, :, 1:, None]).squeeze(-1)
        each = -share * (soft * logs).sum(dim=-1) - (1 - share) * hard
        return (each * real).sum((1, 2)) / real.sum((1, 2))

    return loss


def _scores(shape: Shape, weights: Weights, source: Tensor, target: Tensor) -> Tensor:
    states = states_of(shape, weights, source, target[:, :, :-1])
    return torch.bmm(states.flatten(1, 2), weights["embed"].transpose(1, 2)).unflatten(1, states.shape[1:3])
