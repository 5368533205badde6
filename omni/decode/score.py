"""How likely a model finds an answer: the sum of the log-probabilities of its steps, given what stands before it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from omni.model.transformer import Batch, OmniTransformer
from omni.sequence import Sequence as Stream

BATCH_STEPS = 4096                                                      # padded steps computed at once


@torch.inference_mode()
def log_likelihoods(model: OmniTransformer, streams: Sequence[Stream]) -> NDArray[np.float64]:
    """Log-likelihood of the steps with loss of each stream: [streams], in nats."""
    scores = np.zeros(len(streams))
    for group in _groups([len(stream) for stream in streams]):
        losses = model(side_by_side([streams[index] for index in group]).to(model.table.device))
        sums = torch.zeros(len(group), dtype=torch.float64, device=losses.row.device)
        scores[group] = -sums.index_add_(0, losses.row, losses.each.double()).cpu().numpy()
    return scores


def side_by_side(streams: Sequence[Stream]) -> Batch:
    """One stream a row, padded behind: ids [streams, longest, channels] and what goes with them."""
    longest = max(map(len, streams))
    ids = torch.zeros(len(streams), longest, streams[0].ids.shape[1], dtype=torch.long)
    loss = torch.zeros(len(streams), longest, dtype=torch.bool)
    document, prefix = torch.zeros(len(streams), longest, dtype=torch.long), torch.zeros_like(loss)
    for row, stream in enumerate(streams):
        ids[row, : len(stream)] = torch.from_numpy(stream.ids)
        loss[row, : len(stream)] = torch.from_numpy(stream.loss)
        document[row, : len(stream)] = 1
        prefix[row, : stream.prefix] = True
    return Batch(ids, loss, document, prefix)


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in order of length, in groups of at most BATCH_STEPS after padding (or of one)."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if group and lengths[index] * (len(group) + 1) > BATCH_STEPS:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
