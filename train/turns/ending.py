"""`omni train ending`: teaching a model's head when a turn has ended, from recordings of people and their pauses.

A recording's end is an end. No end are its inner pauses, and places where it is cut at a dip of its level: where
somebody could hesitate. Behind each follow about 90 ms of a quiet room, which is when the head is asked (omni.live).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from omni.decode.pipeline import Pipeline
from omni.errors import InputError
from omni.live.hearing.voiced import levels, voiced
from omni.live.model.ending import Ending, fingerprint, latest
from omni.progress import progress
from omni.tokenizers.audio.metrics import resample
from omni.train.data.items import SAMPLE_RATE, Manifest

HOP = SAMPLE_RATE // 100
LEAD = 0.3                                                              # seconds of room before the voice
PAUSE = 8                                                               # hops of silence that make a pause
LONG = 15                                                               # and one in which an answer could begin
LEAST = 15                                                              # voiced hops of a recording worth learning from
BATCH = 32

Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Places:
    """Where a recording can be cut, in hops: its end, its pauses with their lengths, and a dip of its level."""

    end: int
    pauses: list[tuple[int, int]]
    dip: int | None


@dataclass(frozen=True)
class Examples:
    """states: [n, STATES, d_model]; ended: [n] bool; pause: [n] hops of silence that follow, 0 for ends and dips"""

    states: Tensor
    ended: Tensor
    pause: Tensor


def teach(pipeline: Pipeline, model: Path | str, examples: Examples, epochs: int = 15, seed: int = 0) -> Ending:
    """A head fitted to examples. Raises InputError for too few."""
    if min(int(examples.ended.sum()), int((~examples.ended).sum())) < 50:
        raise InputError(f"{len(examples.ended)} examples are too few to learn from; prepare the stamps and prompts")
    torch.manual_seed(seed)
    flat = examples.states.flatten(1)                                   # [n, STATES * d_model]
    head = Ending(pipeline.model.config.d_model, fingerprint(model))
    head.mean, head.scale = flat.mean(0), 1 / (flat.std(0) + 1e-6)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.1)
    target = examples.ended.float()
    for _ in progress(range(epochs), "learning", unit="epoch"):
        head.train()
        for rows in torch.randperm(len(target)).split(256):
            loss = nn.functional.binary_cross_entropy_with_logits(head(examples.states[rows]), target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head.eval()


def collect(pipeline: Pipeline, manifest: Manifest, split: str, limit: int, seed: int = 0) -> Examples:
    """Examples from up to `limit` recordings of people of one split, in a random order that the seed fixes."""
    random = np.random.default_rng(seed)
    said = [recording for item in manifest.of(split=split) for recording in item.recordings]
    said = [recording for recording in said if recording.kind == "speech" and not recording.preset]
    chosen = [said[index] for index in random.permutation(len(said))[:limit]]
    states: list[Tensor] = []
    ended: list[bool] = []
    pause: list[int] = []
    batch: list[Wave] = []
    for number, recording in enumerate(progress(chosen, f"listening ({split})"), 1):
        wave = manifest.wave(recording)
        places = find_places(wave, random)
        if places is not None:
            cuts = [(places.end, True, 0), *((at, False, length) for at, length in places.pauses)]
            cuts += [(places.dip, False, 0)] if places.dip is not None else []
            for at, end, length in cuts:
                batch.append(until(wave, at, random))
                ended.append(end)
                pause.append(length)
        if batch and (len(batch) >= BATCH or number == len(chosen)):
            states += heard(pipeline, batch)
            batch = []
    if not states:
        raise InputError(f"{manifest.folder}: no recordings of people in {split}; prepare the stamps and prompts")
    return Examples(torch.stack(states), torch.tensor(ended), torch.tensor(pause))


def find_places(wave: Wave, random: np.random.Generator) -> Places | None:
    """Where to cut a clean recording; None for one with too little voice."""
    level = levels(wave, SAMPLE_RATE)
    loud = voiced(level)
    if len(loud) < LEAST:
        return None
    gaps = np.diff(loud) - 1
    pauses = [(int(loud[at]) + 1, int(gaps[at])) for at in np.flatnonzero(gaps >= PAUSE)]
    smooth = np.convolve(level, np.ones(3) / 3, "same")
    inner = range(int(loud[0]) + LEAST, int(loud[-1]) + 1 - LEAST)
    dips = [at for at in inner if smooth[at] <= smooth[at - 3 : at + 4].min() and smooth[at] < 0.3 * level.max()]
    return Places(int(loud[-1]) + 1, pauses, int(random.choice(dips)) if dips else None)


def until(wave: Wave, hops: int, random: np.random.Generator) -> Wave:
    """A recording up to a place, with a room's quiet before and, for 75 to 100 ms, behind it."""
    lead, tail = int(LEAD * SAMPLE_RATE), int(SAMPLE_RATE * random.uniform(0.075, 0.1))
    said = wave[: hops * HOP]
    whole = np.concatenate((np.zeros(lead, np.float32), said, np.zeros(tail, np.float32)))
    noise = random.normal(0, 10 ** random.uniform(-4.2, -3.2), len(whole))
    return (whole + noise).astype(np.float32)


@torch.inference_mode()
def heard(pipeline: Pipeline, waves: list[Wave]) -> Iterator[Tensor]:
    """The model's latest states [STATES, d_model] after hearing each wave, as it hears in a live conversation."""
    codec = pipeline.tokenizers.audio
    if codec is None:
        raise InputError("this model has no audio codec, and hears nothing that could end")
    said = []
    for wave in waves:
        at_rate = resample(wave, SAMPLE_RATE, codec.sample_rate)
        codes, _ = codec.encode_stream(torch.from_numpy(at_rate)[None], codec.start(1))
        said.append(codes[0].numpy())
    yield from latest(pipeline.model, pipeline.vocab, said)
