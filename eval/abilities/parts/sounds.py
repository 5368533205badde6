"""What a sound effect is the sound of: one of up to twenty kinds of things.

A class is the folder of a stamp, two deep (animals/birds, household/tools); those with the most training effects take
part. A class is named by captions of its training effects, so that nothing but trained words is compared: its score is
the mean of the likelihoods of up to two of them, each to the power of one over its tokens.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError
from omni.eval.abilities.scoring import Measure, Result, log_mean_exp, share
from omni.eval.abilities.subject import Question, Subject
from omni.train.data.items import Item

CLASSES = 20
NAMES = 2


def effects(subject: Subject) -> Result:
    """sound_accuracy, and sound_accuracy_free less what a class scores on average over the sounds."""
    (language,) = subject.spoken(["en"])
    names = _names(subject, language)
    heard = [item for item in _with_effect(subject.items("stamps")) if folder(item) in names]
    items, classes = subject.some(heard, "sounds"), list(names)
    scores = np.stack([_scores(subject, item, names, language) for item in items])  # [sound, class]
    own = [classes.index(folder(item)) for item in items]
    result = Result({
        "sound_accuracy": _right(scores, own),
        "sound_accuracy_free": _right(scores - scores.mean(axis=0, keepdims=True), own),
    })
    for item, row in zip(items, scores, strict=True):
        asked = f"the sound of {item.id}"
        result.examples.append({"asked": asked, "answered": classes[row.argmax()], "wanted": folder(item)})
    return result


def folder(item: Item) -> str:
    """animals/mammals of stamps/animals/mammals/bovines/cow."""
    return "/".join(item.id.split("/")[1:-1][:2])


def _names(subject: Subject, language: str) -> dict[str, list[str]]:
    """Captions that name each of the classes with the most training effects."""
    found: dict[str, list[str]] = defaultdict(list)
    for item in _with_effect(subject.manifest.of(split="train", source="stamps")):
        if language in item.texts:
            found[folder(item)].append(item.texts[language])
    most = sorted(found, key=lambda name: (-len(found[name]), name))[:CLASSES]
    if len(most) < 2:
        raise InputError("the data have sound effects of fewer than two kinds of things")
    return {name: subject.some(sorted(set(found[name])), f"sounds/{name}", NAMES) for name in most}


def _with_effect(items: list[Item]) -> list[Item]:
    return [item for item in items if any(one.kind == "effect" for one in item.recordings)]


def _scores(subject: Subject, item: Item, names: dict[str, list[str]], language: str) -> NDArray[np.float64]:
    effect = next(one for one in item.recordings if one.kind == "effect")
    captions = [caption for some in names.values() for caption in some]
    likelihoods = subject.likelihoods(Question((subject.sound(effect),), language), captions)
    ends = np.cumsum([len(some) for some in names.values()])[:-1]
    return np.array([log_mean_exp(some) for some in np.split(likelihoods, ends)])


def _right(scores: NDArray[np.float64], own: list[int]) -> Measure:
    return share([bool(row.argmax() == right) for row, right in zip(scores, own, strict=True)], 1 / scores.shape[1])
