"""What is more than a model can be given, whatever its codes turn out to be."""

import numpy as np

from omni.decode.parts import Audio, Part
from omni.decode.pipeline import Pipeline
from omni.decode.want import TooLongError


def longest_text(pipeline: Pipeline) -> int:
    """Bytes of the longest text that can fit into the model's past; the door refuses longer ones."""
    text, most = pipeline.tokenizers.text, pipeline.model.config.max_steps
    return most if text is None else most * max(map(len, text.pieces()))


def refuse_endless(part: Part, pipeline: Pipeline) -> None:
    """Raise TooLongError for sound that cannot fit into the model's past, before all others wait for its codes."""
    most, codec = pipeline.model.config.max_steps, pipeline.tokenizers.audio
    if isinstance(part, Audio) and isinstance(part.source, np.ndarray) and codec is not None:
        seconds = len(part.source) / (part.sample_rate or codec.sample_rate)
        if seconds * codec.frame_rate > most:
            longest = most / codec.frame_rate
            raise TooLongError(f"{seconds:.0f} s of audio are more than this model can hear ({longest:.0f} s); cut it")
