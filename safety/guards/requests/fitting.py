"""How what is read as English by the encoder is learned: a small network, and how near two texts are to each other.

The text guard learns so from requests (train.py), and the suites' grader from how answers begin.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from omni.progress import progress
from omni.safety.guards.requests.encoder import LAYERS, WIDTH, encode, unit
from omni.safety.guards.requests.language import words

DROPOUTS = (0.3, 0.4, 0.5)                                              # tried by it
NETWORKS, HIDDEN = 3, 64                                                # whose odds are averaged, and units of each
EPOCHS, BATCH, RATE, DECAY = 15, 64, 2e-3, 0.1                          # of AdamW (Loshchilov and Hutter 2019)
NEAR = 0.85                                                             # cosine, as English, of what is one request
NEAR_LETTERS = 0.5                                                      # the same of letters, three at a time
PART = 64                                                               # texts that are encoded at once
Vectors = NDArray[np.float32]
Integers = NDArray[np.int64]


def alike(one: str, other: str) -> float:
    """How many runs of three letters two texts share, of all that they have (Jaccard)."""
    mine, its = _threes(one), _threes(other)
    return len(mine & its) / len(mine | its)


def far(
    found: Sequence[tuple[str, str]], means: Vectors, tests: Mapping[str, Sequence[str]],
    read: Callable[[str, str], str],
) -> NDArray[np.bool_]:  # fmt: skip
    """Which texts are no copy and no near paraphrase of a test: [texts].

    found: texts and their languages; means: of these, as English; tests: by language; read: a text of a language as
    English
    """
    known = encoded([read(text, language) for language, texts in tests.items() for text in texts])
    near = (unit(means[:, -1]) @ unit(known[:, -1]).T).max(axis=1)      # [texts]
    return np.array([
        cosine <= NEAR and all(alike(text, test) <= NEAR_LETTERS for test in tests[language])
        for (text, language), cosine in zip(found, near, strict=True)
    ])  # fmt: skip


def fitted(inputs: Vectors, targets: Integers, dropout: float, seed: int, epochs: int = EPOCHS) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Dropout(dropout), nn.Linear(len(LAYERS) * WIDTH, HIDDEN), nn.GELU(), nn.Dropout(dropout),
                            nn.Linear(HIDDEN, 1 + len(set(targets.tolist()) - {0})))  # fmt: skip
    x, y = torch.from_numpy(inputs), torch.from_numpy(targets)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(x) // BATCH))
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(BATCH):
            loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def together(networks: Sequence[nn.Sequential]) -> dict[str, Vectors]:
    """Networks side by side as one, whose odds are the mean of theirs."""
    def of(layer: int, name: str) -> list[Vectors]:
        return [getattr(network[layer], name).detach().numpy().T for network in networks]

    return {
        "inner": np.concatenate(of(1, "weight"), axis=1), "inner_bias": np.concatenate(of(1, "bias")),
        "outer": np.concatenate(of(4, "weight")) / len(networks), "outer_bias": np.mean(of(4, "bias"), axis=0),
    }  # fmt: skip


def encoded(texts: Sequence[str]) -> Vectors:
    """The encoder's means of many texts, those of like length together: [texts, layers, WIDTH]."""
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    means = np.zeros((len(texts), len(LAYERS), WIDTH), np.float32)
    for start in progress(range(0, len(texts), PART), "reading", unit="part"):
        part = order[start : start + PART]
        means[part] = encode([texts[at] for at in part])
    return means


@cache
def _threes(text: str) -> frozenset[str]:
    plain = f" {' '.join(words(text))} "
    return frozenset(plain[at : at + 3] for at in range(len(plain) - 2))
