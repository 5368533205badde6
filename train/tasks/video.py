"""Short videos of a moving stamp, with a question about which or where to."""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from omni.train.data.items import Item, Manifest

FRAMES = 4
FEWEST = 2                                                              # of a clip in shards: short ones are cheap
SPRITE = 0.5                                                            # side of the moving picture, of the frame's

WHICH = {
    "en": "What is moving?",
    "fr": "Qu'est-ce qui bouge ?",
    "es": "¿Qué se mueve?",
    "ru": "Что движется?",
    "it": "Che cosa si muove?",
    "de": "Was bewegt sich?",
}
WHERE = {
    "en": "Where is it going?",
    "fr": "Où va-t-il ?",
    "es": "¿Adónde va?",
    "ru": "Куда оно движется?",
    "it": "Dove va?",
    "de": "Wohin bewegt es sich?",
}
_WAYS = {
    "en": ("right", "left", "down", "up"),
    "fr": ("à droite", "à gauche", "en bas", "en haut"),
    "es": ("a la derecha", "a la izquierda", "abajo", "arriba"),
    "ru": ("вправо", "влево", "вниз", "вверх"),
    "it": ("a destra", "a sinistra", "in basso", "in alto"),
    "de": ("nach rechts", "nach links", "nach unten", "nach oben"),
}
DIRECTIONS = {                                                          # (dx, dy), y downwards, and its word a language
    motion: {language: words[index] for language, words in _WAYS.items()}
    for index, motion in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1)))
}


@dataclass(frozen=True)
class Clip:
    """A video [frames, size, size, 3] uint8 with a question and its answer in one language."""

    frames: np.ndarray
    question: str
    answer: str
    language: str


def clips(item: Item, manifest: Manifest, languages: Collection[str], seed: int, draws: int = 1) -> Iterator[Clip]:
    """`draws` times two clips of an item's first picture: one asks which picture moves, one where to."""
    spoken = sorted(set(WHICH) & set(languages) & set(item.texts))
    if not item.pictures or not spoken:
        return
    draw = random.Random(f"{seed}/video/{item.id}")
    picture = manifest.picture(item.pictures[0])
    for _ in range(draws):
        language, direction = draw.choice(spoken), draw.choice(list(DIRECTIONS))
        frames = moving(picture, direction, draw.randint(FEWEST, FRAMES))
        yield Clip(frames, WHICH[language], item.texts[language], language)
        language, direction = draw.choice(spoken), draw.choice(list(DIRECTIONS))
        frames = moving(picture, direction, draw.randint(FEWEST, FRAMES))
        yield Clip(frames, WHERE[language], DIRECTIONS[direction][language], language)


def moving(picture: np.ndarray, direction: tuple[int, int], count: int = FRAMES) -> np.ndarray:
    """The picture [size, size, 3], made small, crossing a white frame: [count, size, size, 3] uint8."""
    size = picture.shape[0]
    side = int(size * SPRITE)
    sprite = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BOX))
    frames = np.full((count, size, size, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        way = 2 * number / (count - 1) - 1                             # -1 at the start, 1 at the end
        left, top = (round((size - side) / 2 * (1 + step * way)) for step in direction)
        frame[top : top + side, left : left + side] = sprite
    return frames
