"""How turn detection learns what the end of a turn sounds like: `python -m omni.train.turns.cadence --data DIR`.

People's recordings of the training split are said in a quiet room, and turn detection asks in each of their pauses, as
it does live. An end is where an answer that comes after `ENOUGH` of silence would not come too early.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omni.errors import InputError
from omni.live.hearing.cadence import BANDS, ENDING, FILE, HOPS, KERNEL, PADDING, STRIDE
from omni.live.hearing.cadence import WIDTH as SEEN
from omni.live.hearing.pcm import HOP, RATE, Wave
from omni.live.hearing.spectrum import SOFTEST
from omni.live.hearing.turns import Rules, Turns
from omni.live.hearing.voiced import levels, voiced
from omni.progress import progress
from omni.train.data.items import Manifest
from omni.train.turns.program import run

SOURCES = ("stamps", "prompts")
LEAD, BEHIND = 0.5, 1.0                                                 # seconds of the room around a recording
SILENCE = 0.7                                                           # after which no pause is waited for any more
SHORTEST = 0.08                                                         # seconds of the pauses that are learnt from
RISING = 0.04                                                           # in which a sound that begins is not answered
ENOUGH = 0.16
UNCLEAR = 0.3                                                           # weight of pauses shorter than that
WIDTH, DROPOUT = 96, 0.3
EPOCHS, BATCH, RATE_OF_LEARNING, DECAY = 28, 64, 3e-3, 0.05
SEED = 1                                                                # of two the better on the validation split
LOUDER, COLOUR = 0.4, 0.1                                               # deviations, in nats or so, of all and a band
TRACT = 2                                                               # bands that a voice is moved up or down
SPEEDS = (0.85, 1.15)
GAP = 6                                                                 # bands that may be missing
JOINED, MUTED = 0.5, 0.25                                               # share behind another one, or silence
OTHERS = 70                                                             # hops that those take at most


@dataclass(frozen=True)
class Pause:
    """seen: what `Cadence` has of it, [HOPS, SEEN]; wait: seconds of silence after which an answer is not too early;
    over: whether nothing more was said"""

    seen: NDArray[np.float32]
    wait: float
    over: bool

    @property
    def ended(self) -> bool:
        return self.over and self.wait < ENOUGH

    @property
    def weight(self) -> float:
        return 1.0 if self.over or self.wait >= ENOUGH else UNCLEAR


class Network(nn.Module):
    """Log-odds [n] that all was said, from [n, HOPS, SEEN]; `omni.live.hearing.cadence` computes the same."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)                              # [SEEN]
        self.register_buffer("scale", scale)
        self.first = nn.Conv1d(SEEN, WIDTH, KERNEL, STRIDE, PADDING)
        self.second = nn.Conv1d(WIDTH, WIDTH, KERNEL, STRIDE, PADDING)
        self.follow = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.drop = nn.Dropout(DROPOUT)
        self.last = nn.Linear(2 * WIDTH, 1)

    def forward(self, seen: Tensor) -> Tensor:
        x = ((seen - self.mean) * self.scale).transpose(1, 2)           # [n, SEEN, HOPS]
        x = torch.relu(self.second(self.drop(torch.relu(self.first(x)))))  # [n, WIDTH, HOPS / 4]
        states, _ = self.follow(x.transpose(1, 2))                      # [n, HOPS / 4, WIDTH]
        known = torch.cat((states[:, -1], states[:, -ENDING:].amax(1)), 1)
        return self.last(self.drop(known))[:, 0]


def pauses(wave: Wave, random: np.random.Generator) -> Iterator[Pause]:
    """Of a recording at 16 kHz, said in a quiet room: what turn detection would ask about."""
    loud = voiced(levels(wave, RATE))
    if not len(loud):
        return
    said, before = wave[: (int(loud[-1]) + 1) * HOP], int(LEAD * RATE)
    room = random.normal(0, 10 ** random.uniform(-4.2, -3.2), before + len(said) + int(BEHIND * RATE))
    room[before : before + len(said)] += said
    yield from heard(room.astype(np.float32), before + len(said))


def heard(wave: Wave, end: int) -> Iterator[Pause]:
    """The pauses of a stream whose last voiced sample is number `end`."""
    turns, asked = Turns(Rules(silence_ms=int(1000 * SILENCE))), None   # asked: what was seen, and where voice stopped
    for start in range(0, len(wave) - HOP + 1, HOP):
        for change in turns.hear(wave[start : start + HOP]):
            if change.kind == "paused":
                asked = turns.cadence.seen(turns.silence), change.at
            elif asked is not None and change.kind == "resumed":
                (seen, stopped), asked = asked, None
                if change.at - stopped >= SHORTEST * RATE:
                    yield Pause(seen, (change.at - stopped) / RATE - RISING, over=False)
            elif asked is not None and change.kind == "ended":
                seen, stopped = asked
                over, asked = stopped + SILENCE * RATE >= end, None
                yield Pause(seen, (end - stopped) / RATE if over else SILENCE, over)


def teach(found: Sequence[Pause], seed: int = SEED, epochs: int = EPOCHS) -> Network:
    """A network fitted to pauses. Raises InputError for too few."""
    ended = torch.tensor([one.ended for one in found]).float()
    if min(ended.sum(), (1 - ended).sum()) < BATCH:
        raise InputError(f"{len(found)} pauses are too few to learn from; prepare the stamps and prompts")
    torch.manual_seed(seed)
    seen = torch.from_numpy(np.stack([one.seen for one in found]))      # [n, HOPS, SEEN]
    weight = torch.tensor([one.weight for one in found])
    network = Network(seen.mean((0, 1)), 1 / seen.std((0, 1)))
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=DECAY)
    steps = len(seen) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE_OF_LEARNING, total_steps=epochs * steps + 1)
    for _ in progress(range(epochs), "learning", unit="epoch"):
        for rows in torch.randperm(len(seen))[: steps * BATCH].split(BATCH):
            odds = network(_after_others(otherwise(seen[rows])))
            loss = nn.functional.binary_cross_entropy_with_logits(odds, ended[rows], weight[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def otherwise(seen: Tensor) -> Tensor:
    """The same [n, hops, BANDS or more] louder or softer, through another microphone, by another voice, slower or
    faster, or with bands missing."""
    n, longest = len(seen), seen.shape[1] - 1
    seen, bands = seen.clone(), seen[..., :BANDS]
    bands = bands + LOUDER * torch.randn(n, 1, 1) + COLOUR * torch.randn(n, 1, BANDS)
    for row in range(n):
        missing, first = torch.randint(GAP + 1, ()), torch.randint(BANDS - GAP, ())
        bands[row, :, first : first + missing] = bands[row].mean()
        seen[row, :, :BANDS] = torch.roll(bands[row], int(torch.randint(-TRACT, TRACT + 1, ())), 1)
        speed = SPEEDS[0] + (SPEEDS[1] - SPEEDS[0]) * torch.rand(())
        at = (longest - torch.arange(longest, -1, -1) * speed).clamp_min(0).round().long()
        seen[row] = seen[row, at]
    return seen


def _after_others(seen: Tensor) -> Tensor:
    """The same [n, HOPS, SEEN], some behind what another one ends with, or behind silence, so that it counts little
    what came first."""
    before = seen[torch.randperm(len(seen))]
    for row, chance in enumerate(torch.rand(len(seen)).tolist()):
        upto = int(torch.randint(OTHERS, ()))
        if chance < JOINED:
            seen[row, :upto] = before[row, HOPS - upto :]
        elif chance < JOINED + MUTED:
            seen[row, :upto] = 0                                        # no melody
            seen[row, :upto, :BANDS] = float(np.log(SOFTEST))
    return seen


def examples(manifest: Manifest, split: str = "train", seed: int = 0) -> list[Pause]:
    """The pauses of people in a split. Raises InputError where the data have nobody."""
    random = np.random.default_rng(seed)
    items = [item for item in manifest.of(split=split) if item.source in SOURCES]
    said = [one for item in items for one in item.recordings if one.kind == "speech" and one.human]
    if not said:
        raise InputError(f"{manifest.folder}: no recordings of people in {split}; prepare the stamps and prompts")
    return [pause for one in progress(said, f"listening ({split})") for pause in pauses(manifest.wave(one), random)]


if __name__ == "__main__":
    run("omni.train.turns.cadence", __doc__, lambda manifest: teach(examples(manifest)), FILE)
