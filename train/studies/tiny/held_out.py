"""Losses of whole documents, in nats, so that ways to cut them into steps can be compared."""

from collections.abc import Callable

import numpy as np
import torch

from omni.model.transformer import Batch, Losses
from omni.train.data.loader import Dataset
from omni.train.data.pack import Packed, batch_of


def nats_of_documents(forward: Callable[[Batch], Losses], data: Dataset) -> dict[str, list[float]]:
    """Nats of everything that is trained in each document of each task, in the documents' order in its shard."""
    return {part.shard.task: _of_shard(forward, part).tolist() for part in data.parts}


@torch.no_grad()
def _of_shard(forward: Callable[[Batch], Losses], part: Packed) -> np.ndarray:
    nats = np.zeros(len(part.shard))                                    # [documents]
    for row in range(len(part)):
        batch = batch_of([(part, row)])
        each = forward(batch).each                                      # of trained steps, from left to right
        number = batch.document[batch.loss].numpy() - 1                 # [trained] of the row's documents
        documents = part.order[part.starts[row] : part.starts[row + 1]]
        np.add.at(nats, documents[number], each.double().numpy())
    return nats
