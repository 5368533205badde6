"""Video as pictures at a steady rate: a frame is a row of image codes, its index is its time token `<t0> <t1> ...`."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence, UnidentifiedImageError
from torch import Tensor

from omni.errors import InputError
from omni.tokenizers.image.autoencoder import PictureTokenizer
from omni.tokenizers.image.pixels import (
    MOST_PIXELS,
    decoding,
    existing_file,
    fit,
    read_picture,
    refuse_giant,
    to_pixels,
)

PICTURE_ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".svg", ".svgz"}
BATCH = 64                                                              # frames through the image tokenizer at once
UNTIMED = 100  # ms; a GIF frame of duration 0, as browsers show it
FILM_FORMATS = "mov,matroska,avi,mpegts,mpeg,ogg,flv,asf"               # no playlists: those may name other files
FILM_SECONDS = 60                                                       # patience with ffmpeg


class VideoTokenizer:
    """An image tokenizer applied frame by frame, `frame_rate` frames a second."""

    def __init__(self, image: PictureTokenizer, frame_rate: float) -> None:
        if not 0 < frame_rate < float("inf"):
            raise InputError(f"video: frame_rate={frame_rate:g} must be positive; use 2, say")
        self.image, self.frame_rate = image, frame_rate

    def encode(self, frames: Tensor) -> Tensor:
        """frames: float [frames, 3, size, size] in 0..1. Returns codes, long [frames, tokens]; row i is `<t i>`."""
        if not len(frames):
            return torch.zeros(0, self.image.tokens, dtype=torch.long)
        return torch.cat([self.image.encode(part) for part in frames.split(BATCH)])

    def decode(self, codes: Tensor) -> Tensor:
        """codes: long [frames, tokens]. Returns float [frames, 3, size, size] in 0..1."""
        if not len(codes):
            return torch.zeros(0, 3, self.image.picture_size, self.image.picture_size)
        return torch.cat([self.image.decode(part) for part in codes.split(BATCH)])

    def read(self, path: Path | str, max_frames: int) -> Tensor:
        """The frames of a video file or folder as this tokenizer wants them: float [frames, 3, size, size]."""
        return read_frames(path, self.image.picture_size, self.frame_rate, max_frames)


def read_frames(path: Path | str, size: int, frame_rate: float, max_frames: int) -> Tensor:
    """The beginning of a video: float [frames, 3, size, size] in 0..1, 1 <= frames <= max_frames, letterboxed on white.

    Frame i is what is on screen at i / frame_rate seconds. Reads GIF, WebP and APNG, a folder of pictures (in the order
    of their names and numbers, one a frame) and, where the program ffmpeg is installed, films such as MP4.
    Raises InputError when there is nothing there to see.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path, size, max_frames)
    path = existing_file(path, "a video, or of a folder of pictures")
    try:
        with Image.open(path):
            pass
    except UnidentifiedImageError:
        return _film(path, size, frame_rate, max_frames)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        pass                                                            # a broken animation: named by `decoding` below
    return decoding(path, lambda: torch.stack(list(_animation(path, size, frame_rate, max_frames))))


def _folder(path: Path, size: int, max_frames: int) -> Tensor:
    pictures = sorted((file for file in path.iterdir() if file.suffix.lower() in PICTURE_ENDINGS), key=_natural)
    if not pictures:
        raise InputError(f"{path}: no pictures in this folder; give a video or a folder of PNG or JPEG files")
    return torch.stack([read_picture(file, size) for file in pictures[:max_frames]])


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts `frame2` before `frame10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name.lower())]


def _animation(path: Path, size: int, frame_rate: float, max_frames: int) -> Iterator[Tensor]:
    with Image.open(path) as image:
        refuse_giant(path, image.size)
        shown, ends = 0, 0.0                                            # frames handed out; seconds until this one ends
        for picture in ImageSequence.Iterator(image):
            ends += (picture.info.get("duration") or UNTIMED) / 1000
            if shown / frame_rate < ends - 1e-9 or shown == 0:
                pixels = to_pixels(fit(picture, size))
            while shown / frame_rate < ends - 1e-9 or shown == 0:       # 1e-9: 3 x 0.1 s is not 0.3 s in floats
                yield pixels
                shown += 1
                if shown == max_frames:
                    return


def _film(path: Path, size: int, frame_rate: float, max_frames: int) -> Tensor:
    program = shutil.which("ffmpeg")
    if program is None:
        raise InputError(f"{path}: not an animation; install the program ffmpeg for films, or give a GIF or a folder")
    fitting = f"scale={size}:{size}:force_original_aspect_ratio=decrease:flags=lanczos"
    filters = f"fps={frame_rate:g}:round=up:start_time=0,{fitting},pad={size}:{size}:-1:-1:white"
    limits = ["-protocol_whitelist", "file", "-format_whitelist", FILM_FORMATS, "-max_pixels", str(MOST_PIXELS)]
    output = ["-an", "-vf", filters, "-frames:v", str(max_frames), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = [program, "-v", "error", "-nostdin", *limits, "-i", f"file:{path.resolve()}", *output]
    try:
        done = subprocess.run(command, capture_output=True, timeout=FILM_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{path}: ffmpeg took over {FILM_SECONDS} s; cut the film shorter") from None
    raw = np.frombuffer(done.stdout, dtype=np.uint8)
    frames = raw[: raw.size // (size * size * 3) * (size * size * 3)].reshape(-1, size, size, 3)
    if not len(frames):
        raise InputError(f"{path}: not a video that can be read; give an MP4, WebM, GIF or a folder of pictures")
    return to_pixels(frames)
