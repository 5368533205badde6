"""Which of ten texts was said? What a model gives each text after a recording, and a recording after each text."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from omni.sequence import Sequence as Stream
from omni.train.studies.rates.documents import HEARING, Writer
from omni.train.studies.rates.sample import TEXTS

if TYPE_CHECKING:
    from omni.model.transformer import OmniTransformer


def likelihoods(
    model: "OmniTransformer", writer: Writer, task: str, texts: Sequence[str], codes: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Log p in nats of what a task trains, for every recording with every text of its group:
    [groups, recordings, texts]."""
    rows = [
        [writer.document(task, text, codes[group + place]) for text in texts[group : group + TEXTS]]
        for group in range(0, len(texts), TEXTS)
        for place in range(TEXTS)
    ]
    return np.array([_log_likelihoods(model, row) for row in rows]).reshape(-1, TEXTS, TEXTS)


@torch.no_grad()
def _log_likelihoods(model: "OmniTransformer", streams: Sequence[Stream]) -> NDArray[np.float64]:
    """Of the trained steps of each stream, [streams], all in one row."""
    from omni.model.transformer import Batch

    ids = torch.from_numpy(np.concatenate([one.ids for one in streams]))
    loss = torch.from_numpy(np.concatenate([one.loss for one in streams]))
    lengths = torch.tensor([len(one) for one in streams])
    document = torch.repeat_interleave(torch.arange(1, len(streams) + 1), lengths)
    batch = Batch(ids[None], loss[None], document[None], torch.zeros_like(loss)[None])
    each = model(batch).each.double()                                   # of trained steps, from left to right
    total = torch.zeros(len(streams), dtype=torch.float64)
    return -total.index_add_(0, document[loss] - 1, each).numpy()


def told_apart(likelihoods: NDArray[np.float64], task: str) -> dict[str, list[float]]:
    """Of each recording, how surely a model picks its own text among the group's; a text that it gives every recording
    is no evidence, so hearing's likelihoods count from their mean over the recordings.

    right: 1 where its own text is the likeliest, else 0; nats: ln TEXTS plus the log of the share that its own text has
    of all, 0 for a guess and at most ln TEXTS (van den Oord et al. 2018: the mean bounds what a code tells of its text)
    """
    evidence = likelihoods - likelihoods.mean(axis=1, keepdims=True) if task == HEARING else likelihoods
    share = evidence - np.logaddexp.reduce(evidence, axis=2, keepdims=True)
    own = np.diagonal(share, axis1=1, axis2=2)                          # [groups, recordings]
    right = evidence.argmax(axis=2) == np.arange(TEXTS)
    return {"right": right.ravel().astype(float).tolist(), "nats": (math.log(TEXTS) + own).ravel().tolist()}
