"""Speech that spells its words: a loss which ties the states of heard or spoken steps to the letters of their text.

To transcribe, attention must find which steps of the speech the next word is in, and from scratch that takes it long.
Connectionist temporal classification (Graves et al. 2006) needs no attention: the states themselves must spell, in
order and at moments of their choice. Beside the usual loss it makes alignment come much sooner (Kim, Hori and Watanabe
2017). What the last layer spells no attention can look up any more, so a layer between must do it (Lee and Watanabe
2021). The letters are scored by the model's own table, by the rows of pieces that are one letter, so nothing has to be
thrown away after training; `<pad>` (id 0), which is never predicted otherwise, is the blank.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """What the speech in some documents of a batch says.

    weight:  of a letter, in the total loss, against a trained step's 1
    layer:   after which the states spell, from 1 to n_layers
    ids:     [1 + letters] rows of the table: the blank, then the letters
    place:   [documents, longest] flat index batch * steps of each step of speech; 0 behind the last
    steps:   [documents] steps of speech
    letters: [sum of lengths] numbers into `ids`, one document after the other
    lengths: [documents] letters
    """

    weight: float
    layer: int
    ids: Tensor
    place: Tensor
    steps: Tensor
    letters: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str) -> "Reading":
        tensors = (self.ids, self.place, self.steps, self.letters, self.lengths)
        return Reading(self.weight, self.layer, *(tensor.to(device) for tensor in tensors))

    def loss(self, states: Tensor, table: Tensor) -> Tensor:
        """Nats of all letters. states: [documents * longest, d_model] at `place`, normed; table: [vocab, d_model]."""
        scores = (states @ table[self.ids].T).float().log_softmax(-1)   # [documents * longest, 1 + letters]
        said = scores.unflatten(0, self.place.shape).transpose(0, 1)    # [longest, documents, 1 + letters]
        return F.ctc_loss(said, self.letters, self.steps, self.lengths, reduction="sum")
