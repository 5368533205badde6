"""A text read aloud is drawn several times, and kept is what the codec's own ear understands best.

A reading that goes wrong does so by chance: of eight of a held-out text one is nearly always right. Others choose by
a recognizer of their own, too (Betker 2023, section 3.4).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from omni.decode.heard import Ear
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.pretrained import PretrainedCodec

if TYPE_CHECKING:
    from omni.decode.pipeline import Answer

READINGS = 4


@torch.inference_mode()
def clearest(
    made: Sequence["Answer"], texts: Sequence[str], codec: Codec | PretrainedCodec, ear: Ear
) -> list["Answer"]:
    """Of READINGS answers in speech to each text, in a row, that which spells it most likely when it is heard."""
    kept = []
    for text, readings in zip(texts, zip(*[iter(made)] * READINGS, strict=True), strict=True):
        waves = [torch.from_numpy(one.audio)[None] for one in readings if one.audio is not None]  # [1, samples] each
        misses = [ear.misses(codec.encode(wave)[0].cpu().numpy(), text) for wave in waves]
        kept.append(readings[misses.index(min(misses))])
    return kept
