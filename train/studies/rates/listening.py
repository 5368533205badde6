"""Which of ten texts was said? What a model gives each text after a recording, and a recording after each text."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omni.train.studies.rates.documents import HEARING, Writer
from omni.train.studies.rates.sample import TEXTS

if TYPE_CHECKING:
    from omni.model.transformer import OmniTransformer


def likelihoods(
    model: "OmniTransformer", writer: Writer, task: str, texts: Sequence[str], codes: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Log p in nats of what a task trains, for every recording with every text of its group:
    [groups, recordings, texts]."""
    from omni.decode.score import log_likelihoods

    streams = [
        writer.document(task, text, codes[group + place])
        for group in range(0, len(texts), TEXTS)
        for place in range(TEXTS)
        for text in texts[group : group + TEXTS]
    ]
    return log_likelihoods(model, streams).reshape(-1, TEXTS, TEXTS)


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
