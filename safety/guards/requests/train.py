"""How the text guard learns from requests: `python -m omni.safety.guards.requests.train` writes its weights.

What is asked in asked/ is read as English, that of English a second time as a weak ear writes it down, and some of it
as nonsense, which asks for nothing. How much the network is held back, and from which odds on a text is stopped, is
chosen by cross-validation on these requests alone.
The policy's own requests and their translations are the test: what is near to one of them is not learned from.
"""

import argparse
import random
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from torch import nn

from omni.progress import progress
from omni.safety.guards.requests.corpus import FOLDS, Request, checksum, requests
from omni.safety.guards.requests.fitting import (
    DROPOUTS,
    NETWORKS,
    Integers,
    Vectors,
    encoded,
    far,
    fitted,
    together,
)
from omni.safety.guards.requests.language import BUCKETS, KNOWN, WORDS, in_english, letters
from omni.safety.guards.requests.learned import FILE, Learned, features
from omni.safety.guards.requests.misspelt import misspelt, nonsense
from omni.safety.policy import OTHERS, policy, translations
from omni.train.data.engines import one_thread

UNREAD = 4                                                              # of so many requests one is read as nonsense
SMOOTH = 1e-5                                                           # weight decay of telling languages apart


def held_out(language: str) -> list[str]:
    """The requests of the policy in a language, which the guard is tested on."""
    own = [request for category in policy() for pair in category.pairs for request in pair]
    return own if language == "en" else [translations(language)[request] for request in own]


def apart(found: Sequence[Request], means: Vectors) -> NDArray[np.bool_]:
    """Which of these are no copy and no near paraphrase of a request that is held out."""
    return far([(one.text, one.language) for one in found], means, {one: held_out(one) for one in KNOWN}, in_english)


def train() -> Learned:
    """All of it, and a line on what cross-validation found."""
    found = list(requests())
    means = encoded([one.english for one in found])
    kept = apart(found, means)
    found, means = [one for one, stays in zip(found, kept, strict=True) if stays], means[kept]
    chance = random.Random("misspelt")
    english = [one for one in found if one.language == "en"]
    spoilt = [replace(one, text=misspelt(one.text, chance)) for one in english]
    spoilt += [replace(one, text=nonsense(one.text, chance), refused=False) for one in english[::UNREAD]]
    centre = means.mean(axis=0)
    inputs = features(np.concatenate((means, encoded([one.text for one in spoilt]))), centre)
    categories = tuple(category.key for category in policy() if category.action == "refuse")
    everything = [*found, *spoilt]
    targets = np.array([1 + categories.index(one.category) if one.refused else 0 for one in everything])
    dropout, threshold = _chosen(inputs, targets, np.array([one.fold for one in everything]), len(found))
    left = int((~kept).sum())
    print(f"{len(found)} requests, {left} too near to a test; dropout {dropout}, odds from {threshold:+.2f}")
    weights = together([fitted(inputs, targets, dropout, seed) for seed in range(NETWORKS)])
    weights["outer_bias"][0] += threshold
    return Learned(categories, checksum(), {**weights, "centre": centre, "languages": _languages(everything)})


def _chosen(inputs: Vectors, targets: Integers, folds: Integers, measured: int) -> tuple[float, float]:
    """The dropout of the least loss on what was not trained on, and the odds that are as good as even there.

    measured: so many, the first, are; requests that were spoilt are only trained on
    """
    sign = np.where(targets[:measured] > 0, 1.0, -1.0)
    best, chosen, threshold = np.inf, 0.0, 0.0
    for dropout in DROPOUTS:
        odds = np.zeros(measured)
        for fold in progress(range(FOLDS), f"dropout {dropout}", unit="fold"):
            network = fitted(inputs[folds != fold], targets[folds != fold], dropout, 0)
            tested = np.flatnonzero(folds[:measured] == fold)
            odds[tested] = _odds(network, inputs[tested])
        found = minimize(_loss, np.zeros(1), (odds, sign), method="L-BFGS-B")
        print(f"dropout {dropout}: loss {found.fun:.3f}, right {(sign * (odds - found.x[0]) > 0).mean():.3f}")
        if found.fun < best:
            best, chosen, threshold = found.fun, dropout, float(found.x[0])
    return chosen, threshold


def _loss(threshold: NDArray[np.float64], odds: NDArray[np.float64], sign: NDArray[np.float64]) -> float:
    """The logistic loss of odds from a threshold on."""
    return float(np.logaddexp(0, sign * (threshold[0] - odds)).mean())


@torch.inference_mode()
def _odds(network: nn.Sequential, inputs: Vectors) -> NDArray[np.float64]:
    """Log odds that a text is to be refused."""
    out = network(torch.from_numpy(inputs)).double().numpy()
    return np.asarray(logsumexp(out[:, 1:], axis=1) - out[:, 0])


def _languages(found: Sequence[Request]) -> Vectors:
    """Weights and bias [BUCKETS + 1, languages] of a logistic regression, in which all languages weigh the same."""
    known = [(one.text, KNOWN.index(one.language)) for one in found] + _dictionary()
    inputs, owner = letters([text for text, _ in known]), np.array([which for _, which in known])
    weight = 1 / np.bincount(owner)[owner] / len(KNOWN)
    wanted = np.eye(len(KNOWN))[owner]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        table = flat.reshape(BUCKETS + 1, len(KNOWN))
        scores = inputs @ table[:-1] + table[-1]
        log = scores - logsumexp(scores, axis=1, keepdims=True)
        slope = (np.exp(log) - wanted) * weight[:, None]
        gradient = np.concatenate((inputs.T @ slope + 2 * SMOOTH * table[:-1], slope.sum(axis=0, keepdims=True)))
        value = SMOOTH * float((table[:-1] ** 2).sum()) - float((weight * (log * wanted).sum(axis=1)).sum())
        return value, gradient.ravel()

    start, until = np.zeros((BUCKETS + 1) * len(KNOWN)), {"maxiter": 60}
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options=until).x
    return np.asarray(best, np.float32).reshape(BUCKETS + 1, len(KNOWN))


def _dictionary() -> list[tuple[str, int]]:
    """The rows of words/ as texts of two languages."""
    rows = []
    for language in OTHERS:
        table = tomllib.loads((WORDS / f"{language}.toml").read_text(encoding="utf-8"))["words"]
        for row in table.strip().splitlines():
            meaning, forms = row.split(": ")
            rows += [(meaning, 0), (forms.replace("-", ""), KNOWN.index(language))]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m omni.safety.guards.requests.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=FILE, help="default: the file that the guard reads")
    args = parser.parse_args()
    with one_thread():
        train().save(args.out)
    print(f"learned: {args.out}")


if __name__ == "__main__":
    main()
