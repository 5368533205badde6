"""What a terminal can show: pictures as coloured half blocks, text without what would steer the terminal."""

import unicodedata

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RESET = "\x1b[0m"


def picture(pixels: NDArray[np.uint8], columns: int) -> str:
    """A picture [height, width, 3] in 24-bit colour, at most `columns` wide, two rows of pixels to a line.

    Each character is an upper half block: its foreground is the upper pixel, its background the lower one.
    """
    height, width = pixels.shape[:2]
    if width > columns:
        shape = columns, max(1, round(height * columns / width))
        pixels = np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.BOX))
    pixels = np.pad(pixels, ((0, len(pixels) % 2), (0, 0), (0, 0)), mode="edge")
    return "\n".join(_line(upper, lower) for upper, lower in zip(pixels[::2], pixels[1::2], strict=True))


def plain(text: str) -> str:
    """Text without control characters but tabs and ends of lines: a model may have learnt to write escape sequences."""
    return "".join(letter for letter in text if letter in "\t\n" or unicodedata.category(letter) != "Cc")


def _line(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> str:
    return "".join(map(_block, upper.tolist(), lower.tolist())) + RESET


def _block(upper: list[int], lower: list[int]) -> str:
    return "\x1b[38;2;{};{};{}m\x1b[48;2;{};{};{}m▀".format(*upper, *lower)
