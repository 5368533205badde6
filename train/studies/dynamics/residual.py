"""A residual network on digits that begins badly, and what is said to help it."""

import math
from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from omni.train.inits import fixup, gradinit, metainit
from omni.train.studies.dynamics.problems import EXAMPLES, Problem, digits

WIDTH, BLOCKS = 32, 4
NORMS: dict[str, Callable[[], nn.Module]] = {
    "pre-norm": lambda: nn.LayerNorm(WIDTH),
    "post-norm": lambda: nn.LayerNorm(WIDTH),
    "batch norm": lambda: BatchNorm(WIDTH),
}
INITS = ("fixup", "metainit", "gradinit")


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) by the batch's own statistics, with derivatives of every order:
    MetaInit takes three, torch's own has two."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=0)                                     # [batch, width]
        return centred * (centred.square().mean(dim=0) + 1e-5).rsqrt() * self.weight + self.bias


class Residual(nn.Module):
    """Branches of two layers with ReLU; normalised before a branch, or after the sum (`post-norm`), or not at all."""

    def __init__(self, norm: str | None) -> None:
        super().__init__()
        self.post = norm == "post-norm"
        self.first, self.head = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)) for _ in range(BLOCKS)
        )
        self.norms = nn.ModuleList(NORMS[norm]() if norm else nn.Identity() for _ in range(BLOCKS))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for norm, branch in zip(self.norms, self.branches, strict=True):
            x = norm(x + branch(x)) if self.post else x + branch(norm(x))
        return self.head(x)

    @property
    def pairs(self) -> list[list[nn.Linear]]:
        return [[one for one in branch.children() if isinstance(one, nn.Linear)] for branch in self.branches]


def residual(remedies: Collection[str], seed: int, lr: float) -> Problem:
    """The classification of digits by cross-entropy. Weights begin with He's deviation, whatever the remedies; an
    initialiser among them (fixup, metainit, gradinit) starts from there. lr: of the SGD that gradinit prepares for."""
    torch.manual_seed(seed)
    model = Residual(next((norm for norm in NORMS if norm in remedies), None))
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_features))
            nn.init.zeros_(layer.bias)
    pixels, one_hot = digits(EXAMPLES)
    classes = one_hot.argmax(dim=1)
    if "fixup" in remedies:
        fixup(model.pairs, model.head)
    elif "metainit" in remedies:
        noise = torch.Generator().manual_seed(seed)

        def loss() -> Tensor:
            inputs, labels = torch.randn(64, 64, generator=noise), torch.randint(10, (64,), generator=noise)
            return F.cross_entropy(model(inputs), labels)

        metainit(loss, list(model.parameters()), steps=200)
    elif "gradinit" in remedies:
        gradinit(model, lambda named: F.cross_entropy(functional_call(model, dict(named), (pixels,)), classes), lr)
    return Problem(model, lambda index: F.cross_entropy(model(pixels[index]), classes[index]), EXAMPLES)
