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

from omni.model.twice import wanted_twice

NEVER = -1e30                                                           # log of no chance: infinity has no gradient


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
        if wanted_twice():
            return ctc_loss(said, self.letters, self.steps, self.lengths)
        return F.ctc_loss(said, self.letters, self.steps, self.lengths, reduction="sum")


def ctc_loss(said: Tensor, letters: Tensor, steps: Tensor, lengths: Tensor) -> Tensor:
    """torch's sum of losses, blank 0, in operations that have second derivatives, which its own has not.

    The forward variables of Graves et al. (2006), section 4.1, over the letters with a blank before, between and after.

    said: [longest, documents, 1 + letters] log-probabilities; letters: [sum of lengths]; steps, lengths: [documents]
    """
    each = torch.nn.utils.rnn.pad_sequence(list(letters.split(lengths.tolist())), batch_first=True)
    states = F.pad(torch.stack((torch.zeros_like(each), each), dim=2).flatten(1), (0, 1))  # [documents, states]
    scores = said.gather(2, states.expand(len(said), -1, -1))           # [longest, documents, states]
    before = F.pad(states, (2, 0))[:, :-2]
    leaps = (states != 0) & (states != before)                          # from letter to letter, past the blank
    alpha = torch.where(torch.arange(states.shape[1], device=said.device) < 2, scores[0], NEVER)
    whole = [alpha]                                                     # log chance of the first steps, by last state
    for score in scores[1:]:
        one, two = F.pad(alpha, (1, 0), value=NEVER)[:, :-1], F.pad(alpha, (2, 0), value=NEVER)[:, :-2]
        alpha = score + torch.stack((alpha, one, torch.where(leaps, two, NEVER))).logsumexp(dim=0)
        whole.append(alpha)
    last = torch.stack(whole)[steps - 1, torch.arange(len(steps), device=said.device)]  # [documents, states]
    ends = torch.stack((2 * lengths, 2 * lengths - 1), dim=1)           # on the last blank, or on the last letter
    return -last.gather(1, ends).logsumexp(dim=1).sum()
