"""What the assistant gave, and how it is written to files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError
from omni.files import write_json, write_text
from omni.sequence import Segment
from omni.tokenizers.image.pixels import to_pixels, write_picture


@dataclass(frozen=True)
class Answer:
    """What the assistant gave: None for what was not asked for.

    audio: float32 [samples] at `sample_rate` hertz; image: uint8 [height, width, 3]
    """

    text: str | None
    audio: NDArray[np.float32] | None
    image: NDArray[np.uint8] | None
    sample_rate: int
    segments: tuple[Segment, ...]

    def save(self, folder: Path | str, **notes: Any) -> list[Path]:
        """Write answer.txt, answer.wav, answer.png, those that there are, and answer.json; each whole or not at all.

        Those of an earlier answer that this one lacks are deleted. `notes` go into answer.json as they are. Returns the
        paths written. Raises InputError where `folder` is a file.
        """
        from omni.tokenizers.audio.wavefile import write_wave

        folder, paths = Path(folder), []
        if folder.is_file():
            raise InputError(f"{folder}: a file is in the way; name another folder")
        if self.text is not None:
            write_text(folder / "answer.txt", self.text + "\n")
            paths.append(folder / "answer.txt")
        if self.audio is not None:
            write_wave(folder / "answer.wav", self.audio, self.sample_rate)
            paths.append(folder / "answer.wav")
        if self.image is not None:
            write_picture(folder / "answer.png", to_pixels(self.image), scale=4)
            paths.append(folder / "answer.png")
        for name in {"answer.txt", "answer.wav", "answer.png"} - {path.name for path in paths}:
            (folder / name).unlink(missing_ok=True)
        seconds = None if self.audio is None else round(len(self.audio) / self.sample_rate, 3)
        files = [path.name for path in paths]
        write_json(folder / "answer.json", {"text": self.text, "seconds": seconds, "files": files, **notes})
        return [*paths, folder / "answer.json"]
