"""Who may see whom: causal, visible prefix, and documents packed side by side."""

import torch
from torch import Tensor


def packed_mask(document: Tensor, prefix: Tensor | None = None) -> Tensor:
    """Attention mask of packed rows.

    document: [batch, steps] int, number of the document a step belongs to; 0 is padding, which sees only itself
    prefix:   [batch, steps] bool, steps of a document's fully visible prompt, or None for a purely causal model
    Returns [batch, 1, steps, steps] bool, true where the query (third axis) sees the key (fourth).
    """
    steps = document.shape[1]
    position = torch.arange(steps, device=document.device)
    sees = position[:, None] >= position[None, :]                       # [steps, steps]
    if prefix is not None:
        sees = sees | (prefix[:, :, None] & prefix[:, None, :])         # [batch, steps, steps]
    same = (document[:, :, None] == document[:, None, :]) & (document[:, :, None] > 0)
    alone = torch.eye(steps, dtype=torch.bool, device=document.device)
    return ((sees & same) | alone)[:, None]


def positions_in(document: Tensor) -> Tensor:
    """Position of every step within its document: [batch, steps] to [batch, steps], each document starting at 0."""
    index = torch.arange(document.shape[1], device=document.device).expand_as(document)
    starts = torch.ones_like(document, dtype=torch.bool)
    starts[:, 1:] = document[:, 1:] != document[:, :-1]
    return index - torch.where(starts, index, 0).cummax(dim=1).values
