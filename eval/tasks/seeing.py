"""Seeing and drawing: pictures named in many languages, captions drawn, things that move."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from inspect_ai import Task, task
from inspect_ai.model import Content, ContentImage, ContentText
from inspect_ai.solver import TaskState
from numpy.typing import NDArray

from omni.eval.inspected.messages import animation, picture, read_picture
from omni.eval.local import Filed
from omni.eval.tasks.examine import examine
from omni.eval.tasks.hearing import SPOKEN, by_text_alone
from omni.eval.tasks.records import Given, Record, drawn, held_out, most_often_right, records
from omni.eval.tasks.scorers import retrieved, right
from omni.tokenizers.image.metrics import neutral_features
from omni.tokenizers.image.pixels import fit, to_pixels
from omni.train.data.items import Item, Manifest
from omni.train.tasks.video import DIRECTIONS, WHERE, moving

CHOICES = 10
CARD_LANGUAGES = ("en", "am", "ha", "nso", "sw", "yo")                  # the System Card's; nso where data have it
FEATURE_SIZE = 64
FRAME_RATE = 2.0


@task
def name_picture(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """A held-out stamp and ten captions in one of ten languages: which is its own?"""
    return examine("name_picture", records(data, lambda held: _named(held, "stamps", SPOKEN, seed), n, seed), right())


@task
def name_emoji(data: str | None = None, n: int | None = 180, seed: int = 0) -> Task:
    """Held-out emoji and ten names, in the six languages of GPT-4o's System Card, equally often."""
    return examine("name_emoji", records(data, lambda held: _emoji(held, n, seed), n, seed), right())


@task
def draw(data: str | None = None, n: int | None = 60, seed: int = 0) -> Task:
    """A held-out caption drawn: of ten true pictures its own is the nearest, in features that nobody trained.

    Of a user's file `text` is drawn, `image` is the true picture, which is not shown; the others are other records'.
    """
    pictures: dict[str, Callable[[], NDArray[np.uint8]]] = {}

    @cache
    def features(name: str) -> NDArray[np.float32]:
        return _features(pictures[name]())

    found = records(
        data, lambda held: _captions(held, pictures, seed), n, seed, lambda own: _to_draw(own, pictures, seed)
    )
    return examine("draw", found, retrieved(features, _drawn, _nothing), ["image"])


@task
def video(data: str | None = None, n: int | None = 60, seed: int = 0) -> Task:
    """A held-out stamp moves across four frames: which of four ways does it go?"""
    return examine("video", records(data, lambda held: _usual(held, seed), n, seed), right())


def _named(manifest: Manifest, source: str, languages: tuple[str, ...], seed: int) -> Iterator[Record]:
    pictured = [item for item in held_out(manifest, source) if item.pictures]
    blind = by_text_alone(manifest, source)
    for item in pictured:
        for language in drawn([one for one in languages if one in item.texts], 1, seed, item.id):
            if record := _choice(manifest, item, pictured, language, seed, blind):
                yield record


def _emoji(manifest: Manifest, n: int | None, seed: int) -> Iterator[Record]:
    pictured = [item for item in held_out(manifest, "emoji") if item.pictures]
    each, blind = None if n is None else -(-n // len(CARD_LANGUAGES)), by_text_alone(manifest, "emoji")
    for language in CARD_LANGUAGES:
        own = [item for item in pictured if language in item.texts]
        for item in drawn(own, len(own) if each is None else each, seed, language):
            if record := _choice(manifest, item, pictured, language, seed, blind):
                yield record


def _choice(
    manifest: Manifest, item: Item, pictured: list[Item], language: str, seed: int,
    blind: Callable[[str, Sequence[str]], str],
) -> Record | None:  # fmt: skip
    own = item.texts[language]
    others = sorted({other.texts[language] for other in pictured if language in other.texts} - {own})
    if len(others) < CHOICES - 1:
        return None
    choices = tuple(drawn([own, *drawn(others, CHOICES - 1, seed, item.id, language)], CHOICES, seed, item.id, "order"))
    groups = {"language": language, "kind": item.id.split("/")[1]}
    asked, given = f"Which of these is the name of this picture, in {language}?", (seen(manifest, item.pictures[0]),)
    return Record(f"{item.id}:{language}", own, given, asked, language, choices, blind(language, choices), groups)


def seen(manifest: Manifest, number: int) -> Given:
    return lambda: picture(manifest.picture(number))


def _captions(
    manifest: Manifest, pictures: dict[str, Callable[[], NDArray[np.uint8]]], seed: int
) -> Iterator[Record]:
    pictured = [item for item in held_out(manifest, "stamps") if item.pictures]
    for item in pictured:
        pictures[item.id] = partial(manifest.picture, item.pictures[0])
        others = drawn([other.id for other in pictured if other.id != item.id], CHOICES - 1, seed, item.id)
        for language in drawn([one for one in SPOKEN if one in item.texts], 1, seed, item.id):
            yield Record(
                f"{item.id}:{language}", item.id, (ContentText(text=item.texts[language]),), "Draw this.",
                groups={"language": language}, more={"others": others},
            )  # fmt: skip


def _to_draw(found: list[Record], pictures: dict[str, Callable[[], NDArray[np.uint8]]], seed: int) -> list[Record]:
    """A user's records with their pictures taken out, to be told from others; one without is an error."""
    shown = {one.id: part for one in found for part in one.given if isinstance(part, Filed) and part.kind == "image"}
    pictures |= {name: partial(_pixels, part) for name, part in shown.items()}
    asked = []
    for one in found:
        texts = tuple(part for part in one.given if isinstance(part, ContentText))
        others = [name for name in drawn(shown, CHOICES, seed, one.id) if name != one.id][: CHOICES - 1]
        if not one.bad and (one.id not in shown or not texts or not others):
            one = replace(one, bad=f"{one.id}: needs `text`, what to draw, `image`, how it looks, and another record's")
        asked.append(replace(one, target=one.id, given=texts, choices=(), more={"others": others}))
    return asked


def _pixels(part: Filed) -> NDArray[np.uint8]:
    content = part()
    assert isinstance(content, ContentImage)
    return read_picture(content)


def _drawn(state: TaskState) -> NDArray[np.float32]:
    contents = state.output.message.content
    made = [] if isinstance(contents, str) else [one for one in contents if isinstance(one, ContentImage)]
    return _features(read_picture(made[0])) if made else _nothing()


@cache
def _nothing() -> NDArray[np.float32]:
    """Features of a white sheet."""
    return _features(np.full((FEATURE_SIZE, FEATURE_SIZE, 3), 255, np.uint8))


def _features(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from PIL import Image

    with torch.inference_mode():
        fitted = to_pixels(fit(Image.fromarray(pixels), FEATURE_SIZE))[None]
        return neutral_features(fitted)[0].numpy()


def _usual(manifest: Manifest, seed: int) -> list[Record]:
    return most_often_right(_moving(manifest, seed), lambda record: record.language)


def _moving(manifest: Manifest, seed: int) -> Iterator[Record]:
    for item in held_out(manifest, "stamps"):
        languages = [one for one in WHERE if one in item.texts]
        if not item.pictures or not languages:
            continue
        (motion,) = drawn(list(DIRECTIONS), 1, seed, item.id)
        (language,) = drawn(languages, 1, seed, item.id, "language")
        choices = tuple(words[language] for words in DIRECTIONS.values())
        given = (partial(_animated, manifest, item.pictures[0], motion), ContentText(text=WHERE[language]))
        yield Record(
            f"{item.id}:{language}", DIRECTIONS[motion][language], given, "", language, choices,
            groups={"language": language},
        )  # fmt: skip


def _animated(manifest: Manifest, number: int, motion: tuple[int, int]) -> Content:
    return animation(list(moving(manifest.picture(number), motion)), FRAME_RATE)
