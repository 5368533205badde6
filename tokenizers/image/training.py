"""Train the image tokenizer; stopped at any moment, it goes on bit for bit."""

import copy
import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from omni.errors import InputError
from omni.progress import progress
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.tokenizers.image.pixels import to_pixels
from omni.tokenizers.resuming import STATE, finish, finished, load_state, save_state, timed
from omni.tokenizers.weights import round_to_half

LOG_EVERY = 50                                                          # steps
Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class Plan:
    """How an image tokenizer is trained.

    The defaults make the most of a minute: at equal work, batches of 8 beat 16 by 0.3 dB and 16 beat 32 by 0.6.
    """

    batch: int = 8
    learning_rate: float = 6e-3
    warmup: int = 50
    decay: float = 0.01
    shift: int = 4                                                      # pictures are moved by up to so many pixels
    save_every: float = 20.0                                            # seconds

    @classmethod
    def preset(cls, name: str) -> "Plan":
        """`quick` for a minute on one core, `tiny` for twenty, `base` for an hour.

        Raises InputError for another name.
        """
        presets = {
            "quick": cls(),
            "tiny": cls(batch=16, learning_rate=4e-3, warmup=200),
            "base": cls(batch=32, learning_rate=3e-3, warmup=500),
        }
        if name not in presets:
            raise InputError(f"image preset {name!r}: no such preset; use {', '.join(presets)}")
        return presets[name]


@dataclass
class Run:
    """Everything that changes while training; saved and loaded as one file."""

    model: ImageTokenizer
    optimizer: torch.optim.AdamW
    step: int = 0
    steps: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def begin(cls, config: ImageConfig, plan: Plan, seed: int) -> "Run":
        with torch.random.fork_rng(devices=[]):                         # a library leaves its caller's dice alone
            torch.manual_seed(seed)
            model = ImageTokenizer(config).train()
        return cls(model, _optimizer(model, plan))


def train_image_tokenizer(
    pictures: Pictures,
    config: ImageConfig,
    out: Path | str,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    valid: Pictures | None = None,
    seed: int = 0,
    plan: Plan | None = None,
) -> ImageTokenizer:
    """Train on pictures, uint8 [n, size, size, 3] (a memory map will do), and save the tokenizer in `out`.

    Give `steps`, or `minutes`, which are turned into a number of steps once, by timing a few on a copy: from then on
    the run is fixed, and an interrupted one called again with the same arguments ends with the same weights. A finished
    one is loaded. Raises InputError for pictures of another shape, or when `out` holds another run.
    """
    out, plan = Path(out), plan or Plan()
    if (steps is None) == (minutes is None):
        raise ValueError("give either steps or minutes")
    _check_pictures(pictures, config)
    if config.tags:
        raise InputError("image training: tags are learnt apart; train without them, then `omni tokenizer train tags`")
    identity = {"config": config.saved(), "plan": asdict(plan), "seed": seed, "data": fingerprint_of(pictures)}
    identity = json.loads(json.dumps({**identity, "steps": steps, "minutes": minutes}))
    if finished(out, identity, "an image"):
        return ImageTokenizer.load(out)
    run = _load(out / STATE, config, plan, seed, identity)
    batches = Batches(pictures, plan, seed)
    if not run.steps:
        run.steps = steps if steps is not None else _steps_in(minutes or 0.0, run, batches, plan)
    _train(run, batches, plan, valid, out / STATE, identity)
    round_to_half(run.model)
    run.model.eval().save(out)
    finish(out, identity, run)
    return run.model


class Batches:
    """Batches of mirrored and shifted pictures; the batch of a step is a pure function of (seed, step)."""

    def __init__(self, pictures: Pictures, plan: Plan, seed: int) -> None:
        self.pictures, self.plan, self.seed = pictures, plan, seed
        self.batch = min(plan.batch, len(pictures))

    def __call__(self, step: int) -> Tensor:
        """Pixels of one step, float [batch, 3, size, size] in 0..1."""
        chance = np.random.default_rng((self.seed, step))
        pixels = to_pixels(self.pictures[rows_of(step, len(self.pictures), self.batch, self.seed)])
        mirrored = torch.from_numpy(chance.random(self.batch) < 0.5)
        pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        size, most = pixels.shape[-1], self.plan.shift
        down, right = chance.integers(0, 2 * most + 1, 2)
        return F.pad(pixels, (most, most, most, most), value=1.0)[:, :, down : down + size, right : right + size]


def rows_of(step: int, count: int, batch: int, seed: int) -> NDArray[np.int64]:
    """Pictures of a step's batch: each once an epoch, which is drawn anew; in file order, kind to a memory map."""
    a_round = count // batch
    order = np.random.default_rng((seed, 1, step // a_round)).permutation(count)
    return np.sort(order[step % a_round * batch :][:batch])


def reconstruction_loss(made: Tensor, pixels: Tensor) -> Tensor:
    """Absolute and squared error, error of the slopes (edges) and of the local means (colours).

    Both: [batch, 3, height, width]. Returns a scalar.
    """
    error = made - pixels
    slopes = error.diff(dim=3).abs().mean() + error.diff(dim=2).abs().mean()
    means = sum(F.avg_pool2d(error, side).abs().mean() for side in (4, 8))
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * slopes + 0.5 * means


def _optimizer(model: nn.Module, plan: Plan) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95), weight_decay=plan.decay, fused=True)


def _rate(step: int, steps: int, plan: Plan) -> float:
    """Warm up, hold for a fifth, then fall in a straight line (WSD, Hägele et al. 2024)."""
    return plan.learning_rate * min(1.0, (step + 1) / plan.warmup) * min(1.0, 1.25 * (1 - step / steps) + 0.01)


def _step(run: Run, batches: Batches, plan: Plan) -> float:
    pixels = batches(run.step)                                          # [batch, 3, size, size]
    made, _ = run.model(pixels)
    loss = reconstruction_loss(made, pixels)
    run.optimizer.param_groups[0]["lr"] = _rate(run.step, run.steps, plan)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.optimizer.step()
    return loss.item()


def _train(
    run: Run, batches: Batches, plan: Plan, valid: Pictures | None, state: Path, identity: dict[str, Any]
) -> None:
    """All remaining steps. The state is saved between steps only, so that Ctrl-C never leaves half a step behind."""
    saved = time.monotonic()
    with progress(None, "image tokenizer", total=run.steps, unit="step") as bar:
        bar.update(run.step)
        while run.step < run.steps:
            loss = _step(run, batches, plan)
            run.step += 1
            bar.update(1)
            if run.step % LOG_EVERY == 0 or run.step == run.steps:
                run.history.append({"step": run.step, "loss": loss, **_validate(run, valid)})
                bar.set_postfix(loss=f"{loss:.3f}")
            if time.monotonic() - saved > plan.save_every:
                _save(run, state, identity)
                saved = time.monotonic()


@torch.no_grad()
def _validate(run: Run, valid: Pictures | None) -> dict[str, float]:
    """Loss on the first 64 held-out pictures, about ten times in a run."""
    tenth = max(1, run.steps // 10)
    if valid is None or not len(valid) or (run.step % tenth >= LOG_EVERY and run.step < run.steps):
        return {}
    pixels = to_pixels(valid[:64])                                      # [64, 3, size, size]
    return {"valid": float(reconstruction_loss(run.model.decode(run.model.encode(pixels)), pixels))}


def _steps_in(minutes: float, run: Run, batches: Batches, plan: Plan) -> int:
    """How many steps fit into the time, by timing some on a copy that is thrown away."""
    trial = Run(copy.deepcopy(run.model), run.optimizer, steps=1000)
    trial.optimizer = _optimizer(trial.model, plan)
    return max(1, int(60 * minutes / float(np.median(timed(trial, lambda: _step(trial, batches, plan), 8)))))


def _save(run: Run, path: Path, identity: dict[str, Any]) -> None:
    save_state(path, {"model": run.model}, {"optimizer": run.optimizer}, identity, run)


def _load(path: Path, config: ImageConfig, plan: Plan, seed: int, identity: dict[str, Any]) -> Run:
    """The saved run, or a new one where nothing was saved."""
    run = Run.begin(config, plan, seed)
    load_state(path, {"model": run.model}, {"optimizer": run.optimizer}, identity, run, "an image")
    return run


def _check_pictures(pictures: Pictures, config: ImageConfig) -> None:
    if not len(pictures):
        raise InputError("image training: there are no pictures to learn from; prepare some data first")
    size = config.picture_size
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (size, size, 3):
        raise InputError(
            f"image training: pictures must be uint8 [n, {size}, {size}, 3], got {pictures.dtype} "
            f"{list(pictures.shape)}; prepare the data again with picture size {size}"
        )


def fingerprint_of(pictures: Pictures) -> str:
    """Checksum of up to 64 pictures spread over the data, and of how many there are."""
    digest = hashlib.sha256(str(pictures.shape).encode())
    for row in range(0, len(pictures), max(1, len(pictures) // 64)):
        digest.update(np.ascontiguousarray(pictures[row]).tobytes())
    return digest.hexdigest()
