"""Train the codec: short crops, spectral losses, then critics; stopped at any moment, it goes on bit for bit."""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omni.tokenizers.audio.codec import Codec, Reconstruction
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.audio.crops import Batch, Crops
from omni.tokenizers.audio.discriminator import Critics
from omni.tokenizers.audio.guidance import Alphabet, Reader, reading_loss
from omni.tokenizers.audio.losses import SpectralLoss, pitch_loss, spread_loss
from omni.tokenizers.resuming import STATE, finish, finished, go_on, load_state, save_state, timed
from omni.tokenizers.weights import round_to_half

LOG_EVERY = 25                                                          # steps


@dataclass(frozen=True)
class Plan:
    """How a codec is trained.

    adversarial: share of the steps, at the end, that the critics take part in; augment: whether it learns to hear
    through noise and echo (tokenizers.audio.augment); guidance: weight of the words (tokenizers.audio.guidance)
    """

    batch: int = 6
    seconds: float = 1.0
    learning_rate: float = 2e-3
    warmup: int = 50
    adversarial: float = 0.0
    augment: bool = False
    guidance: float = 0.0
    save_every: float = 30.0                                            # seconds

    @classmethod
    def preset(cls, name: str) -> "Plan":
        """That of the codec preset: spectral loss alone in minutes; in hours damage, words, and critics at the end."""
        hours = cls(batch=5, seconds=2.0, learning_rate=1.5e-3, warmup=200, adversarial=0.3, augment=True, guidance=0.1)
        return cls() if name == "quick" else hours


@dataclass
class Run:
    """Everything that changes while training; saved and loaded as one file."""

    codec: Codec
    critics: Critics
    reader: Reader
    optimizer: torch.optim.AdamW
    critic_optimizer: torch.optim.AdamW
    reader_optimizer: torch.optim.AdamW
    step: int = 0
    steps: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def begin(cls, config: CodecConfig, letters: int, seed: int) -> "Run":
        torch.manual_seed(seed)
        codec, critics, reader = Codec(config), Critics(), Reader(config.sounds * len(config.levels), letters)
        return cls(codec, critics, reader, *_optimizers(codec, critics, reader))


def train_codec(
    waves: Sequence[np.ndarray],
    config: CodecConfig,
    out: Path | str,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    valid: Sequence[np.ndarray] = (),
    texts: Sequence[str] = (),
    seed: int = 0,
    threads: int | None = None,
    plan: Plan | None = None,
) -> Codec:
    """Train on mono float waves at the config's sample rate and save the codec in `out`.

    Give `steps`, or `minutes`, which are turned into a number of steps once, by timing a few on a copy: from then on
    the run is fixed, and an interrupted one called again with the same arguments ends with the same weights. A finished
    one is loaded. `texts` are the words of each wave, '' where they are not known, for a plan with guidance.
    Raises InputError for empty data, or when `out` holds another run.
    """
    out, plan = Path(out), plan or Plan()
    if threads:
        torch.set_num_threads(threads)
    if (steps is None) == (minutes is None):
        raise ValueError("give either steps or minutes")
    data = _crops(waves, texts, config, plan, seed)
    alphabet = Alphabet(data.texts)
    identity = {
        "config": config.to_dict(), "plan": asdict(plan), "seed": seed, "steps": steps, "minutes": minutes,
        "data": data.fingerprint,
    }  # fmt: skip
    identity = json.loads(json.dumps(identity))
    if finished(out, identity, "a codec"):
        return Codec.load(out)
    run = _load(out / STATE, config, len(alphabet), seed, identity)
    lesson = Lesson(data, plan, alphabet, SpectralLoss(config.sample_rate))
    if not run.steps:
        run.steps = steps if steps is not None else _steps_in(minutes or 0.0, run, lesson)
    _train(run, lesson, valid, out / STATE, identity)
    round_to_half(run.codec)
    run.codec.eval().save(out)
    finish(out, identity, run)
    return run.codec


@dataclass(frozen=True)
class Lesson:
    """What a step is made of."""

    data: Crops
    plan: Plan
    alphabet: Alphabet
    spectra: SpectralLoss


def _crops(waves: Sequence[np.ndarray], texts: Sequence[str], config: CodecConfig, plan: Plan, seed: int) -> Crops:
    frame = int(config.sample_rate / config.frame_rate)
    samples = max(1, round(plan.seconds * config.frame_rate)) * frame
    said = texts if plan.guidance else ()
    return Crops(
        waves, said, rate=config.sample_rate, frame=frame, samples=samples, batch=plan.batch, seed=seed,
        augment=plan.augment,
    )  # fmt: skip


def _optimizer(module: nn.Module, decay: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(module.parameters(), lr=1.0, betas=(0.8, 0.99), weight_decay=decay, fused=True)


def _optimizers(
    codec: Codec, critics: Critics, reader: Reader
) -> tuple[torch.optim.AdamW, torch.optim.AdamW, torch.optim.AdamW]:
    return _optimizer(codec, 0.01), _optimizer(critics, 0.0), _optimizer(reader, 0.01)


def _rate(step: int, steps: int, plan: Plan) -> float:
    """Warm up, hold, then fall in a straight line over the last two thirds (WSD, Hägele et al. 2024)."""
    warm = min(1.0, (step + 1) / plan.warmup)
    return plan.learning_rate * warm * min(1.0, 1.5 * (1 - step / steps) + 0.01)


def _train(run: Run, lesson: Lesson, valid: Sequence[np.ndarray], state: Path, identity: dict[str, Any]) -> None:
    run.codec.train()
    go_on(
        run, "codec",
        lambda: _step(run, lesson, run.step >= (1 - lesson.plan.adversarial) * run.steps),
        lambda: _save(run, state, identity),
        every=LOG_EVERY, save_every=lesson.plan.save_every, shown={"loss": "spectral"},
        more=lambda: _validate(run, valid, lesson.spectra),
    )  # fmt: skip


def _step(run: Run, lesson: Lesson, adversarial: bool) -> dict[str, float]:
    config, codec, plan = run.codec.config, run.codec, lesson.plan
    batch = lesson.data(run.step)
    wave = batch.clean                                                  # [batch, samples]
    made = codec(batch.heard, batch.noise_hop)
    spectral = lesson.spectra(made.wave, wave)
    pitch = pitch_loss(made.pitch, wave, config.sample_rate, config.hop, config.window // 2)
    spread = 0.3 * max(0.0, 1 - 3 * run.step / run.steps)               # codes spread out first, then go where sound is
    loss = spectral + pitch + spread * spread_loss(made.vectors)
    figures = {"spectral": spectral.item(), "pitch": pitch.item(), "codes": float(made.codes.unique().numel())}
    rate = _rate(run.step, run.steps, plan)
    if plan.guidance:
        read = _read(run, lesson.alphabet, batch, made)
        loss = loss + plan.guidance * read
        figures["letters"] = read.item()
    if adversarial:
        judged = run.critics.loss(wave, made.wave)
        _descend(judged, run.critics, run.critic_optimizer, rate / 4)
        fooled, matching = run.critics.codec_loss(wave, made.wave)
        loss = loss + 0.1 * fooled + 0.5 * matching
        figures |= {"critics": judged.item(), "fooled": fooled.item()}
    run.reader.zero_grad(set_to_none=True)
    _descend(loss, codec, run.optimizer, rate)
    if plan.guidance:
        _apply(run.reader, run.reader_optimizer, rate)
    return figures


def _read(run: Run, alphabet: Alphabet, batch: Batch, made: Reconstruction) -> Tensor:
    """How hard it is to spell what was said from the codes, in nats a letter."""
    per_frame = run.codec.samples_per_frame
    steps = [2 * -(-length // per_frame) for length in batch.lengths]
    return reading_loss(run.reader(made.vectors), [alphabet.ids(text) for text in batch.texts], steps)


def _descend(loss: Tensor, module: nn.Module, optimizer: torch.optim.AdamW, rate: float) -> None:
    module.zero_grad(set_to_none=True)                                  # the critics' gradients of the codec's loss too
    loss.backward()
    _apply(module, optimizer, rate)


def _apply(module: nn.Module, optimizer: torch.optim.AdamW, rate: float) -> None:
    """A step along the gradients that are there."""
    optimizer.param_groups[0]["lr"] = rate
    norm = nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    if torch.isfinite(norm):                                            # one broken batch must not end an hour's work
        optimizer.step()


@torch.no_grad()
def _validate(run: Run, valid: Sequence[np.ndarray], losses: SpectralLoss) -> dict[str, float]:
    """Spectral loss on the start of eight held-out waves, ten times in a run."""
    tenth = max(1, run.steps // 10)
    if not valid or (run.step // tenth == (run.step - LOG_EVERY) // tenth and run.step < run.steps):
        return {}
    length = 2 * run.codec.sample_rate
    waves = [np.pad(wave[:length], (0, max(0, length - len(wave)))) for wave in valid[:8]]
    batch = torch.from_numpy(np.stack(waves)).float()                   # [8, samples]
    return {"valid": float(losses(run.codec.decode(run.codec.encode(batch))[:, :length], batch))}


def _steps_in(minutes: float, run: Run, lesson: Lesson) -> int:
    """How many steps fit into the time, by timing both kinds on a copy that is thrown away."""
    trial, plan = copy.deepcopy(run), lesson.plan
    optimizers = _optimizers(trial.codec, trial.critics, trial.reader)
    trial.optimizer, trial.critic_optimizer, trial.reader_optimizer = optimizers
    trial.steps = 1000
    seconds = []
    for adversarial in (False, True):
        times = 8 if not adversarial or plan.adversarial else 0
        found = timed(trial, partial(_step, trial, lesson, adversarial), times)
        seconds.append(float(np.median(found)) if found else 0.0)
    each = (1 - plan.adversarial) * seconds[0] + plan.adversarial * seconds[1]
    return max(1, math.floor(60 * minutes / each))


def _parts(run: Run) -> tuple[dict[str, nn.Module], dict[str, torch.optim.Optimizer]]:
    """Modules and optimizers under their names in the saved state."""
    modules: dict[str, nn.Module] = {"codec": run.codec, "critics": run.critics, "reader": run.reader}
    optimizers: dict[str, torch.optim.Optimizer] = {
        "optimizer": run.optimizer, "critic_optimizer": run.critic_optimizer, "reader_optimizer": run.reader_optimizer,
    }  # fmt: skip
    return modules, optimizers


def _save(run: Run, path: Path, identity: dict[str, Any]) -> None:
    save_state(path, *_parts(run), identity, run)


def _load(path: Path, config: CodecConfig, letters: int, seed: int, identity: dict[str, Any]) -> Run:
    """The saved run, or a new one where nothing was saved."""
    run = Run.begin(config, letters, seed)
    load_state(path, *_parts(run), identity, run, "a codec")
    return run
