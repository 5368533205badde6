"""An answer while it is being said: steps of the stream become text and sound as soon as they are certain."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from omni import layout
from omni.vocab import Vocabulary

if TYPE_CHECKING:
    from omni.tokenizers.audio.codec import Codec
    from omni.tokenizers.audio.pretrained import PretrainedCodec
    from omni.tokenizers.text import TextTokenizer

UNSURE = "\ufffd"                                                       # a letter whose last bytes are still to come


class TextReader:
    """Text tokens one by one to text; a letter is given once all of its bytes are there."""

    def __init__(self, tokenizer: "TextTokenizer", vocab: Vocabulary) -> None:
        self.tokenizer, self.span = tokenizer, vocab["text"]
        self.codes: list[int] = []
        self.given = ""

    def push(self, step: NDArray[np.int64]) -> str:
        """What became certain with this step [channels]; perhaps nothing."""
        self.codes.append(int(step[0]) - self.span.start)
        return self._new(self.tokenizer.decode(self.codes).rstrip(UNSURE))

    def finish(self) -> str:
        """The rest, broken letters included."""
        return self._new(self.tokenizer.decode(self.codes))

    def _new(self, text: str) -> str:
        new, self.given = text[len(self.given) :], text
        return new


class SoundReader:
    """Steps of an audio payload to samples, frame by frame."""

    def __init__(self, codec: "Codec | PretrainedCodec", vocab: Vocabulary) -> None:
        self.codec, self.vocab = codec, vocab
        self.state: Any = codec.start(1)                                # whichever the codec keeps
        self.steps: list[NDArray[np.int64]] = []
        self.needed = vocab.codebooks if vocab.layout in ("flat", "delay") else 1

    def push(self, step: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        """The samples of the frame that this step [channels] completes, if it does."""
        self.steps.append(step)
        if len(self.steps) < self.needed:
            return
        codes = layout.from_steps(np.stack(self.steps), self.vocab)     # [1, codebooks]
        self.steps = self.steps[1:] if self.vocab.layout == "delay" else []
        samples, self.state = self.codec.decode_stream(torch.from_numpy(codes)[None], self.state)
        yield samples[0].cpu().numpy()
