"""Pictures on disk <-> pixels in 0..1: one reader for every file that a user may hand us."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from omni.errors import InputError
from omni.files import atomic_path

if TYPE_CHECKING:                                                       # a door looks at pictures and has no torch
    from torch import Tensor

LONGEST_SIDE = 20_000                                                   # pixels; a 100-megapixel camera is 12,000 wide
MOST_PIXELS = 120_000_000                                               # 360 MB decoded
SVG_BYTES = 20_000_000
SVG_ENDINGS = (".svg", ".svgz")
T = TypeVar("T")


def read_picture(path: Path | str, size: int) -> "Tensor":
    """A picture file as float [3, size, size] in 0..1, letterboxed on white.

    Turned as its EXIF orientation says, transparency laid on white; PNG, JPEG, WebP, GIF (first frame) and what else
    Pillow reads, SVG through resvg. Raises InputError when the file is missing, no picture, cut short or too large
    (its header is looked at before a pixel is decoded).
    """
    path = existing_file(path, "a picture")
    if path.suffix.lower() in SVG_ENDINGS:
        return to_pixels(fit(render_svg(path, size), size))

    def read() -> "Tensor":
        with Image.open(path) as image:
            refuse_giant(path, image.size)
            image.draft("RGB", (2 * size, 2 * size))                    # a JPEG decodes at the scale that is needed
            return to_pixels(fit(image, size))

    return decoding(path, read)


def write_picture(path: Path | str, pixels: "Tensor", scale: int = 1) -> None:
    """Write pixels [3, height, width] in 0..1 atomically, each a square of `scale`; the ending says the format."""
    image = Image.fromarray(to_levels(pixels))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    with atomic_path(path) as scratch:
        image.save(scratch)


def fit(image: Image.Image, size: int) -> Image.Image:
    """The whole picture, upright, centred on a white square of `size` pixels."""
    image = upright(image)
    scale = size / max(image.size)
    shape = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    image = image.resize(shape, Image.Resampling.LANCZOS)               # RGBA is resized premultiplied: no dark fringe
    canvas = Image.new("RGBA", (size, size), "white")
    canvas.alpha_composite(image, ((size - shape[0]) // 2, (size - shape[1]) // 2))
    return canvas.convert("RGB")


def on_white(image: Image.Image) -> Image.Image:
    """The picture at its own size, upright, what is transparent on white."""
    image = upright(image)
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """RGBA, turned as its EXIF orientation says."""
    return ImageOps.exif_transpose(image).convert("RGBA")


def to_pixels(levels: NDArray[np.uint8] | Image.Image) -> "Tensor":
    """uint8 [..., height, width, 3], or an image, as float [..., 3, height, width] in 0..1."""
    import torch

    if isinstance(levels, Image.Image):
        levels = np.asarray(levels.convert("RGB"))
    return torch.from_numpy(np.array(levels)).movedim(-1, -3).float() / 255


def to_levels(pixels: "Tensor") -> NDArray[np.uint8]:
    """The inverse: float [..., 3, height, width] to uint8 [..., height, width, 3], cut to 0..1 and rounded."""
    return (pixels.detach().clamp(0, 1) * 255).round().byte().movedim(-3, -1).cpu().numpy()


def render_svg(path: Path, size: int) -> Image.Image:
    """A drawing rendered so that its longer side is `size` pixels."""
    if path.stat().st_size > SVG_BYTES:
        raise InputError(f"{path}: {path.stat().st_size / 1e6:.0f} MB of SVG; simplify it to {SVG_BYTES / 1e6:.0f} MB")
    try:                                                                # dpi=0, the default, voids sizes in mm and pt
        png = resvg_py.svg_to_bytes(svg_path=str(path), width=size, height=size, dpi=96)
    except ValueError as error:
        raise InputError(f"{path}: not a drawing that resvg can render ({error}); give a valid SVG or a PNG") from None
    return Image.open(io.BytesIO(png))


def existing_file(path: Path | str, what: str) -> Path:
    """The path, when a file with bytes in it is there; else InputError."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; give the path of {what}")
    if not path.is_file():
        raise InputError(f"{path}: a folder, not a file; give the path of {what}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: an empty file; give the path of {what}")
    return path


def refuse_giant(path: Path, shape: tuple[int, int]) -> None:
    """Raise InputError when a header announces more pixels than we are willing to decode."""
    width, height = shape
    if max(shape) > LONGEST_SIDE or width * height > MOST_PIXELS:
        raise InputError(
            f"{path}: {width:,} x {height:,} pixels is too large; "
            f"scale it to at most {LONGEST_SIDE:,} a side and {MOST_PIXELS // 10**6} megapixels"
        )


def decoding(path: Path | str, read: Callable[[], T]) -> T:
    """Run `read`, turning every way in which Pillow refuses a file into one InputError line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refuse_giant is the limit
            return read()
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a picture; give a PNG, JPEG, WebP, GIF or SVG file") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path}: far too many pixels; scale it to at most {LONGEST_SIDE:,} a side") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: a broken picture ({error}); is it cut short? save it again") from None
