"""What a person hands to a model (text, recordings, pictures, videos) as segments of the stream."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from omni.errors import InputError
from omni.sequence import Segment
from omni.vocab import Vocabulary

if TYPE_CHECKING:
    from omni.tokenizers.bundle import Tokenizers

LONGEST_AUDIO = 120.0                                                   # seconds read from a file


@dataclass(frozen=True)
class Text:
    """Something written."""

    text: str
    role: str = "user"

    def segment(self, tokenizers: "Tokenizers", vocab: Vocabulary) -> Segment:
        if tokenizers.text is None:
            raise InputError("this model has no text tokenizer; leave the text out")
        return Segment("text", np.array(tokenizers.text.encode(self.text), np.int64), self.role)


@dataclass(frozen=True, eq=False)
class Audio:
    """Something heard: a sound file, or samples [samples] in -1..1 at `sample_rate` hertz (default: the codec's)."""

    source: str | Path | NDArray[np.float32]
    sample_rate: int | None = None
    role: str = "user"

    def segment(self, tokenizers: "Tokenizers", vocab: Vocabulary) -> Segment:
        """Raises InputError for a file that is no recording, and for samples that are empty or not finite."""
        codec = tokenizers.audio
        if codec is None:
            raise InputError("this model has no audio codec; leave the audio out")
        from omni.tokenizers.audio.wavefile import read_wave

        if isinstance(self.source, np.ndarray):
            wave = _resampled(self.source, self.sample_rate or codec.sample_rate, codec.sample_rate)
        else:
            wave = read_wave(self.source, codec.sample_rate, LONGEST_AUDIO)
        codes = codec.encode(torch.from_numpy(wave)[None])[0]           # [frames, codebooks]
        return Segment("audio", codes.cpu().numpy(), self.role)


@dataclass(frozen=True, eq=False)
class Picture:
    """Something seen: a picture file, or uint8 pixels [height, width, 3]."""

    source: str | Path | NDArray[np.uint8]
    role: str = "user"

    def segment(self, tokenizers: "Tokenizers", vocab: Vocabulary) -> Segment:
        """Raises InputError for a file that is no picture."""
        if tokenizers.image is None:
            raise InputError("this model has no image tokenizer; leave the picture out")
        from PIL import Image

        from omni.tokenizers.image.pixels import fit, read_picture, to_pixels

        size = tokenizers.image.picture_size
        if isinstance(self.source, np.ndarray):
            pixels = to_pixels(fit(Image.fromarray(self.source), size))
        else:
            pixels = read_picture(self.source, size)                    # [3, size, size]
        return Segment("image", tokenizers.image.encode(pixels[None])[0].cpu().numpy(), self.role)


@dataclass(frozen=True)
class Video:
    """Something seen moving: a GIF, a film or a folder of pictures, looked at `frame_rate` times a second."""

    source: str | Path
    frame_rate: float = 2.0
    role: str = "user"

    def segment(self, tokenizers: "Tokenizers", vocab: Vocabulary) -> Segment:
        """Raises InputError for a file that is no video; what is longer than the model's frames is cut."""
        if tokenizers.image is None:
            raise InputError("this model has no image tokenizer; leave the video out")
        from omni.tokenizers.video import VideoTokenizer

        video = VideoTokenizer(tokenizers.image, self.frame_rate)
        codes = video.encode(video.read(self.source, vocab.frames))     # [frames, picture_tokens]
        return Segment("video", codes.cpu().numpy(), self.role)


Part = Text | Audio | Picture | Video


def _resampled(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    import soxr

    if wave.ndim != 1 or not len(wave):
        raise InputError(f"samples of shape {wave.shape}: give a mono recording [samples] with at least one sample")
    if not np.isfinite(wave).all():
        raise InputError("the samples hold NaN or infinity; record or export them again")
    return np.asarray(soxr.resample(wave, rate, wanted), np.float32)
