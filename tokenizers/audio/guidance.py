"""Codes that carry words: a small reader of the codes, trained beside the codec and thrown away with the training.

Spectral losses alone spend bits on what is loud. The reader must spell what was said from the quantized vectors
(connectionist temporal classification, Graves et al. 2006), so the encoder keeps phones apart that sound alike
(the aim of Mimi's distilled first codebook, Défossez et al. 2024, without a teacher).
"""

from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni.tokenizers.letters import plain

WIDTH = 160
RAREST = 20                                                             # occurrences of a letter that is learnt


class Alphabet:
    """The letters of the transcripts, or those that are given; 0 is the blank."""

    def __init__(self, texts: Sequence[str], letters: str = "") -> None:
        counts = Counter(letter for text in texts for letter in plain(text))
        self.letters = letters or "".join(sorted(letter for letter, count in counts.items() if count >= RAREST))
        self._ids = {letter: number for number, letter in enumerate(self.letters, start=1)}

    def __len__(self) -> int:
        return 1 + len(self.letters)

    def ids(self, text: str) -> list[int]:
        return [self._ids[letter] for letter in plain(text) if letter in self._ids]


class Reader(nn.Module):
    """Quantized vectors [batch, frames, dims] to log probabilities of letters, two a frame."""

    def __init__(self, dims: int, letters: int) -> None:
        super().__init__()
        self.letters = letters
        self.see = nn.Linear(dims, WIDTH)
        self.hear = nn.GRU(WIDTH, WIDTH, batch_first=True, bidirectional=True)
        self.spell = nn.Linear(2 * WIDTH, 2 * letters)

    def forward(self, vectors: Tensor) -> Tensor:
        """Returns [batch, 2 * frames, letters]."""
        heard, _ = self.hear(F.gelu(self.see(vectors)))                 # [batch, frames, 2 * WIDTH]
        return self.spell(heard).unflatten(2, (2, self.letters)).flatten(1, 2).log_softmax(-1)


def reading_loss(said: Tensor, texts: Sequence[Sequence[int]], steps: Sequence[int]) -> Tensor:
    """CTC in nats a letter, over the rows that have a text.

    said: [batch, 2 * frames, letters]; texts: ids of letters a row, perhaps none; steps: of `said` that a row has.
    """
    rows = [row for row, text in enumerate(texts) if len(text)]
    if not rows:
        return said.new_zeros(())
    targets = torch.tensor([letter for row in rows for letter in texts[row]], device=said.device)
    lengths = torch.tensor([len(texts[row]) for row in rows])
    present = torch.tensor([steps[row] for row in rows])
    return F.ctc_loss(said[rows].transpose(0, 1), targets, present, lengths, zero_infinity=True)
