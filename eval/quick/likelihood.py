"""How likely a model finds an answer: the sum of log-probabilities of its steps given the prompt."""

from collections.abc import Sequence

import numpy as np
import torch

from omni.model.transformer import Batch, OmniTransformer
from omni.sequence import Sequence as Stream

BATCH_STEPS = 4096


@torch.inference_mode()
def log_likelihoods(model: OmniTransformer, streams: Sequence[Stream]) -> np.ndarray:
    """Log-likelihood of the trained steps of each stream: [streams] float64, in nats."""
    order = sorted(range(len(streams)), key=lambda index: len(streams[index]))
    scores = np.zeros(len(streams))
    for group in _groups(order, [len(stream) for stream in streams]):
        losses = model(pad([streams[index] for index in group]))
        sums = torch.zeros(len(group), dtype=torch.float64).index_add_(0, losses.row, losses.each.double())
        scores[group] = -sums.numpy()
    return scores


def pad(streams: Sequence[Stream]) -> Batch:
    """One stream a row: ids [batch, longest, channels] and what goes with them."""
    longest = max(map(len, streams))
    channels = streams[0].ids.shape[1]
    ids = torch.zeros(len(streams), longest, channels, dtype=torch.long)
    loss = torch.zeros(len(streams), longest, dtype=torch.bool)
    document = torch.zeros(len(streams), longest, dtype=torch.long)
    prefix = torch.zeros(len(streams), longest, dtype=torch.bool)
    for row, stream in enumerate(streams):
        ids[row, : len(stream)] = torch.from_numpy(stream.ids)
        loss[row, : len(stream)] = torch.from_numpy(stream.loss)
        document[row, : len(stream)] = 1
        prefix[row, : stream.prefix] = True
    return Batch(ids, loss, document, prefix)


def _groups(order: list[int], lengths: list[int]) -> list[list[int]]:
    """Indices sorted by length, in groups of at most BATCH_STEPS after padding."""
    groups: list[list[int]] = [[]]
    for index in order:
        if groups[-1] and lengths[index] * (len(groups[-1]) + 1) > BATCH_STEPS:
            groups.append([])
        groups[-1].append(index)
    return [group for group in groups if group]
