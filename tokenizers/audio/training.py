"""Train the codec: short crops, spectral losses, then critics; stopped at any moment, it goes on bit for bit."""

import copy
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from omni.errors import InputError
from omni.progress import progress
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.audio.discriminator import Critics
from omni.tokenizers.audio.losses import SpectralLoss, pitch_loss, spread_loss
from omni.tokenizers.audio.synthesis import NOISE_HOPS
from omni.tokenizers.resuming import STATE, finish, finished, load_state, save_state

LOG_EVERY = 25                                                          # steps


@dataclass(frozen=True)
class Plan:
    """How a codec is trained. `adversarial` is the share of the steps, at the end, that the critics take part in."""

    batch: int = 6
    seconds: float = 1.0
    learning_rate: float = 2e-3
    warmup: int = 50
    adversarial: float = 0.0
    save_every: float = 30.0                                            # seconds

    @classmethod
    def preset(cls, name: str) -> "Plan":
        """That of the codec preset: spectral loss alone in minutes, in hours critics for the second half."""
        return cls(adversarial=0.5) if name == "base" else cls()


@dataclass
class Run:
    """Everything that changes while training; saved and loaded as one file."""

    codec: Codec
    critics: Critics
    optimizer: torch.optim.AdamW
    critic_optimizer: torch.optim.AdamW
    step: int = 0
    steps: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def begin(cls, config: CodecConfig, seed: int) -> "Run":
        torch.manual_seed(seed)
        codec, critics = Codec(config), Critics()
        return cls(codec, critics, _optimizer(codec, 0.01), _optimizer(critics, 0.0))


def train_codec(
    waves: Sequence[np.ndarray],
    config: CodecConfig,
    out: Path | str,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    valid: Sequence[np.ndarray] = (),
    seed: int = 0,
    threads: int | None = None,
    plan: Plan | None = None,
) -> Codec:
    """Train on mono float waves at the config's sample rate and save the codec in `out`.

    Give `steps`, or `minutes`, which are turned into a number of steps once, by timing a few on a copy: from then on
    the run is fixed, and an interrupted one called again with the same arguments ends with the same weights. A finished
    one is loaded. Raises InputError for empty data, or when `out` holds another run.
    """
    out, plan = Path(out), plan or Plan()
    if threads:
        torch.set_num_threads(threads)
    if (steps is None) == (minutes is None):
        raise ValueError("give either steps or minutes")
    data = Crops(waves, config, plan, seed)
    identity = {
        "config": asdict(config), "plan": asdict(plan), "seed": seed, "steps": steps, "minutes": minutes,
        "data": data.fingerprint,
    }  # fmt: skip
    identity = json.loads(json.dumps(identity))
    if finished(out, identity, "a codec"):
        return Codec.load(out)
    run = _load(out / STATE, config, seed, identity)
    if not run.steps:
        run.steps = steps if steps is not None else _steps_in(minutes or 0.0, run, data, plan)
    _train(run, data, plan, valid, out / STATE, identity)
    run.codec.eval().save(out)
    finish(out, identity, run)
    return run.codec


class Crops:
    """Batches of random crops; the batch of a step is a pure function of (seed, step)."""

    def __init__(self, waves: Sequence[np.ndarray], config: CodecConfig, plan: Plan, seed: int) -> None:
        frame = int(config.sample_rate / config.frame_rate)
        self.length = max(1, round(plan.seconds * config.frame_rate)) * frame
        self.waves, self.batch, self.seed = [wave for wave in waves if len(wave) > 0], plan.batch, seed
        if not self.waves:
            raise InputError("codec training: there is no audio to learn from; give at least one wave")
        lengths = np.array([len(wave) for wave in self.waves], dtype=np.float64)
        self.chance = lengths / lengths.sum()                           # every second of audio is equally likely
        digest = hashlib.sha256(lengths.tobytes())
        for wave in self.waves:
            digest.update(np.ascontiguousarray(wave[:: max(1, len(wave) // 16)], dtype=np.float32).tobytes())
        self.fingerprint = digest.hexdigest()

    def __call__(self, step: int) -> tuple[Tensor, int]:
        """Waves [batch, samples], at loudness changed at random by -12 to +2 dB, and where the noise begins."""
        chance = np.random.default_rng((self.seed, step))
        rows = []
        for index in chance.choice(len(self.waves), self.batch, p=self.chance):
            wave = self.waves[index]
            first = int(chance.integers(max(1, len(wave) - self.length + 1)))
            crop = wave[first : first + self.length] * 10 ** chance.uniform(-0.6, 0.1)
            rows.append(np.pad(crop, (0, self.length - len(crop))).clip(-1, 1))
        return torch.from_numpy(np.stack(rows)).float(), int(chance.integers(NOISE_HOPS))


def _optimizer(module: nn.Module, decay: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(module.parameters(), lr=1.0, betas=(0.8, 0.99), weight_decay=decay, fused=True)


def _rate(step: int, steps: int, plan: Plan) -> float:
    """Warm up, hold, then fall in a straight line over the last two thirds (WSD, Hägele et al. 2024)."""
    warm = min(1.0, (step + 1) / plan.warmup)
    return plan.learning_rate * warm * min(1.0, 1.5 * (1 - step / steps) + 0.01)


def _train(
    run: Run, data: Crops, plan: Plan, valid: Sequence[np.ndarray], state: Path, identity: dict[str, Any]
) -> None:
    """All remaining steps. The state is saved between steps only, so that Ctrl-C never leaves half a step behind."""
    losses = SpectralLoss(run.codec.sample_rate)
    recent: list[dict[str, float]] = []
    saved = time.monotonic()
    run.codec.train()
    bar = progress(None, "codec", total=run.steps, unit="step")
    bar.update(run.step)
    try:
        while run.step < run.steps:
            recent.append(_step(run, data, losses, plan, run.step >= (1 - plan.adversarial) * run.steps))
            run.step += 1
            bar.update(1)
            if run.step % LOG_EVERY and run.step < run.steps:
                continue
            means = {name: float(np.mean([row[name] for row in recent if name in row])) for name in recent[-1]}
            run.history.append({"step": run.step, **means, **_validate(run, valid, losses)})
            bar.set_postfix(loss=f"{means['spectral']:.3f}")
            recent = []
            if time.monotonic() - saved > plan.save_every:
                _save(run, state, identity)
                saved = time.monotonic()
    finally:
        bar.close()


def _step(run: Run, data: Crops, losses: SpectralLoss, plan: Plan, adversarial: bool) -> dict[str, float]:
    config, codec = run.codec.config, run.codec
    wave, noise_hop = data(run.step)                                    # [batch, samples]
    made = codec(wave, noise_hop)
    spectral = losses(made.wave, wave)
    pitch = pitch_loss(made.pitch, wave, config.sample_rate, config.hop, config.window // 2)
    spread = 0.3 * max(0.0, 1 - 3 * run.step / run.steps)               # codes spread out first, then go where sound is
    loss = spectral + pitch + spread * spread_loss(made.vectors)
    figures = {"spectral": spectral.item(), "pitch": pitch.item(), "codes": float(made.codes.unique().numel())}
    rate = _rate(run.step, run.steps, plan)
    if adversarial:
        judged = run.critics.loss(wave, made.wave)
        _descend(judged, run.critics, run.critic_optimizer, rate / 4)
        fooled, matching = run.critics.codec_loss(wave, made.wave)
        loss = loss + 0.1 * fooled + 0.5 * matching
        figures |= {"critics": judged.item(), "fooled": fooled.item()}
    _descend(loss, codec, run.optimizer, rate)
    return figures


def _descend(loss: Tensor, module: nn.Module, optimizer: torch.optim.AdamW, rate: float) -> None:
    optimizer.param_groups[0]["lr"] = rate
    module.zero_grad(set_to_none=True)                                  # the critics' gradients of the codec's loss too
    loss.backward()
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


def _steps_in(minutes: float, run: Run, data: Crops, plan: Plan) -> int:
    """How many steps fit into the time, by timing both kinds on a copy that is thrown away."""
    trial = copy.deepcopy(run)
    trial.optimizer, trial.critic_optimizer = _optimizer(trial.codec, 0.01), _optimizer(trial.critics, 0.0)
    trial.steps = 1000
    losses = SpectralLoss(trial.codec.sample_rate)
    seconds = []
    for adversarial in (False, True):
        times = []
        for _ in range(8 if not adversarial or plan.adversarial else 0):
            begun = time.perf_counter()
            _step(trial, data, losses, plan, adversarial)
            times.append(time.perf_counter() - begun)
        seconds.append(float(np.median(times[2:])) if times else 0.0)
    each = (1 - plan.adversarial) * seconds[0] + plan.adversarial * seconds[1]
    return max(1, math.floor(60 * minutes / each))


def _parts(run: Run) -> tuple[dict[str, nn.Module], dict[str, torch.optim.Optimizer]]:
    """Modules and optimizers under their names in the saved state."""
    modules: dict[str, nn.Module] = {"codec": run.codec, "critics": run.critics}
    return modules, {"optimizer": run.optimizer, "critic_optimizer": run.critic_optimizer}


def _save(run: Run, path: Path, identity: dict[str, Any]) -> None:
    save_state(path, *_parts(run), identity, run)


def _load(path: Path, config: CodecConfig, seed: int, identity: dict[str, Any]) -> Run:
    """The saved run, or a new one where nothing was saved."""
    run = Run.begin(config, seed)
    load_state(path, *_parts(run), identity, run, "a codec")
    return run
