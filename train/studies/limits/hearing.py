"""Numbers and letters in English and Spanish: which of them does somebody say whom nobody learnt from?

The training data of omni-tiny have no person who says any in these languages, and neither has this: its voices are
espeak-ng's. Heard are those of its voices that were left out, another synthesizer, and a person.
"""

import re
from pathlib import Path

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn

from omni.errors import InputError
from omni.files import read_json, write_json
from omni.live.hearing.pcm import HOP, RATE
from omni.live.hearing.spectrum import WINDOW, log_bands
from omni.live.hearing.voiced import levels, voiced
from omni.progress import progress
from omni.tokenizers.audio.metrics import resample
from omni.tokenizers.audio.voices import Voice, read_aloud
from omni.train.data.items import Manifest
from omni.train.turns.cadence import otherwise

LANGUAGES = ("en", "es")
PERSON = "prompts/allison"
SPELLED = re.compile(r"prompts/(digits/\d+|letters/[a-z])(@\w+)?")
CROWD = ("f1", "f2", "f3", "f4", "m1", "m2", "m3", "m4", "m5", "m6", "klatt", "klatt2", "Andy", "steph", "linda", "f5")
LEFT_OUT = ("m7", "Alex", "Annie")                                      # of the same synthesizer
FLITE = (Voice("flite", "rms"), Voice("flite", "slt"))                  # which speak English
SPEEDS = (125, 160, 195)
HOPS, BANDS = 200, 40                                                   # the last two seconds that are voiced
WIDTH, DROPOUT, BATCH, LEARNING_RATE = 96, 0.3, 64, 3e-3
SEEN, ABOUT = "seen.npy", "about.json"
WHO = ("espeak-ng's other voices", "flite", "a person")

Floats = NDArray[np.float32]


class Listener(nn.Module):
    """Which text is said: spectra [n, HOPS, BANDS] to scores [n, texts]."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, texts: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.near = nn.Sequential(
            nn.Conv1d(BANDS, WIDTH, 5, 2, 2), nn.ReLU(), nn.Dropout(DROPOUT),
            nn.Conv1d(WIDTH, WIDTH, 5, 2, 2), nn.ReLU(),
        )  # fmt: skip
        self.follow = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.tell = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(2 * WIDTH, texts))

    def forward(self, seen: Tensor) -> Tensor:
        x = ((seen - self.mean) * self.scale).transpose(1, 2)           # [n, BANDS, HOPS]
        states, _ = self.follow(self.near(x).transpose(1, 2))           # [n, HOPS / 4, WIDTH]
        return self.tell(torch.cat((states[:, -1], states.amax(1)), 1))


def prepare(manifest: Manifest, shared: Path) -> int:
    """Write what everybody says. Returns how many voices can be learnt from."""
    said = [
        (recording.language, item.texts[recording.language], recording)
        for item in manifest.items if SPELLED.fullmatch(item.id)
        for recording in item.recordings
        if recording.speaker == PERSON and recording.language in LANGUAGES and recording.language in item.texts
    ]  # fmt: skip
    texts = sorted({(language, text) for language, text, _ in said})
    if len(texts) < len(LANGUAGES):
        raise InputError(f"{manifest.folder}: {PERSON} says no numbers and letters there; prepare the prompts")
    heard: list[tuple[str, int, NDArray[np.float32]]] = []              # by whom, number of the text, samples
    heard += [(WHO[2], texts.index((language, text)), manifest.wave(one)) for language, text, one in said]
    voices = [(WHO[0] if name in LEFT_OUT else name, Voice("espeak-ng", name, rate))
              for name in (*CROWD, *LEFT_OUT) for rate in SPEEDS]  # fmt: skip
    for who, voice in progress([*voices, *((WHO[1], voice) for voice in FLITE)], "reading numbers aloud"):
        for language in LANGUAGES[: 1 if who == WHO[1] else None]:
            own = [(place, text) for place, (code, text) in enumerate(texts) if code == language]
            waves = read_aloud([text for _, text in own], voice, language)
            heard += [(who, place, resample(*wave, RATE)) for (place, _), wave in zip(own, waves, strict=True)]
    np.save(shared / SEEN, np.stack([spectra(wave) for _, _, wave in heard]))
    about = {"who": [who for who, _, _ in heard], "text": [place for _, place, _ in heard]}
    write_json(shared / ABOUT, {**about, "languages": [language for language, _ in texts]})
    return len(CROWD)


def spectra(wave: Floats) -> Floats:
    """The last HOPS before the voice ends, in a quiet room: [HOPS, BANDS]."""
    loud = voiced(levels(wave, RATE))
    said = wave[: (int(loud[-1]) + 1) * HOP] if len(loud) else wave
    room = np.random.default_rng(0).normal(0, 3e-4, HOP * (HOPS - 1) + WINDOW)
    room[max(0, len(room) - len(said)) :] += said[-len(room) :]
    return log_bands(sliding_window_view(room.astype(np.float32), WINDOW)[::HOP], BANDS).astype(np.float32)


def right(shared: Path, voices: int, seed: int, steps: int) -> dict[str, list[float]]:
    """Of each recording of those that it has not learnt from, 1 where a listener that learnt from so many voices picks
    the text among all of its language, else 0."""
    about = read_json(shared / ABOUT)
    seen, who, text = torch.from_numpy(np.load(shared / SEEN)), np.array(about["who"]), np.array(about["text"])
    languages = np.array(about["languages"])
    mine = np.isin(who, np.random.default_rng(seed).permutation(CROWD)[:voices])
    listener = learnt(seen[mine], torch.from_numpy(text[mine]), len(languages), seed, steps)
    found = {}
    for name in WHO:
        rows = np.flatnonzero(who == name)
        with torch.no_grad():
            scores = listener(seen[rows]).numpy()                       # [rows, texts]
        scores[languages[None] != languages[text[rows]][:, None]] = -np.inf
        found[name] = (scores.argmax(axis=1) == text[rows]).astype(float).tolist()
    return found


def learnt(seen: Tensor, text: Tensor, texts: int, seed: int, steps: int) -> Listener:
    """A listener from chance. seen: [n, HOPS, BANDS]; text: numbers [n]"""
    torch.manual_seed(seed)
    listener = Listener(seen.mean((0, 1)), 1 / seen.std((0, 1)), texts)
    optimizer = torch.optim.AdamW(listener.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1)
    for _ in range(steps):
        rows = torch.randint(len(seen), (BATCH,))
        loss = nn.functional.cross_entropy(listener(otherwise(seen[rows])), text[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return listener.eval()
