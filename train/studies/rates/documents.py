"""The sample as a model sees it: heard and written down, read and said, in the codes of one codec."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from omni.sequence import Segment
from omni.sequence import Sequence as Stream
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.shards import ShardWriter
from omni.train.studies.rates.sample import LANGUAGE, Sample, Utterance
from omni.vocab import Vocabulary

if TYPE_CHECKING:
    from omni.tokenizers.audio.codec import Codec
    from omni.tokenizers.text import TextTokenizer

TASKS = HEARING, SPEAKING = ("transcribe", "say")
ROW = 512                                                               # steps of a packed row


@dataclass(frozen=True)
class Writer:
    """Documents of one codec's codes, its text written letter by letter."""

    text: "TextTokenizer"
    vocab: Vocabulary
    voice: str

    @classmethod
    def of(cls, text: "TextTokenizer", codec: "Codec", voice: str) -> "Writer":
        vocab = Vocabulary.of(Tokenizers(text=text, audio=codec), [LANGUAGE], "delay", [voice])
        return cls(text, vocab, voice)

    def document(self, task: str, text: str, codes: NDArray[np.int64]) -> Stream:
        """Of a text and a recording's codes [frames, codebooks]: the one is given, the other trained."""
        written = np.array(self.text.encode_letters(text), np.int64)
        if task == HEARING:
            segments = [Segment("audio", codes), Segment("text", written, "assistant", LANGUAGE)]
        else:
            segments = [Segment("text", written), Segment("audio", codes, "assistant", LANGUAGE, self.voice)]
        return Stream.of(segments, self.vocab)

    def write(self, folder: Path, said: Sequence[Utterance], codes: Sequence[NDArray[np.int64]]) -> None:
        """folder/TASK, a document an utterance."""
        for task in TASKS:
            with ShardWriter(folder / task, self.vocab, task) as shard:
                for one, frames in zip(said, codes, strict=True):
                    shard.add(self.document(task, one.text, frames), one.item)


def encoded(codec: "Codec", sample: Sample, said: Sequence[Utterance]) -> list[NDArray[np.int64]]:
    """Codes [frames, codebooks] of each recording."""
    return [codec.encode(torch.from_numpy(sample.wave(one))[None])[0].numpy() for one in said]
