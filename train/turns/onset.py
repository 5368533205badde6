"""How turn detection learns what the beginning of speech sounds like: `python -m omni.train.turns.onset --data DIR`.

Speech is people's recordings of the training split, from their first sound on; none of it is the quiet before, and the
sounds of things and animals. Each is heard several times: louder or softer, in more noise, through a telephone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn

from omni.errors import InputError
from omni.live.hearing.onset import FILE, HOPS, described
from omni.live.hearing.pcm import HOP, RATE, Resampler, Wave, from_bytes, to_bytes
from omni.live.hearing.spectrum import WINDOW
from omni.live.hearing.vad import Silero
from omni.live.hearing.voiced import levels, voiced
from omni.progress import progress
from omni.train.data.items import Manifest
from omni.train.turns.program import run

RECORDINGS = 1500                                                       # of people, of those that the data have
TIMES = 3                                                               # that each is heard; effects are few
EFFECT_TIMES = 12
LEAD, LENGTH, EFFECT_LENGTH = 0.4, 0.4, 2.0                             # seconds: of quiet, of speech, of an effect
BELOW = 25.0                                                            # dB under the loudest at which speech begins
UNCLEAR = 3                                                             # hops before that, which may be breath
WIDTHS = (48, 24)
EPOCHS, BATCH = 12, 512


@dataclass(frozen=True)
class Heard:
    """What a stream sounds like, hop by hop: seen [hops, HOPS * 21], the newest first; speech [hops]."""

    seen: NDArray[np.float32]
    speech: NDArray[np.bool_]


class Network(nn.Module):
    """Log-odds [n] of speech from [n, HOPS * 21]; `omni.live.hearing.onset` computes the same."""

    mean: Tensor
    scale: Tensor

    def __init__(self, seen: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", seen.mean(0))
        self.register_buffer("scale", 1 / seen.std(0))
        self.first, self.second = nn.Linear(seen.shape[1], WIDTHS[0]), nn.Linear(*WIDTHS)
        self.last = nn.Linear(WIDTHS[1], 1)

    def forward(self, seen: Tensor) -> Tensor:
        states = nn.functional.dropout((seen - self.mean) * self.scale, 0.1, self.training)
        states = nn.functional.silu(self.second(nn.functional.silu(self.first(states))))  # [n, 24]
        return self.last(states)[:, 0]


def teach(said: Sequence[Heard], others: Sequence[Heard], seed: int = 0) -> Network:
    """A network fitted to what people say and what nobody says, each with half of the weight."""
    torch.manual_seed(seed)
    parts = [one for group in (said, others) for one in group]
    seen = torch.from_numpy(np.concatenate([one.seen for one in parts]))
    speech = torch.from_numpy(np.concatenate([one.speech for one in parts])).float()
    weight = torch.where(speech > 0, len(speech) / speech.sum(), len(speech) / (1 - speech).sum()) / 2
    network = Network(seen)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    steps = EPOCHS * -(-len(seen) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in progress(range(EPOCHS), "learning", unit="epoch"):
        for rows in torch.randperm(len(seen)).split(BATCH):
            losses = nn.functional.binary_cross_entropy_with_logits(network(seen[rows]), speech[rows], weight[rows])
            optimizer.zero_grad()
            losses.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def spoken(wave: Wave, random: np.random.Generator) -> Heard | None:
    """The beginning of a recording of speech, in a room; None where it has none."""
    loud = voiced(levels(wave, RATE), BELOW)
    if not len(loud):
        return None
    first = int(loud[0])
    whole = wave[: (first + 1) * HOP + int(LENGTH * RATE)]
    begins = int(LEAD * RATE) // HOP + first                            # the hop in which it does
    heard = listened(spoilt(whole, random))
    hops = np.arange(len(heard))
    clear = (hops < begins - UNCLEAR) | (hops > begins)
    return Heard(heard[clear], (hops > begins)[clear])


def unspoken(wave: Wave, random: np.random.Generator) -> Heard:
    """A sound that nobody says, from anywhere in it on."""
    start = int(random.integers(max(1, len(wave) - RATE // 4)))
    heard = listened(spoilt(wave[start:][: int(EFFECT_LENGTH * RATE)], random))
    return Heard(heard, np.zeros(len(heard), bool))


def spoilt(wave: Wave, random: np.random.Generator) -> Wave:
    """The wave behind a lead of quiet: at another loudness, in noise, and in one of three cases through a telephone."""
    whole = np.concatenate((np.zeros(int(LEAD * RATE), np.float32), wave)) * 10 ** random.uniform(-0.6, 0.3)
    whole += random.normal(0, 10 ** random.uniform(-4.2, -2.7), len(whole))
    whole = np.clip(whole, -1, 1).astype(np.float32)
    if random.random() > 1 / 3:
        return whole
    down, up = Resampler(RATE, 8000), Resampler(8000, RATE)
    sent = from_bytes(to_bytes(np.concatenate((down(whole), down.finish())), "audio/pcmu"), "audio/pcmu")
    return np.concatenate((up(sent), up.finish()))[: len(whole)]


def listened(wave: Wave) -> NDArray[np.float32]:
    """What turn detection has before it after each 10 ms of a stream: [hops, HOPS * 21]."""
    silero, hops = Silero(), len(wave) // HOP
    said = np.zeros(hops)                                               # silero-vad's word, as it is known then
    for hop in range(hops):
        silero.hear(wave[hop * HOP : (hop + 1) * HOP])
        said[hop] = silero.probability
    silent = HOPS - 1                                                   # hops before the stream, as it is live
    padded = np.concatenate((np.zeros(silent * HOP + WINDOW - HOP, np.float32), wave[: hops * HOP]))
    each = described(sliding_window_view(padded, WINDOW)[::HOP], np.concatenate((np.zeros(silent), said)))
    return sliding_window_view(each, HOPS, axis=0)[..., ::-1].swapaxes(1, 2).reshape(hops, -1)


def examples(manifest: Manifest, seed: int = 0) -> tuple[list[Heard], list[Heard]]:
    """What people say, and what nobody says, in the training split. Raises InputError where the data lack either."""
    random = np.random.default_rng(seed)
    every = [one for item in manifest.of(split="train") for one in item.recordings]
    said = [one for one in every if one.kind == "speech" and one.human]
    others = [one for one in every if one.kind != "speech"]
    if not said or not others:
        raise InputError(f"{manifest.folder}: no recordings of people, or no other sounds; prepare the stamps")
    chosen = [said[at] for at in random.permutation(len(said))[:RECORDINGS]]
    found = [
        spoken(manifest.wave(one), random) for one in progress(chosen, "listening to people") for _ in range(TIMES)
    ]
    effects = [
        unspoken(manifest.wave(one), random)
        for one in progress(others, "listening to other sounds") for _ in range(EFFECT_TIMES)
    ]  # fmt: skip
    return [one for one in found if one is not None], effects


if __name__ == "__main__":
    run("omni.train.turns.onset", __doc__, lambda manifest: teach(*examples(manifest)), FILE)
