"""Learning from what another model thinks of every trained step (Hinton, Vinyals and Dean 2015)."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from omni.model.loss import CHUNK

if TYPE_CHECKING:
    from omni.model.transformer import Batch, OmniTransformer


@dataclass(frozen=True)
class Teacher:
    """A model over the same ids, and which share of the loss is the cross-entropy with its probabilities.

    It is no module of the one that it teaches, so that it is neither trained nor saved.
    """

    model: "OmniTransformer"
    weight: float

    def mixed(
        self, total: Tensor, batch: "Batch", index: Tensor, states: Tensor, table: Tensor, counts: Tensor
    ) -> Tensor:
        """The summed loss of steps, where `total` is that with their targets.

        index: [n] where the states lie that predict them, in the flat batch; states: [n, d_model] of the model that
        learns; table: its output weights [vocab, d_model]; counts: [n] how much a step counts
        """
        with torch.no_grad():
            theirs = self.model.states_at(replace(batch, reading=None), index)[0]
        soft, rows = total.new_zeros(()), CHUNK["cuda" if states.is_cuda else "cpu"]
        for parts in zip(states.split(rows), theirs.split(rows), counts.split(rows), strict=True):
            soft = soft + checkpoint(_soft, table, self.model.table, *parts, use_reentrant=False)
        return (1 - self.weight) * total + self.weight * soft


def _soft(table: Tensor, their_table: Tensor, states: Tensor, theirs: Tensor, counts: Tensor) -> Tensor:
    """Summed cross-entropy with the probabilities after `theirs`, in float32."""
    probabilities = (theirs @ their_table.T).float().softmax(dim=-1)    # [rows, vocab]
    logs = (states @ table.T).float().log_softmax(dim=-1)
    return -((probabilities * logs).sum(dim=-1) * counts).sum()
