"""Drawings of any size and format as small square RGB pictures on white."""

import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from omni.train.data.parse.base import UnusableError

MOST_PIXELS = 40_000_000  # larger pictures are left out, before they are decoded
MOST_SVG_BYTES = 1_000_000
OVERSAMPLING = 3  # drawings are rendered larger and area-averaged, which keeps thin lines
_NUMBER = re.compile(r"\s*\d*\.?\d+(?:[eE][+-]?\d+)?")


def load_picture(path: Path, size: int) -> NDArray[np.uint8]:
    """An SVG or bitmap file as [size, size, 3]. Raises UnusableError with the reason."""
    return square(render(path, size) if path.suffix in (".svg", ".svgz") else path.read_bytes(), size)


def render(path: Path, size: int) -> bytes:
    """An SVG file as PNG bytes with its longer side `OVERSAMPLING * size` pixels long.

    Text is left out where it needs a font: what fonts a machine has must not change the data.
    """
    if path.stat().st_size > MOST_SVG_BYTES:
        raise UnusableError("drawing over 1 MB")
    side = OVERSAMPLING * size
    try:
        width, height = (None, side) if _is_upright(path) else (side, None)
        return resvg_py.svg_to_bytes(svg_path=str(path), skip_system_fonts=True, dpi=96, width=width, height=height)
    except (ValueError, ET.ParseError):
        raise UnusableError("drawing cannot be rendered") from None


def _is_upright(path: Path) -> bool:
    """Whether an SVG file is higher than wide, by the size of its root element or else by its viewBox."""
    _, root = next(ET.iterparse(path, events=("start",)))
    sides = [_NUMBER.match(root.get(name, "")) for name in ("width", "height")]
    units = [root.get(name, "").strip()[-1:] for name in ("width", "height")]
    if all(sides) and "%" not in units:
        width, height = (float(side[0]) for side in sides if side)
    else:
        box = root.get("viewBox", "0 0 1 1").replace(",", " ").split()
        width, height = float(box[2]), float(box[3])
    return height > width


def square(data: bytes, size: int) -> NDArray[np.uint8]:
    """PNG or other bitmap bytes, centred on a white square: [size, size, 3]. Raises UnusableError with the reason."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UnusableError("picture over 40 megapixels")
            image.draft("RGB", (size, size))
            rgba = image.convert("RGBA")
    except (OSError, SyntaxError, Image.DecompressionBombError):
        raise UnusableError("picture cannot be decoded") from None
    flat = Image.new("RGBA", rgba.size, "white")
    flat.alpha_composite(rgba)
    fitted = _fit(flat.convert("RGB"), size)
    canvas = Image.new("RGB", (size, size), "white")
    canvas.paste(fitted, ((size - fitted.width) // 2, (size - fitted.height) // 2))
    pixels = np.asarray(canvas)
    if int(pixels.max()) - int(pixels.min()) < 6:
        raise UnusableError("picture is blank")
    return pixels


def _fit(image: Image.Image, size: int) -> Image.Image:
    """The whole image within size x size pixels; Lanczos after a box reduction, which is fast and free of aliasing."""
    scale = size / max(image.size)
    target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)
