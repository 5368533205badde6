"""The colour that one would name a picture by."""

import numpy as np
from numpy.typing import NDArray

CLEAR = 0.55                                                            # share of the coloured part that agrees
LEAST = 0.08                                                            # of the picture that is no background
_HUES = ((15, "red"), (42, "orange"), (68, "yellow"), (165, "green"), (262, "blue"), (295, "purple"), (335, "pink"))


def colour_of(picture: NDArray[np.uint8]) -> str | None:
    """Name of the colour that most of a picture on white has, None where no colour prevails.

    picture: [height, width, 3]. White itself is background and never named.
    """
    pixels = picture.reshape(-1, 3).astype(np.float32) / 255            # [pixels, 3]
    high, low = pixels.max(1), pixels.min(1)
    shown = pixels[low < 0.93]
    if len(shown) < LEAST * len(pixels):
        return None
    names, counts = np.unique(_names(shown, high[low < 0.93], low[low < 0.93]), return_counts=True)
    best = int(counts.argmax())
    return str(names[best]) if counts[best] >= CLEAR * len(shown) else None


def _names(pixels: NDArray[np.float32], high: NDArray[np.float32], low: NDArray[np.float32]) -> NDArray[np.str_]:
    """Name of each pixel's colour: [pixels]."""
    spread = np.maximum(high - low, 1e-6)
    red, green, blue = pixels.T
    hue = np.where(high == red, (green - blue) / spread, 2 + (blue - red) / spread)
    hue = 60 * np.where((high == blue) & (high != red) & (high != green), 4 + (red - green) / spread, hue) % 360
    names = np.array([name for _, name in _HUES] + ["red"])
    found = names[np.searchsorted([end for end, _ in _HUES], hue, side="right")]
    brown = np.isin(found, ("orange", "red", "yellow")) & (high < 0.65) & (spread / np.maximum(high, 1e-6) < 0.85)
    found = np.where(brown, "brown", found)
    grey = spread < 0.12
    return np.where(high < 0.2, "black", np.where(grey, "grey", found))
