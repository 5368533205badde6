"""What a person hands to a model (text, recordings, pictures, videos) as segments of the stream."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError
from omni.sequence import Segment
from omni.vocab import Vocabulary

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from omni.tokenizers.bundle import Tokenizers

LONGEST_AUDIO = 120.0                                                   # seconds read from a file
SECONDS, LETTERS = 1, 10_000                                            # of a part read at once, where it is in pieces


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
    """Something heard: a sound file, or samples in -1..1 at `sample_rate` hertz (default: the codec's), an array
    [samples], or a tensor [samples] or [1, samples], as `torchaudio.load` gives it.
    """

    source: "str | Path | NDArray[np.float32] | Tensor"
    sample_rate: int | None = None
    role: str = "user"

    def __post_init__(self) -> None:
        if not isinstance(self.source, str | Path | np.ndarray):
            object.__setattr__(self, "source", _array(self.source))

    def segment(self, tokenizers: "Tokenizers", vocab: Vocabulary) -> Segment:
        """Raises InputError for a file that is no recording, and for samples that are empty or not finite."""
        codec = tokenizers.audio
        if codec is None:
            raise InputError("this model has no audio codec; leave the audio out")
        return self.coded(codec.encode(self.wave(codec.sample_rate)[None]))

    def wave(self, rate: int) -> "Tensor":
        """Its samples [samples] at `rate` hertz."""
        import torch

        from omni.tokenizers.audio.wavefile import read_wave

        if isinstance(self.source, str | Path):
            return torch.from_numpy(read_wave(self.source, rate, LONGEST_AUDIO))
        own = rate if self.sample_rate is None else self.sample_rate
        return torch.from_numpy(_resampled(np.asarray(self.source), own, rate))

    def coded(self, codes: "Tensor") -> Segment:
        """It as a segment of these codes [1, frames, codebooks]."""
        return Segment("audio", codes[0].cpu().numpy(), self.role)


@dataclass(frozen=True, eq=False)
class Picture:
    """Something seen: a picture file, a picture of Pillow's, or uint8 pixels [height, width, 3], or 4 with how opaque
    they are.
    """

    source: "str | Path | NDArray[np.uint8] | Image"
    role: str = "user"

    def segment(self, tokenizers: "Tokenizers", vocab: Vocabulary) -> Segment:
        """Raises InputError for a file that is no picture, and for pixels of another kind."""
        if tokenizers.image is None:
            raise InputError("this model has no image tokenizer; leave the picture out")
        from PIL import Image

        from omni.tokenizers.image.pixels import fit, read_picture, to_pixels

        size = tokenizers.image.picture_size
        if isinstance(self.source, np.ndarray):
            if self.source.dtype != np.uint8 or self.source.shape[2:] not in ((3,), (4,)) or not self.source.size:
                given = f"{self.source.dtype} pixels of shape {self.source.shape}"
                raise InputError(f"{given}: give uint8 ones of 0 to 255, [height, width, 3]")
            pixels = to_pixels(fit(Image.fromarray(self.source), size))
        elif isinstance(self.source, Image.Image):
            pixels = to_pixels(fit(self.source, size))
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


def coded_parts(parts: Sequence[Part], tokenizers: "Tokenizers", vocab: Vocabulary) -> list[Segment]:
    """Parts as codes. Raises InputError for what is no list of parts, or cannot be read."""
    if isinstance(parts, str | Part) or not all(isinstance(part, Part) for part in parts):
        raise InputError(f'{parts!r:.60}: give a list of parts, such as [omni.Picture("owl.png"), omni.Text("hello")]')
    return [part.segment(tokenizers, vocab) for part in parts]


def in_pieces(part: Part, tokenizers: "Tokenizers", vocab: Vocabulary) -> Generator[None, None, Segment]:
    """`part.segment`, the same codes, with a pause between the pieces of a long text or recording."""
    import torch  # by who reads a part; whoever hands it on has none

    if isinstance(part, Text) and tokenizers.text is not None:
        ids: list[int] = []
        for number, piece in enumerate(tokenizers.text.cut(part.text, LETTERS)):
            if number:
                yield
            ids += tokenizers.text.encode(piece)
        return Segment("text", np.array(ids, np.int64), part.role)
    if isinstance(part, Audio) and tokenizers.audio is not None:
        codec = tokenizers.audio
        state = codec.start(1)
        wave, codes = part.wave(codec.sample_rate)[None], []
        for number, stretch in enumerate(wave.split(SECONDS * codec.sample_rate, dim=1)):
            if number:
                yield
            found, state = codec.encode_stream(stretch, state)
            codes.append(found)
        codes.append(codec.encode_finish(state)[0])
        return part.coded(torch.cat(codes, dim=1))
    return part.segment(tokenizers, vocab)


def _array(samples: "Tensor") -> NDArray[np.float32]:
    """A tensor [samples] or [1, samples], of whichever device, as an array [samples]."""
    if not hasattr(samples, "detach"):
        raise InputError(f"{type(samples).__name__}: give a sound file's path, an array or a tensor of samples")
    wave = samples.detach().cpu()
    found: NDArray[np.float32] = (wave[0] if wave.ndim == 2 and len(wave) == 1 else wave).numpy()
    return found


def _resampled(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    import soxr

    if wave.ndim != 1 or not len(wave):
        raise InputError(f"samples of shape {wave.shape}: give a mono recording [samples] with at least one sample")
    if not np.issubdtype(wave.dtype, np.floating):
        raise InputError(f"samples of {wave.dtype}: give floats in -1..1; those of int16 divided by 32768, say")
    if rate <= 0:
        raise InputError(f"sample_rate={rate}: must be above 0; give the recording's own, such as 16000")
    if not np.isfinite(wave).all():
        raise InputError("the samples hold NaN or infinity; record or export them again")
    found = np.asarray(soxr.resample(wave, rate, wanted), np.float32)
    if not len(found):
        raise InputError(f"{len(wave)} samples at {rate} Hz are too short to be heard; record some more")
    return found
