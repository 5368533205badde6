"""What is done to training pairs before a model sees them: noise, wrong translations, a filter, back-translation."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from omni.train.fleet.model import Shape, target_losses
from omni.train.fleet.pairs import CONTROLS, EOS, PAD, Corpus, Pairs
from omni.train.fleet.trainer import EVAL_ROWS, Member, Phase, Trained, train_fleet

TASK, REVERSE = "en-fr", "fr-en"
WRONG, KEPT = 0.25, 0.75                                                # of pairs; of pairs, by the filter
TRUSTED, BATCH = 500, 32                                                # the last pairs, which no pool has
STEPS, TUNING = 1000, 100                                               # of the models that help, and of their tuning


def noisy(pairs: Pairs, vocab: int, seed: int, share: float) -> Pairs:
    """Sources in which a share of tokens, but for the tag, are random pieces. A larger share hits the same and more."""
    random, source = np.random.default_rng(seed), pairs.source
    hit = (random.random(source.shape) < share) & (source != PAD)
    hit[:, 0] = False
    return Pairs(np.where(hit, random.integers(CONTROLS + 2, vocab, source.shape), source), pairs.target)


def misaligned(pairs: Pairs, seed: int) -> tuple[Pairs, NDArray[np.bool_]]:
    """All pairs but the trusted ones, of which one in four has the translation of another; and which those are."""
    random, target = np.random.default_rng(seed), pairs.target[:-TRUSTED].copy()
    hit = random.permutation(len(target))[: round(WRONG * len(target))]
    target[hit] = target[np.roll(hit, 1)]
    wrong = np.zeros(len(target), np.bool_)
    wrong[hit] = True
    return Pairs(pairs.source[:-TRUSTED], target), wrong


def filtered(corpus: Corpus, seed: int) -> tuple[Pairs, float]:
    """The best three quarters of the misaligned pool in their order, and the share of them that is wrong still.

    A pair's score is how much likelier, a token, a model finds its target once it has been tuned on trusted pairs: the
    contrast of Wang, Watanabe, Hughes, Nakagawa and Chelba 2018.
    """
    (pool, wrong), every = misaligned(corpus.train[TASK], seed), corpus.train[TASK]
    trusted = Pairs(every.source[-TRUSTED:], every.target[-TRUSTED:])
    shape = Shape(corpus.vocab, corpus.length, 32, 2, 128, "encdec")

    def trained(pairs: Pairs, phase: Phase, before: Trained | None = None) -> Trained:
        part, members = replace(corpus, train={TASK: pairs}, test={TASK: trusted}), [Member(2000 + seed, (phase,))]
        return train_fleet(shape, members, part, BATCH, begin=before.weights if before else None)

    base = trained(pool, Phase(STEPS, (1.0,), warmup=60))
    tuned = trained(trusted, Phase(TUNING, (1.0,), lr=1e-3, warmup=0, kind="constant"), base)
    score = pair_losses(base, pool) - pair_losses(tuned, pool)
    kept = np.sort(np.argsort(-score)[: round(KEPT * len(pool))])
    return Pairs(pool.source[kept], pool.target[kept]), float(wrong[kept].mean())


@torch.no_grad()
def pair_losses(done: Trained, pairs: Pairs) -> NDArray[np.float64]:
    """Mean loss of a target's tokens by a fleet's first member, in nats: [pairs]."""
    weights = {name: value[:1] for name, value in done.weights.items()}
    found = []
    for start in range(0, len(pairs), EVAL_ROWS):
        some = slice(start, start + EVAL_ROWS)
        source, target = (torch.from_numpy(side[some])[None] for side in (pairs.source, pairs.target))
        losses = target_losses(done.shape, weights, source, target)[0]  # [rows, length + 1]
        found.append((losses.sum(1) / (target[0, :, 1:] != PAD).sum(1)).double().numpy())
    return np.concatenate(found)


def back_translated(corpus: Corpus, seed: int, most: int) -> Pairs:
    """The first `most` training pairs, with the sources that a French-English model gives for their targets."""
    shape = Shape(corpus.vocab, corpus.length, 32, 2, 128)
    reverse = replace(corpus, train={REVERSE: corpus.train[REVERSE]}, test={REVERSE: corpus.test[REVERSE]})
    done = train_fleet(shape, [Member(1000 + seed, (Phase(STEPS, (1.0,), warmup=60),))], reverse, BATCH)
    tags = corpus.train[TASK].source[0, 0], corpus.train[REVERSE].source[0, 0]
    french = corpus.train[TASK].target[:most]
    asked = np.full((len(french), corpus.length + 1), PAD, np.int64)
    asked[:, 0], asked[:, 1:] = tags[1], np.where(french[:, 1:-1] == EOS, PAD, french[:, 1:-1])
    made = np.concatenate([done.translate(part)[0] for part in np.array_split(asked, 40)])
    source = np.full_like(asked, PAD)
    source[:, 0], source[:, 1:] = tags[0], np.where(made[:, 1:] == EOS, PAD, made[:, 1:])
    return Pairs(source, french)
