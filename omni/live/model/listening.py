"""What the user is saying, as codes, while it is being said."""

import numpy as np
import torch

from omni.live.engine.messages import Wave
from omni.sequence import Segment
from omni.tokenizers.audio.codec import AudioCodec


class Listening:
    """The audio since the last turn's end, encoded chunk by chunk; `codes` [frames, codebooks] are certain.

    Of audio longer than `longest` frames the beginning is forgotten, a quarter at a time. The model is shown the
    letters of speech alone: they come one by one; those behind frames would all be read when the user has ended.
    """

    def __init__(self, codec: AudioCodec, longest: int) -> None:
        self.codec, self.longest = codec, longest
        self.codes = np.zeros((0, codec.codebooks), np.int64)
        self._state = codec.start(1)

    def hear(self, samples: Wave) -> None:
        """More audio [samples] at the codec's rate."""
        codes, self._state = self.codec.encode_stream(torch.from_numpy(samples)[None], self._state)
        self._add(codes)

    def segment(self) -> Segment | None:
        """All of it as the user's segment, the frame that is not certain yet included; None when there is nothing."""
        codes, _ = self.codec.encode_finish(self._state)
        whole = np.concatenate((self.codes, codes[0].numpy()))
        return Segment("audio", whole[-self.longest :], letters_alone=True) if len(whole) else None

    def certain(self) -> Segment:
        """What is certain of it."""
        return Segment("audio", self.codes, letters_alone=True)

    def _add(self, codes: torch.Tensor) -> None:
        if codes.shape[1]:
            self.codes = np.concatenate((self.codes, codes[0].numpy()))
        if len(self.codes) > self.longest:
            self.codes = self.codes[self.longest // 4 :]
