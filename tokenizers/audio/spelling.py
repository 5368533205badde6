"""Train a codec's codebook of words: its encoder must spell whole recordings; resumes bit for bit.

The codes are clusters of what it read (k-means, as HuBERT's units, Hsu et al. 2021), found at the end: an encoder whose
codes are rounded while it learns does so half as fast. An encoder that learns further keeps them: a code stands for
letters, so a model that reads codes understands those of a better encoder at once. So that new voices are understood,
known ones are heard changed: slower and faster, with shorter and longer vocal tracts of other shapes, through other
microphones, noise, echo and narrow bands, with gaps.
"""

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from omni.errors import InputError
from omni.precision import fast_products
from omni.tokenizers.audio.augment import degraded
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.audio.guidance import Alphabet, reading_loss
from omni.tokenizers.audio.words import LETTERS_A_FRAME, MELS, Words, mel_bank, mels, nearest, roots
from omni.tokenizers.resuming import STATE, finish, finished, go_on, load_state, save_state, timed
from omni.tokenizers.weights import round_to_half

TRACTS = tuple(np.linspace(0.82, 1.2, 40))                              # vocal tracts, from long to short
SHAPE = 0.04                                                            # how far formants move apart from each other
COLOUR = 0.2                                                            # of a microphone: some 7 dB
KNOTS = 6                                                               # of a smooth curve
GAP_EVERY = 100                                                         # hops, beside two gaps in every recording
SPEEDS = (0.85, 1.18)
NEARBY = 192                                                            # recordings; those of like length are taken
NEARBY_A_SECOND = 10                                                    # of a batch, where that is more
MOST_FRAMES = 100_000                                                   # of which the codes are clusters
SECONDS = {"cpu": 20.0, "cuda": 160.0}                                  # of audio in a batch
LOG_EVERY = 100                                                         # steps
FURTHER = 0.25                                                          # of the learning rate, where words are known
SILENCE = float(mels(torch.zeros(1, 1), torch.zeros(1, 1)))


@dataclass(frozen=True)
class Plan:
    """How the words are learnt.

    seconds: of audio in a batch; short: share of the steps, at the beginning, in which long recordings are yet to come
    """

    seconds: float
    learning_rate: float = 1.5e-3
    warmup: int = 200
    short: float = 0.1
    save_every: float = 60.0                                            # seconds


@dataclass(frozen=True)
class Spoken:
    """Recordings and their words.

    waves: sequences of samples, read when they are needed; lengths: of each in samples;
    speakers: labels, so that everybody is heard: the chance of a speaker is the root of how long they speak
    """

    waves: Sequence[np.ndarray]
    lengths: Sequence[int]
    texts: Sequence[str]
    speakers: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.waves):
            raise InputError("no speech with a transcript to learn from; run `omni data voice`")

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(np.asarray(self.lengths, np.int64).tobytes())
        digest.update("\n".join(self.texts).encode())
        digest.update("\n".join(self.speakers).encode())
        return digest.hexdigest()


Lesson = tuple[Tensor, list[int], list[list[int]]]


class Lessons:
    """Batches by step: each is a pure function of (seed, step)."""

    def __init__(self, spoken: Spoken, alphabet: Alphabet, codec: Codec, plan: Plan, seed: int) -> None:
        self.spoken, self.alphabet, self.codec, self.plan, self.seed = spoken, alphabet, codec, plan, seed
        self.rate = codec.sample_rate
        self.lengths = np.asarray(spoken.lengths, np.int64)
        _, voice = np.unique(np.asarray(spoken.speakers), return_inverse=True)
        heard = np.bincount(voice, weights=self.lengths)                # samples of each speaker
        self.upto = np.cumsum(self.lengths / np.sqrt(heard)[voice])
        bins = codec.config.analysis // 2 + 1
        chance = np.random.default_rng((self.seed, len(TRACTS)))
        self.banks = [mel_bank(self.rate, bins, tract * smooth(bins, SHAPE, chance).exp()) for tract in TRACTS]

    def __call__(self, step: int, ripe: float = 1.0) -> Lesson:
        """Mel bands [batch, hops, MELS], frames of each row, and its letters; short recordings alone until `ripe`."""
        chance = np.random.default_rng((self.seed, step))
        drawn = max(NEARBY, int(NEARBY_A_SECOND * self.plan.seconds))
        near = np.searchsorted(self.upto, chance.random(drawn) * self.upto[-1])
        near = near[np.argsort(self.lengths[near], kind="stable")]      # short ones are aligned first
        length = self.lengths[near[int(chance.random() * min(1.0, 0.1 + ripe) * drawn)]]
        rows = max(1, int(self.plan.seconds * self.rate / length))
        near = near[np.argsort(np.abs(self.lengths[near] - length), kind="stable")[:rows]]
        heard, texts = [], []
        for index in near:
            letters = self.alphabet.ids(self.spoken.texts[index])
            bands = self._heard(self.spoken.waves[index], chance)
            if LETTERS_A_FRAME * len(bands) // self.codec.hops >= len(letters) > 0:
                heard.append(bands)
                texts.append(letters)
        if not heard:
            return torch.zeros(1, self.codec.hops, MELS), [1], [[]]
        frames = [len(bands) // self.codec.hops for bands in heard]
        return nn.utils.rnn.pad_sequence(heard, batch_first=True, padding_value=SILENCE), frames, texts

    def _heard(self, wave: np.ndarray, chance: np.random.Generator) -> Tensor:
        """A recording as somebody else might say it elsewhere: [hops, MELS], whole frames."""
        places = np.arange(0, len(wave) - 1, chance.uniform(*SPEEDS))
        wave = np.interp(places, np.arange(len(wave)), wave).astype(np.float32)
        wave, _ = degraded(wave * np.float32(10 ** chance.uniform(-0.6, 0.3)), self.rate, chance)
        bands = bands_of(self.codec, wave, self.banks[int(chance.integers(len(self.banks)))])
        bands = (bands + smooth(MELS, COLOUR * chance.random(), chance)).clamp_min(SILENCE)
        silence = bands.mean()
        longest = min(15, len(bands) // 12)
        gaps = [(0, longest)] * (2 + len(bands) // GAP_EVERY)
        for axis, most in ((1, 12), (1, 12), *gaps):
            width = int(chance.integers(most + 1))                      # SpecAugment (Park et al. 2019)
            first = int(chance.integers(bands.shape[axis] - width + 1))
            bands.narrow(axis, first, width).fill_(silence)
        return bands


def smooth(size: int, spread: float, chance: np.random.Generator) -> Tensor:
    """A curve that is drawn: [size], of zero mean and `spread` standard deviation over all curves."""
    knots = chance.normal(0, spread, KNOTS)
    return torch.from_numpy(np.interp(np.linspace(0, KNOTS - 1, size), np.arange(KNOTS), knots)).float()


def bands_of(codec: Codec, wave: np.ndarray, bank: Tensor) -> Tensor:
    """Mel bands of a whole recording, silence after it: [frames * hops, MELS]."""
    frames = -(-len(wave) // codec.samples_per_frame)
    behind = frames * codec.samples_per_frame + codec.lookahead - len(wave)
    padded = np.pad(wave, (codec.past, behind))
    return mels(codec.power(torch.from_numpy(padded)[None])[0], bank)


@dataclass
class Run:
    """Everything that changes while training; saved and loaded as one file."""

    words: Words
    optimizer: torch.optim.AdamW
    step: int = 0
    steps: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def begin(cls, words: Words) -> "Run":
        optimizer = torch.optim.AdamW(words.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.02, fused=True)
        return cls(words, optimizer)

    def scores(self, bands: Tensor) -> Tensor:
        """Log probabilities [batch, frames, LETTERS_A_FRAME, 1 + letters] of mel bands [batch, frames * hops, MELS]."""
        return self.words.scores(bands, self.words.start(len(bands)))[0]

    def loss(self, bands: Tensor, frames: list[int], texts: list[list[int]]) -> Tensor:
        """Nats a letter."""
        with fast_products(bands.device):
            scores = self.scores(bands)
        return reading_loss(scores.flatten(1, 2), texts, [LETTERS_A_FRAME * count for count in frames])


def train_words(
    codec: Codec,
    spoken: Spoken,
    out: Path | str,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    plan: Plan | None = None,
) -> Codec:
    """Give a trained codec a codebook of words before those it has, and save it in `out`.

    Words that it has already are heard better afterwards, with the same letters and codes; they learn at a quarter of
    the rate. The codes of sound stay what they were. Give `steps`, or `minutes`, which are turned into a number of
    steps once. An interrupted run called again goes on and ends with the same weights; a finished one is loaded.
    Raises InputError when `out` holds another run.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out, further = Path(out), bool(codec.config.words)
    plan = plan or Plan(SECONDS[device.type], Plan.learning_rate * (FURTHER if further else 1))
    if (steps is None) == (minutes is None):
        raise ValueError("give either steps or minutes")
    identity = json.loads(json.dumps({
        "codec": codec.fingerprint, "plan": asdict(plan), "seed": seed, "steps": steps, "minutes": minutes,
        "data": spoken.fingerprint,
    }))  # fmt: skip
    if finished(out, identity, "a codec's words"):
        return Codec.load(out)
    alphabet = Alphabet(spoken.texts, codec.config.words)
    codec = copy.deepcopy(codec).train() if further else with_words(codec, alphabet.letters, seed)
    lessons = Lessons(spoken, alphabet, codec, plan, seed)
    assert codec.words is not None
    run = Run.begin(copy.deepcopy(codec.words).to(device))
    load_state(out / STATE, *_parts(run), identity, run, "a codec's words")
    if not run.steps:
        run.steps = steps if steps is not None else _steps_in(minutes or 0.0, lessons, device)
    batches = _ahead(lessons, run, device)
    go_on(
        run, "words",
        lambda: {"letters": _step(run, plan, next(batches))},
        lambda: save_state(out / STATE, *_parts(run), identity, run),
        every=LOG_EVERY, save_every=plan.save_every, shown={"letters": "letters"},
    )  # fmt: skip
    if not further:
        fit_codebook(run, lessons)
    codec.words.load_state_dict(run.words.state_dict())
    round_to_half(codec.words)
    codec.eval().save(out)
    finish(out, identity, run)
    return codec


def with_words(codec: Codec, letters: str, seed: int = 0) -> Codec:
    """The codec with one more codebook, the first, whose encoder knows nothing yet. Raises InputError if it has one."""
    if codec.config.words:
        raise InputError("the codec has a codebook of words already; give one that was trained without")
    if not letters:
        raise InputError("no letter is said often enough to be learnt; give more speech with transcripts")
    config = CodecConfig(**{**asdict(codec.config), "words": letters, "codebooks": codec.codebooks + 1})
    with torch.random.fork_rng(devices=[]):                             # a library leaves its caller's dice alone
        torch.manual_seed(seed)
        more = Codec(config)
    more.load_state_dict(codec.state_dict(), strict=False)
    return more


class _Planned(torch.utils.data.Dataset[Lesson]):
    """The batch of every step of a run."""

    def __init__(self, lessons: Lessons, steps: int) -> None:
        self.lessons, self.steps = lessons, steps

    def __getitem__(self, step: int) -> Lesson:
        return self.lessons(step, step / self.steps / self.lessons.plan.short)


def _ahead(lessons: Lessons, run: Run, device: torch.device) -> Iterator[Lesson]:
    """The batches from the run's step on. A GPU takes them faster than one process can change recordings."""
    hands = 0 if device.type == "cpu" else max(1, (os.cpu_count() or 1) - 1)
    planned, left = _Planned(lessons, run.steps), range(run.step, run.steps)
    made = torch.utils.data.DataLoader(planned, batch_size=None, sampler=left, num_workers=hands)
    return iter(made)


def _step(run: Run, plan: Plan, lesson: Lesson) -> float:
    bands, frames, texts = lesson
    loss = run.loss(bands.to(run.words.hear.weight.device), frames, texts)
    if loss.requires_grad:                                              # else nothing had room for its letters
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        rate = min(1.0, (run.step + 1) / plan.warmup) * min(1.0, 1.5 * (1 - run.step / run.steps) + 0.01)
        run.optimizer.param_groups[0]["lr"] = plan.learning_rate * rate
        norm = nn.utils.clip_grad_norm_(run.optimizer.param_groups[0]["params"], 1.0)
        if torch.isfinite(norm):                                        # one broken batch must not end an hour's work
            run.optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def fit_codebook(run: Run, lessons: Lessons) -> None:
    """The centres, of what is heard in training."""
    heard: list[Tensor] = []
    device = run.words.hear.weight.device
    for step in range(run.steps, 2 * run.steps):
        bands, lengths, _ = lessons(step)
        heard += [points[:length] for points, length in zip(roots(run.scores(bands.to(device))), lengths, strict=True)]
        if sum(map(len, heard)) >= MOST_FRAMES:
            break
    run.words.centres.copy_(centres_of(torch.cat(heard), len(run.words.centres), lessons.seed))


def centres_of(points: Tensor, count: int, seed: int, rounds: int = 25) -> Tensor:
    """k-means (Lloyd 1982): [n, dims] to [count, dims]; a centre that loses its points begins anew at a point."""
    chance = torch.Generator().manual_seed(seed)
    centres = points[torch.randint(len(points), (count,), generator=chance)].clone()
    for _ in range(rounds):
        mine = torch.cat([nearest(some, centres) for some in points.split(8192)])
        held = torch.bincount(mine, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, mine, points)
        again = points[torch.randint(len(points), (count,), generator=chance)]
        centres = torch.where(held[:, None] > 0, sums / held[:, None].clamp_min(1), again)
    return centres


def _steps_in(minutes: float, lessons: Lessons, device: torch.device) -> int:
    """How many steps fit into the time, by timing some on a copy that is thrown away."""
    assert lessons.codec.words is not None
    trial = Run.begin(copy.deepcopy(lessons.codec.words).to(device))
    trial.steps = 1000
    batches = _ahead(lessons, trial, device)
    seconds = timed(trial, lambda: _step(trial, lessons.plan, next(batches)), 12)
    return max(1, int(60 * minutes / float(np.mean(seconds))))


def _parts(run: Run) -> tuple[dict[str, nn.Module], dict[str, torch.optim.Optimizer]]:
    """Modules and optimizers under their names in the saved state."""
    return {"words": run.words}, {"optimizer": run.optimizer}
