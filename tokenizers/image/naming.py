"""Train an image tokenizer's tags: which words of captions and keywords fit a picture; resumes bit for bit.

The targets of a picture are all its names, each as likely (softmax over many labels, Mahajan et al. 2018), with the
colour that prevails and, where it was made small and put somewhere, the side that it is on.
"""

import copy
import hashlib
import json
import re
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from omni.errors import InputError
from omni.precision import fast_products
from omni.tokenizers.image.autoencoder import ImageTokenizer
from omni.tokenizers.image.pixels import to_pixels
from omni.tokenizers.image.tags import TAGS_A_PICTURE, Tagger
from omni.tokenizers.image.training import fingerprint_of, rows_of
from omni.tokenizers.resuming import STATE, finish, finished, go_on, load_state, save_state, timed
from omni.tokenizers.weights import round_to_half

SIDES = ("left", "right", "top", "bottom")
MIDDLE = 0.07                                                           # so far from it, a centre is on a side
SMALL = 0.3                                                             # of the pictures are made small
LEAST = 4                                                               # pictures that have a name, or it is no tag
MOST_TAGS = 1000
LOG_EVERY = 20                                                          # steps
_NO_NAMES = (
    "a all also an and any are as at be by called can de for from has have his her in into is it its known la le like "
    "made more no not of on one or other out some sort sign symbol that the their them this to two type unsorted used "
    "various very was which with"
)


@dataclass(frozen=True)
class Plan:
    """How the tags are learnt."""

    batch: int = 256
    learning_rate: float = 3e-3
    warmup: int = 40
    decay: float = 0.05
    save_every: float = 30.0                                            # seconds


@dataclass(frozen=True)
class Named:
    """Pictures, uint8 [n, size, size, 3], and the names of each."""

    pictures: NDArray[np.uint8]
    names: Sequence[frozenset[str]]

    @property
    def fingerprint(self) -> str:
        names = json.dumps([sorted(names) for names in self.names])
        return hashlib.sha256(f"{names} {fingerprint_of(self.pictures)}".encode()).hexdigest()


def names_in(texts: Sequence[str]) -> frozenset[str]:
    """The words of texts that can name something: "A yellow hat." gives yellow and hat."""
    words = {word for text in texts for word in re.findall(r"[^\W\d_]{2,}", text.lower())}
    return frozenset(words.difference(_NO_NAMES.split()))


def tags_of(names: Sequence[frozenset[str]]) -> tuple[str, ...]:
    """The sides, then the commonest names; a plural counts as its singular where there is one."""
    counts = Counter(name for some in names for name in some)
    single = Counter(_singular(name, counts) for some in names for name in some)
    common = [name for name, count in single.most_common(MOST_TAGS) if count >= LEAST and name not in SIDES]
    return (*SIDES, *common[: MOST_TAGS - len(SIDES)])


def _singular(name: str, known: Container[str]) -> str:
    for ending, instead in (("ies", "y"), ("es", ""), ("s", "")):
        if name.endswith(ending) and name.removesuffix(ending) + instead in known:
            return name.removesuffix(ending) + instead
    return name


def targets_of(named: Named, tags: Sequence[str]) -> Tensor:
    """Which tags name which picture, 0 or 1: [pictures, tags]. No side does, for words say nothing of where it is."""
    number = {tag: index for index, tag in enumerate(tags)}
    targets = torch.zeros(len(named.names), len(tags))
    for row, some in zip(targets, named.names, strict=True):
        row[[number[name] for name in {_singular(name, number) for name in some} if name in number]] = 1
    targets[:, : len(SIDES)] = 0
    return targets


class Lessons:
    """Batches by step: each is a pure function of (seed, step)."""

    def __init__(self, named: Named, tags: tuple[str, ...], plan: Plan, seed: int) -> None:
        self.named, self.seed = named, seed
        self.batch = min(plan.batch, len(named.pictures))
        self.targets = targets_of(named, tags)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Pixels [batch, 3, size, size], changed in look, and how likely each tag is to be named [batch, tags]."""
        rows = rows_of(step, len(self.named.pictures), self.batch, self.seed)
        chance = torch.Generator().manual_seed(int(np.random.default_rng((self.seed, step)).integers(2**62)))
        pixels, middle = _moved(to_pixels(self.named.pictures[rows]), chance)
        targets = self.targets[torch.from_numpy(rows)].clone()          # [batch, tags]
        targets[:, : len(SIDES)] = _sides(middle)
        return _tinted(pixels, chance), targets / targets.sum(1, keepdim=True).clamp_min(1)


def _moved(pixels: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures turned a little, mirrored, stretched or made small and put elsewhere, and their middles [batch, 2]."""
    batch = len(pixels)
    angle = 0.5 * (torch.rand(batch, generator=chance) - 0.5)
    small = torch.rand(batch, generator=chance) < SMALL
    size = 0.8 + 0.45 * torch.rand(batch, generator=chance)             # above 1: parts are cut off
    size = torch.where(small, 0.35 + 0.3 * torch.rand(batch, generator=chance), size)
    room = torch.where(small, 1 - size, torch.full((batch,), 0.12))     # from the middle, in halves of the picture
    middle = room[:, None] * (2 * torch.rand(batch, 2, generator=chance) - 1)
    one_way = torch.rand(batch, generator=chance)                       # half move along one axis alone
    middle = middle * torch.stack((one_way > 0.25, (one_way < 0.25) | (one_way > 0.5)), 1)
    mirrored = torch.where(torch.rand(batch, generator=chance) < 0.5, -1.0, 1.0)
    turn = torch.stack((angle.cos() * mirrored, -angle.sin() * mirrored, angle.sin(), angle.cos()), 1).view(-1, 2, 2)
    turn = turn / size[:, None, None]                                   # places in the result to places in the picture
    place = torch.cat((turn, -turn @ middle[:, :, None]), 2)            # [batch, 2, 3]
    grid = F.affine_grid(place, list(pixels.shape), align_corners=False)
    moved = 1 - F.grid_sample(1 - pixels, grid, align_corners=False)    # white outside
    return moved, torch.where(small[:, None], middle, torch.zeros(()))


def _sides(middle: Tensor) -> Tensor:
    """Middles [batch, 2], each -1 .. 1 from left to right and from top to bottom, as 0 or 1 for each of SIDES."""
    across, down = middle.T / 2
    return torch.stack((across < -MIDDLE, across > MIDDLE, down < -MIDDLE, down > MIDDLE), 1).float()


def _tinted(pixels: Tensor, chance: torch.Generator) -> Tensor:
    """A little more or less contrast and light."""
    contrast = 0.8 + 0.4 * torch.rand(len(pixels), 1, 1, 1, generator=chance)
    light = 0.1 * (torch.rand(len(pixels), 1, 1, 1, generator=chance) - 0.5)
    return ((pixels - 0.5) * contrast + 0.5 + light).clamp(0, 1)


@dataclass
class Run:
    """Everything that changes while training; saved and loaded as one file."""

    tagger: Tagger
    optimizer: torch.optim.AdamW
    step: int = 0
    steps: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def begin(cls, tagger: Tagger, plan: Plan) -> "Run":
        return cls(tagger, torch.optim.AdamW(tagger.parameters(), lr=1.0, weight_decay=plan.decay, fused=True))


def train_tags(
    tokenizer: ImageTokenizer,
    named: Named,
    out: Path | str,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    valid: Named | None = None,
    seed: int = 0,
    plan: Plan | None = None,
) -> ImageTokenizer:
    """Give a trained image tokenizer tags, and save it in `out`. The codes that pictures are painted from stay.

    Give `steps`, or `minutes`, which are turned into a number of steps once. An interrupted run called again goes on
    and ends with the same weights; a finished one is loaded.
    Raises InputError when the tokenizer has tags already, too few names are common, or `out` holds another run.
    """
    out, plan = Path(out), plan or Plan()
    if (steps is None) == (minutes is None):
        raise ValueError("give either steps or minutes")
    if tokenizer.config.tags:
        raise InputError("the image tokenizer has tags already; give one that was trained without")
    tags = tags_of(named.names)
    if len(tags) < 2 * TAGS_A_PICTURE:
        raise InputError(f"only {len(tags)} names are those of {LEAST} pictures or more; give more, with captions")
    identity = json.loads(json.dumps({
        "tokenizer": tokenizer.fingerprint, "plan": asdict(plan), "seed": seed, "steps": steps, "minutes": minutes,
        "data": named.fingerprint,
    }))  # fmt: skip
    if finished(out, identity, "an image tokenizer's tags"):
        return ImageTokenizer.load(out)
    tagged = with_tags(tokenizer, tags, seed)
    assert tagged.tagger is not None
    lessons = Lessons(named, tags, plan, seed)
    parts = {"tagger": tagged.tagger.train()}
    run = Run.begin(tagged.tagger, plan)
    optimizers: dict[str, torch.optim.Optimizer] = {"optimizer": run.optimizer}
    load_state(out / STATE, parts, optimizers, identity, run, "an image tokenizer's tags")
    if not run.steps:
        run.steps = steps if steps is not None else _steps_in(minutes or 0.0, run, lessons, plan)
    go_on(
        run, "tags",
        lambda: _step(run, lessons, plan),
        lambda: save_state(out / STATE, parts, optimizers, identity, run),
        every=LOG_EVERY, save_every=plan.save_every, shown={"nats": "nats"},
        more=lambda: _validated(run.tagger, valid),
    )  # fmt: skip
    round_to_half(run.tagger)
    tagged.eval().save(out)
    finish(out, identity, run)
    return tagged


def with_tags(tokenizer: ImageTokenizer, tags: tuple[str, ...], seed: int = 0) -> ImageTokenizer:
    """The tokenizer with tags before its codes, which know nothing yet."""
    with torch.random.fork_rng(devices=[]):                             # a library leaves its caller's dice alone
        torch.manual_seed(seed)
        more = ImageTokenizer(replace(tokenizer.config, tags=tags))
    more.load_state_dict(tokenizer.state_dict(), strict=False)
    return more.eval()


def _step(run: Run, lessons: Lessons, plan: Plan) -> dict[str, float]:
    pixels, targets = lessons(run.step)
    with torch.random.fork_rng(devices=[]):                             # of the dropout
        torch.manual_seed(lessons.seed + run.step)
        with fast_products():
            scores = run.tagger(pixels)                                 # [batch, tags]
    loss = -(targets * scores).sum(1).mean()
    rate = min(1.0, (run.step + 1) / plan.warmup) * (1 - run.step / run.steps + 0.01)
    run.optimizer.param_groups[0]["lr"] = plan.learning_rate * rate
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(run.tagger.parameters(), 1.0)
    run.optimizer.step()
    return {"nats": loss.item()}


def _validated(tagger: Tagger, valid: Named | None) -> dict[str, float]:
    if valid is None:
        return {}
    found = fitting(tagger.eval(), valid)
    tagger.train()
    return {"valid": float(found.mean())} if len(found) else {}


def _steps_in(minutes: float, run: Run, lessons: Lessons, plan: Plan) -> int:
    """How many steps fit into the time, by timing some on a copy that is thrown away."""
    trial = Run.begin(copy.deepcopy(run.tagger), plan)
    trial.steps = 1000
    return max(1, int(60 * minutes / float(np.median(timed(trial, lambda: _step(trial, lessons, plan), 6)))))


@torch.no_grad()
def fitting(tagger: Tagger, named: Named) -> Tensor:
    """For each picture that has some of the names: which share of its tags, of as many as could fit, do. [pictures]"""
    pixels = [to_pixels(some) for some in np.array_split(named.pictures, 1 + len(named.pictures) // 64)]
    return _share(torch.cat([tagger.codes(some) for some in pixels]), targets_of(named, tagger.names))


def fitting_all(named: Named, tags: Sequence[str]) -> Tensor:
    """The same if every picture had the tags that fit most of them: what a tagger that sees nothing can reach."""
    targets = targets_of(named, tags)
    return _share(targets.sum(0).topk(TAGS_A_PICTURE).indices.expand(len(targets), -1), targets)


def _share(codes: Tensor, targets: Tensor) -> Tensor:
    found = targets.gather(1, codes).sum(1)                             # [pictures]
    fit = targets.sum(1).clamp(max=TAGS_A_PICTURE)
    return found[fit > 0] / fit[fit > 0]
