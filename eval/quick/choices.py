"""Forced choice: does the model give the right answer more likelihood than the answers of other items?

For a group of examples alike in kind and language, S[x, y] is the log-likelihood of answer y given prompt x. The
model's choice for x is the y that gains most over its mean likelihood under the group's prompts, so that an answer that
is likely everywhere (a short or a frequent one) has no advantage. Chance is one in the size of the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from omni.decode.score import log_likelihoods
from omni.eval.quick.examples import Example, Neighbours
from omni.eval.statistics import wilson
from omni.model.transformer import OmniTransformer
from omni.sequence import Sequence as Stream
from omni.train.tasks.codes import Codes
from omni.vocab import Vocabulary


@dataclass(frozen=True)
class ChoiceScore:
    """Accuracy in 0..1 of model and nearest neighbour over `n` held-out examples with `size` choices each."""

    accuracy: float
    low: float
    high: float
    neighbour: float | None
    n: int
    size: int

    @property
    def chance(self) -> float:
        return 1 / self.size

    @property
    def above_chance(self) -> bool:
        return self.low > self.chance

    @property
    def above_neighbour(self) -> bool:
        return self.neighbour is None or self.low > self.neighbour


def forced_choice(
    model: OmniTransformer,
    vocab: Vocabulary,
    codes: Codes,
    groups: Sequence[Sequence[Example]],
    neighbours: Neighbours,
) -> ChoiceScore | None:
    """Score groups of equal size; None when there are none."""
    if not groups:
        return None
    right = guessed = 0
    for group in groups:
        right += int((choose(model, vocab, codes, group) == np.arange(len(group))).sum())
        guessed += sum(neighbours.choose(example, group) == index for index, example in enumerate(group))
    n, size = sum(map(len, groups)), len(groups[0])
    has_neighbour = any(neighbours.nearest(example) for group in groups for example in group)
    low, high = wilson(right, n)
    return ChoiceScore(right / n, low, high, guessed / n if has_neighbour else None, n, size)


def choose(model: OmniTransformer, vocab: Vocabulary, codes: Codes, group: Sequence[Example]) -> np.ndarray:
    """Index of the chosen answer for every prompt of the group: [size]."""
    given = [codes.segment(example.item, example.given, "user") for example in group]
    wanted = [codes.answer(example.item, example.given, example.wanted) for example in group]
    streams = [Stream.of([x, y], vocab) for x in given for y in wanted]
    scores = log_likelihoods(model, streams).reshape(len(group), len(group))  # [prompt, answer]
    return (scores - scores.mean(axis=0, keepdims=True)).argmax(axis=1)
