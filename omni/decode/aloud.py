"""Of a text read aloud each sentence is drawn several times, and kept is what the codec's own ear understands best.

A reading that goes wrong does so by chance: of eight of a held-out text one is nearly always right. Others choose by
a recognizer of their own, too (Betker 2023, section 3.4). Ours is asked twice how likely it finds the text: of the
codes as they were drawn, and of those that it hears in their sound; each alone chooses worse (docs/generate.md).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from omni.decode.heard import Ear
from omni.sequence import Segment
from omni.tokenizers.audio.codec import AudioCodec

if TYPE_CHECKING:
    from omni.decode.answer import Answer

READINGS = 8


@torch.inference_mode()
def clearest(made: Sequence["Answer"], texts: Sequence[str], codec: AudioCodec, ear: Ear) -> list["Answer"]:
    """Of READINGS answers in speech to each text, in a row, that which spells it most likely when it is heard."""
    kept = []
    for text, readings in zip(texts, zip(*[iter(made)] * READINGS, strict=True), strict=True):
        misses = [ear.misses(one.segments[-1].codes, text) + ear.misses(_heard(one, codec), text) for one in readings]
        kept.append(readings[misses.index(min(misses))])
    return kept


def joined(sentences: Sequence[Segment], most: int) -> Segment:
    """Their speech one after another, of at most so many frames."""
    return replace(sentences[0], codes=np.concatenate([one.codes for one in sentences])[:most])


def _heard(answer: "Answer", codec: AudioCodec) -> NDArray[np.integer]:
    """The codes [frames, codebooks] of an answer's sound."""
    assert answer.audio is not None
    return codec.encode(torch.from_numpy(answer.audio)[None])[0].cpu().numpy()
