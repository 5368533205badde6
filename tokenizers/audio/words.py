"""The codebook of words: an encoder of its own, whose codes are trained to spell what is said (spelling.py).

Codes that serve to sound alike carry little of what is said. So one code a frame, the first, is taken from an encoder
that never hears whether its codes sound right (supervised semantic tokens, Du et al. 2024, CosyVoice; the first of many
codebooks as in Moshi, Défossez et al. 2024). The decoder ignores it: it is for the model that reads and writes codes.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from omni.tokenizers.audio.blocks import CausalStack

MELS = 80
LOWEST, HIGHEST = 60.0, 7600.0                                          # Hz
WIDTHS = (144, 224, 384)                                                # a hop, two hops, a frame
DEPTHS = (2, 3, 8)
KERNELS = (7, 7, 9)
LETTERS_A_FRAME = 2                                                     # that can be spelt

States = tuple[tuple[Tensor, ...], ...]


class Words(nn.Module):
    """Power spectra, 100 a second or so, to one code a frame; causal, its past an explicit state.

    bins: of a spectrum; hops: spectra in a frame, an even number; codes: how many there are; letters: that it spells.
    A code is the nearest of the centres to the roots of the letters' probabilities, so by Hellinger's distance: of the
    scores themselves it keeps a third less of what is said. The centres are found when the encoder has learnt.
    """

    bank: Tensor
    centres: Tensor

    def __init__(self, sample_rate: int, bins: int, hops: int, codes: int, letters: str) -> None:
        super().__init__()
        hop, pair, frame = WIDTHS
        self.hops, self.letters = hops, letters
        self.hear = nn.Linear(MELS, hop)
        self.stacks = cast(Sequence[CausalStack], nn.ModuleList(map(CausalStack, DEPTHS, WIDTHS, KERNELS)))
        self.pair = nn.Linear(2 * hop, pair)
        self.frame = nn.Linear(hops // 2 * pair, frame)
        self.spell = nn.Linear(frame, LETTERS_A_FRAME * (1 + len(letters)))  # the blank, then the letters, twice
        self.register_buffer("centres", torch.zeros(codes, LETTERS_A_FRAME * (1 + len(letters))))
        self.register_buffer("bank", mel_bank(sample_rate, bins), persistent=False)

    def start(self, batch: int) -> States:
        """The state before the first spectrum of `batch` streams."""
        return tuple(stack.start(batch) for stack in self.stacks)

    def forward(self, power: Tensor, states: States) -> tuple[Tensor, States]:
        """power: [batch, frames * hops, bins]. Returns codes, long [batch, frames], and the state after them."""
        scores, states = self.scores(mels(power, self.bank), states)
        return nearest(roots(scores), self.centres), states

    def scores(self, heard: Tensor, states: States) -> tuple[Tensor, States]:
        """Mel bands [batch, frames * hops, MELS] to log probabilities [batch, frames, LETTERS_A_FRAME, 1 + letters]."""
        after = []
        x, state = self.stacks[0](self.hear(heard), states[0])          # [batch, hops of all frames, hop]
        after.append(state)
        x = self.pair(x.unflatten(1, (-1, 2)).flatten(2))               # [batch, pairs, pair]
        x, state = self.stacks[1](x, states[1])
        after.append(state)
        x = self.frame(x.unflatten(1, (-1, self.hops // 2)).flatten(2))  # [batch, frames, frame]
        x, state = self.stacks[2](x, states[2])
        return self.spell(x).float().unflatten(2, (LETTERS_A_FRAME, -1)).log_softmax(-1), (*after, state)

    def read(self, codes: Tensor) -> str:
        """What codes, long [frames], spell by themselves, each moment's likeliest letter: half right at best."""
        return self.spelt(self.centres[codes].unflatten(1, (LETTERS_A_FRAME, -1)))

    def table(self, blank: str) -> tuple[str, ...]:
        """What each code spells by itself, its likeliest letters or blanks: [codes] of LETTERS_A_FRAME letters."""
        best = self.centres.unflatten(1, (LETTERS_A_FRAME, -1)).argmax(-1)  # [codes, LETTERS_A_FRAME]
        return tuple("".join((blank + self.letters)[letter] for letter in row) for row in best.tolist())

    def spelt(self, scores: Tensor) -> str:
        """The likeliest letters of [frames, LETTERS_A_FRAME, 1 + letters], without blanks and repetitions."""
        best = scores.flatten(0, 1).argmax(-1)
        best = best[torch.cat((best[:1] > 0, (best[1:] != best[:-1]) & (best[1:] > 0)))] if len(best) else best
        return " ".join("".join(self.letters[letter - 1] for letter in best.tolist()).split())


def roots(scores: Tensor) -> Tensor:
    """Log probabilities [..., LETTERS_A_FRAME, 1 + letters] as the points that codes are clusters of: [..., dims]."""
    return (scores / 2).exp().flatten(-2)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Number of the centre [codes, dims] nearest to each point [..., dims]: long [...]."""
    return (points @ centres.T - centres.square().sum(-1) / 2).argmax(-1)


def mels(power: Tensor, bank: Tensor) -> Tensor:
    """Log loudness of each mel band, about -2 to 2. power: [..., bins]; bank: [bins, MELS]."""
    return ((power @ bank) + 1e-4).log() / 4 + 0.5


def mel_bank(sample_rate: int, bins: int, tract: "float | Tensor" = 1.0) -> Tensor:
    """Triangular filters, [bins, MELS].

    tract: as if it were so many times as short (Jaitly and Hinton 2013), everywhere or at each bin [bins]
    """
    frequency = torch.linspace(0, sample_rate / 2, bins) / tract        # [bins]
    edges = torch.linspace(_mel(LOWEST), _mel(HIGHEST), MELS + 2)
    edges = 700 * (10 ** (edges / 2595) - 1)                            # [MELS + 2] Hz
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rise = (frequency[:, None] - low) / (centre - low)
    fall = (high - frequency[:, None]) / (high - centre)
    return torch.minimum(rise, fall).clamp_min(0)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
