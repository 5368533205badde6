"""Initial weights: each number is a function of the seed, the parameter's name, and its place in that parameter.

So a process can draw the part of a parameter that it holds and nothing else, and a run begins with the same weights,
bit for bit, among how many processes they may be divided.
"""

import hashlib
import math

import torch
from torch import Generator, Tensor, nn

from omni.model.config import ModelConfig

STD = 0.02
CHUNK = 1 << 21                                                         # numbers that come from one generator

Spread = tuple[float, float]                                            # mean and deviation


def spreads(model: nn.Module, config: ModelConfig) -> dict[str, Spread]:
    """How each parameter begins, by name: matrices normal with deviation 0.02, norms one, everything else zero.

    What writes to the residual stream is scaled by 1/sqrt(2 n_layers) (GPT-2).
    """
    found = {}
    for path, module in model.named_modules():
        writes = path.endswith(("attention.out", "feed_forward.down"))
        deviation = STD / math.sqrt(2 * config.n_layers) if writes else STD
        for name, _ in module.named_parameters(recurse=False):
            random = isinstance(module, nn.Linear | nn.Embedding) and name == "weight"
            mean = float(isinstance(module, nn.RMSNorm))
            found[f"{path}.{name}" if path else name] = (0.0, deviation) if random else (mean, 0.0)
    return found


@torch.no_grad()
def draw(flat: Tensor, start: int, name: str, spread: Spread, seed: int) -> None:
    """Write values `start` to `start + numel` of a flattened parameter into `flat`, [numel] of any device and type."""
    mean, deviation = spread
    if not deviation:
        flat.fill_(mean)
        return
    stop = start + len(flat)
    for first in range(start - start % CHUNK, stop, CHUNK):
        key = hashlib.sha256(f"{seed}/{name}/{first}".encode()).digest()[:8]
        generator = Generator("cpu").manual_seed(int.from_bytes(key))
        count = min(CHUNK, -(-(stop - first) // 16) * 16)               # torch draws sixteen at a time
        part = torch.empty(count, device="cpu").normal_(mean, deviation, generator=generator)
        part = part[max(0, start - first) : stop - first]
        at = max(0, first - start)
        flat[at : at + len(part)] = part.to(flat.device)


@torch.no_grad()
def initialise(model: nn.Module, config: ModelConfig) -> None:
    """Draw all weights of a model outside a run from torch's own generator."""
    how = spreads(model, config)
    for name, parameter in model.named_parameters():
        mean, deviation = how[name]
        if deviation:
            parameter.normal_(mean, deviation)
        else:
            parameter.fill_(mean)
