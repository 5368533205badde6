"""What a picture shows, in words: the likeliest of a fixed list of names, each one code.

Codes that a picture can be painted from say little about what it is. So a picture may begin with codes that are names:
a small network of its own, which learnt them from captions, says which fit best.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAGS_A_PICTURE = 8
WIDTHS = (40, 80, 160, 256)                                             # channels at 1/2, 1/4, 1/8 and 1/16
GROUP = 16                                                              # channels that a convolution sees together


class Tagger(nn.Module):
    """Scores of names for pictures: a residual network (He et al. 2016) whose blocks see groups of channels apart."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        layers: list[nn.Module] = [_convolution(3, WIDTHS[0], 4, 2)]
        for narrow, wide, blocks in zip(WIDTHS, WIDTHS[1:], (1, 2, 2), strict=False):
            layers += [_convolution(narrow, wide, 3, 2), *(_Block(wide) for _ in range(blocks))]
        self.see = nn.Sequential(*layers)
        self.name = nn.Linear(WIDTHS[-1], len(self.names))

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: [batch, 3, size, size] in 0..1. Returns log probabilities [batch, names]."""
        seen = self.see((2 * pixels - 1).contiguous(memory_format=torch.channels_last)).mean((2, 3))  # [batch, width]
        return self.name(F.dropout(seen, 0.2, self.training)).float().log_softmax(-1)

    def codes(self, pixels: Tensor) -> Tensor:
        """The likeliest names, best first: long [batch, TAGS_A_PICTURE]."""
        return self(pixels).topk(TAGS_A_PICTURE).indices

class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.near = _convolution(channels, channels, 3, 1, channels // GROUP)
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.mix(self.near(x))))


def _convolution(narrow: int, wide: int, size: int, stride: int, groups: int = 1) -> nn.Sequential:
    inner = nn.Conv2d(narrow, wide, size, stride, padding=1, groups=groups, bias=False)
    return nn.Sequential(inner, nn.BatchNorm2d(wide), nn.ReLU())
