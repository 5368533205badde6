"""How the voice guard learns the presets: `python -m omni.safety.guards.enrol --data runs/voiced` writes its weights.

Each preset's training recordings, through the codec as the assistant's speech is, against other speakers' and the
other presets', and what follows where one of these takes over from it: logistic regression on the embeddings. The
speakers of HELD_OUT are never trained on: they measure it.

DECAY, LIMIT and what is heard were chosen by cross-validation over the training speakers: of the ways with one false
alarm in sixty conversations at most, that which stops most drifts within half a second.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from omni.progress import progress
from omni.safety.guards import voice
from omni.safety.guards.embedding import RATE, WIDTH, Voiceprint
from omni.shipped import shipped_model
from omni.tokenizers.audio.metrics import Wave, through
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.items import PRESET, Manifest, Recording

Vectors = NDArray[np.float32]                                           # [steps, WIDTH]
HELD_OUT = {                                                            # speakers that are only ever tested on
    "en": ("prompts/allison", "words/en", "stamps/en"),
    "other": ("stamps/ru", "stamps/el", "prompts/carlo", "prompts/june", "prompts/ivrvoiceru", "words/uk", "words/nn",
              "words/lt", "words/gl", "words/sl"),
}  # fmt: skip
SECONDS = 6.0                                                           # of a conversation
PRESETS, OTHERS, CROWD = 20, 4, 36                                      # conversations of each preset, human; the crowd
DRIFTS, BEFORE, AFTER = 50, 2.5, 2.0                                    # of each preset; seconds of it, and of another
MIXED = 0.16                                                            # seconds after a change that tell of both
DECAY = 3e-5                                                            # weight decay, of the mean loss
SHORTEST = RATE // 2                                                    # samples of a recording that says anything


class Speakers:
    """The recordings of a data folder by speaker, and conversations made of them."""

    def __init__(self, manifest: Manifest, seed: int = 0) -> None:
        self.manifest, self.random = manifest, random.Random(f"{seed}/guards")
        self._codec = Tokenizers.load(shipped_model() / "tokenizers").audio
        self.recordings: dict[tuple[str, bool], list[Recording]] = {}   # (speaker, trained on)
        for item in manifest.items:
            for one in item.recordings:
                if one.kind == "speech" and one.speaker and one.length > SHORTEST:
                    self.recordings.setdefault((one.speaker, item.split == "train"), []).append(one)

    def conversation(self, speaker: str, trained: bool, seconds: float = SECONDS, language: str | None = None) -> Wave:
        """Recordings of one speaker after each other, through the codec of omni-tiny, at RATE."""
        found = [one for one in self.recordings[speaker, trained] if language in (None, one.language)]
        waves: list[Wave] = []
        while sum(map(len, waves)) < seconds * RATE:
            waves.append(self.manifest.wave(self.random.choice(found)))
        return self.coded(np.concatenate(waves)[: int(seconds * RATE)])

    def coded(self, wave: Wave) -> Wave:
        """A wave at RATE as the codec gives it back."""
        assert self._codec is not None
        with torch.inference_mode():
            return through(self._codec, wave)

    def languages(self, speaker: str, trained: bool) -> list[str]:
        """Those that this speaker's recordings are in."""
        return sorted({one.language for one in self.recordings.get((speaker, trained), ()) if one.language})

    def known(self, speaker: str, trained: bool) -> bool:
        return len(self.recordings.get((speaker, trained), ())) >= 3


def enrol(speakers: Speakers) -> dict[str, NDArray[np.float32]]:
    """Weights [WIDTH + 1] of every preset of the data."""
    held = {name for names in HELD_OUT.values() for name in names}
    trained = sorted(name for name, train in speakers.recordings if train and name not in held)
    presets = [name for name in trained if name.startswith(PRESET)]
    crowd = speakers.random.sample([name for name in trained if "@" in name], CROWD)
    people = [name for name in trained if "@" not in name and name not in presets]
    counts = {**dict.fromkeys(presets, PRESETS), **dict.fromkeys(people, OTHERS), **dict.fromkeys(crowd, 2)}
    jobs = [name for name, count in counts.items() for _ in range(count) if speakers.known(name, True)]
    vectors: dict[str, list[NDArray[np.float32]]] = {}
    for name in progress(jobs, "listening", unit="conversation"):
        wave = speakers.conversation(name, trained=True)
        vectors.setdefault(name, []).append(Voiceprint(RATE).feed(wave)[voice.YOUNG :])
    stacked = {name: np.concatenate(some) for name, some in vectors.items()}
    weights, strangers = {}, [name for name in (*people, *crowd) if name in stacked]
    for name in progress(presets, "drifts", unit="preset"):
        own, gone = drifts(speakers, name, strangers)
        others = [some for who, some in stacked.items() if who != name]
        weights[name.removeprefix(PRESET)] = classifier(np.concatenate((stacked[name], own)), [*others, gone])
    return weights


def drifts(speakers: Speakers, preset: str, strangers: Sequence[str]) -> tuple[Vectors, Vectors]:
    """Embeddings of the preset until strangers, in turn, take over from it, and of those from MIXED seconds on."""
    before, after = [], []
    for number in range(DRIFTS):
        own = speakers.conversation(preset, True, BEFORE)
        foreign = speakers.conversation(strangers[number % len(strangers)], True, AFTER)
        heard = Voiceprint(RATE)
        before.append(heard.feed(own)[voice.YOUNG :])
        heard.feed(foreign[: int(MIXED * RATE)])
        after.append(heard.feed(foreign[int(MIXED * RATE) :]))
    return np.concatenate(before), np.concatenate(after)


def classifier(own: NDArray[np.float32], others: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Weights and bias [WIDTH + 1] of a logistic regression in which the preset and everybody else weigh the same."""
    vectors = np.concatenate((own, *others)).astype(np.float64)         # [steps, WIDTH]
    sign = np.where(np.arange(len(vectors)) < len(own), 1.0, -1.0)
    weight = np.where(sign > 0, 0.5 / len(own), 0.5 / (len(vectors) - len(own)))

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = sign * (vectors @ parameters[:-1] + parameters[-1])
        slope = -sign * weight / (1 + np.exp(margins))
        value = float((weight * np.logaddexp(0, -margins)).sum() + DECAY * (parameters[:-1] ** 2).sum())
        return value, np.concatenate((vectors.T @ slope + 2 * DECAY * parameters[:-1], [slope.sum()]))

    return np.asarray(minimize(loss, np.zeros(WIDTH + 1), jac=True, method="L-BFGS-B").x, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m omni.safety.guards.enrol", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of `omni data voice`")
    parser.add_argument("--out", type=Path, default=voice.FILE, help="default: the file that the guard reads")
    args = parser.parse_args()
    voice.save(enrol(Speakers(Manifest.load(args.data))), args.out)
    print(f"enrolled: {args.out}")


if __name__ == "__main__":
    main()
