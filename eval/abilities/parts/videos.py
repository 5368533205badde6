"""A stamp moves across four frames: where to, among four ways, and what, among ten captions.

Half of the limit is asked of either kind: a video is a long prompt, and every choice reads it again.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from omni.decode.parts import Text, Video
from omni.eval.abilities.scoring import Measure, Result, chosen, share
from omni.eval.abilities.subject import Question, Subject
from omni.tokenizers.image.pixels import to_pixels, write_picture
from omni.train.data.items import Item
from omni.train.tasks.video import DIRECTIONS, WHERE, WHICH, moving


def moves(subject: Subject) -> Result:
    """video_accuracy, the mean of video_where and video_what, which weigh the same."""
    where, what = _where(subject), _what(subject)
    result = Result({"video_where": where[0], "video_what": what[0]}, [*where[1], *what[1]])
    result.measures = {"video_accuracy": _mean(where[0], what[0]), **result.measures}
    return result


def _where(subject: Subject) -> tuple[Measure, list[dict[str, str]]]:
    languages = subject.spoken(tuple(WHERE))
    stamps = [item for item in subject.items("stamps") if item.pictures]
    right, examples = [], []
    for item in subject.some(stamps, "video/where", most=subject.limit // 2):
        draw = subject.draw(f"video/where/{item.id}")
        language, motion = draw.choice(languages), draw.choice(list(DIRECTIONS))
        ways = [words[language] for words in DIRECTIONS.values()]
        with _clip(subject, item, motion) as clip:
            scores = subject.likelihoods(Question((clip, Text(WHERE[language])), language), ways)
        best, wanted = ways[scores.argmax()], DIRECTIONS[motion][language]
        right.append(best == wanted)
        examples.append({"asked": f"{item.id} moves: {WHERE[language]}", "answered": best, "wanted": wanted})
    return share(right, 1 / len(DIRECTIONS)), examples


def _what(subject: Subject) -> tuple[Measure, list[dict[str, str]]]:
    right: list[bool] = []
    examples = []
    for ten in subject.tens(tuple(WHICH), "video/what", most=subject.limit // 2):
        rows = []
        for item in ten.items:
            motion = subject.draw(f"video/what/{item.id}").choice(list(DIRECTIONS))
            with _clip(subject, item, motion) as clip:
                question = Question((clip, Text(WHICH[ten.language])), ten.language)
                rows.append(subject.likelihoods(question, ten.captions))
        right += chosen(np.stack(rows))
        for item, row, caption in zip(ten.items, rows, ten.captions, strict=True):
            asked = f"{item.id} moves: {WHICH[ten.language]}"
            examples.append({"asked": asked, "answered": ten.captions[row.argmax()], "wanted": caption})
    return share(right, 0.1), examples


@contextmanager
def _clip(subject: Subject, item: Item, motion: tuple[int, int]) -> Iterator[Video]:
    """The moving picture as a folder of frames, which is how a person would hand it over."""
    with tempfile.TemporaryDirectory(prefix="omni-video-") as folder:
        for number, frame in enumerate(moving(subject.manifest.picture(item.pictures[0]), motion)):
            write_picture(Path(folder) / f"{number}.png", to_pixels(frame))
        yield Video(folder)


def _mean(first: Measure, second: Measure) -> Measure:
    """The mean of two independent shares; its interval's half-width is the root of the sum of their squares, halved."""
    value = (first.value + second.value) / 2
    below = np.hypot(first.value - first.low, second.value - second.low) / 2
    above = np.hypot(first.high - first.value, second.high - second.value) / 2
    chance = ((first.chance or 0) + (second.chance or 0)) / 2
    return replace(
        first, value=value, low=value - float(below), high=value + float(above), n=first.n + second.n, chance=chance
    )
