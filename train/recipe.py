"""Recipes: everything that decides a training run, as dataclasses read from YAML. Light to import."""

from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omni.errors import InputError
from omni.shipped import named_model
from omni.train.multitask_recipe import MultitaskRecipe, check_multitask
from omni.train.parallel import OffloadRecipe, ParallelRecipe, check_parallel
from omni.train.ranges import check_ranges
from omni.train.recipe_file import brief, check_keys, find_recipe, put, read
from omni.train.tuning.recipe import BinaryRecipe, DistillRecipe, DpoRecipe, LoraRecipe, check

if TYPE_CHECKING:
    from omni.model.config import ModelConfig
    from omni.vocab import Vocabulary


@dataclass(frozen=True)
class ModelRecipe:
    """A preset, and what is to differ from it (omni.model.config.ModelConfig says what each is)."""

    preset: str = "tiny"
    d_model: int | None = None
    n_layers: int | None = None
    n_heads: int | None = None
    n_kv_heads: int | None = None
    d_ff: int | None = None
    depth_layers: int | None = None
    max_steps: int | None = None
    rope_theta: float | None = None
    qk_norm: bool | None = None
    z_loss: float | None = None
    text_weight: float | None = None
    tie_embeddings: bool | None = None
    prefix: bool | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None
    inner_norms: bool | None = None                                     # a new model of one-bit matrices has them

    def config(self, vocab: "Vocabulary") -> "ModelConfig":
        """The model's shape over the ids of `vocab`. Raises InputError for an unknown preset or an impossible shape."""
        from dataclasses import replace

        from omni.model.config import ModelConfig

        changes = {name: value for name, value in asdict(self).items() if name != "preset" and value is not None}
        if self.weight_bits == 1:
            changes.setdefault("inner_norms", True)
        return replace(ModelConfig.preset(self.preset), **changes).for_vocabulary(vocab)


@dataclass(frozen=True)
class OptimizerRecipe:
    """AdamW (Loshchilov and Hutter 2019), Adafactor, or Muon for the matrices with AdamW for the rest
    (omni.train.optimizers).

    Adafactor's lr counts in root mean squares of a parameter, and is 1/sqrt(step) where that is less. Norms and
    embeddings do not decay. clip: largest gradient norm, or 0. momentum: of Muon. groups: multipliers of lr by
    patterns over the parameters' names; the first pattern that matches counts.
    """

    kind: Literal["adamw", "adafactor", "muon"] = "adamw"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0
    momentum: float = 0.95
    groups: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ScheduleRecipe:
    """Learning rate by step: see omni.train.schedule."""

    kind: Literal["cosine", "rsqrt", "wsd", "constant"] = "cosine"
    steps: int = 1000
    warmup: int = 100
    decay: float = 0.2
    final: float = 0.1


@dataclass(frozen=True)
class BatchRecipe:
    """rows: packed rows in one optimizer step, over all processes; micro: rows that one process computes at a time."""

    rows: int = 16
    micro: int = 4


@dataclass(frozen=True)
class MixtureRecipe:
    """A task's share is rows^(1/temperature) times its weight (1 unless named here, 0 leaves it out); with max_epochs
    above 0 shares are as equal as they can be with no task seen more often than that (UniMax), times weights."""

    temperature: float = 1.0
    weights: dict[str, float] = field(default_factory=dict)
    max_epochs: float = 0.0


@dataclass(frozen=True)
class StageRecipe:
    """Some steps with a mixture of their own.

    schedule: the whole run's learning rate goes on, or begins anew and ends with this stage (and those that keep it);
    optimizer: its moments are kept or forgotten
    """

    steps: int
    mixture: MixtureRecipe = field(default_factory=MixtureRecipe)
    schedule: Literal["keep", "restart"] = "keep"
    optimizer: Literal["keep", "reset"] = "keep"


@dataclass(frozen=True)
class ReadingRecipe:
    """Speech must spell what it says (omni.model.reading). weight: of a letter against a trained step's 1, 0 for none;
    layer: whose states spell (default: at two thirds); tasks: those whose only text is what their speech says."""

    weight: float = 0.0
    layer: int | None = None
    tasks: list[str] = field(default_factory=lambda: ["transcribe", "say"])


@dataclass(frozen=True)
class ValidateRecipe:
    """every: steps between validations, 0 for none but the last; rows: most packed rows of each task."""

    every: int = 200
    rows: int = 8


@dataclass(frozen=True)
class CheckpointRecipe:
    """every: steps, and minutes: time between checkpoints, 0 for never (one is always written at the end)."""

    every: int = 0
    minutes: float = 5.0
    keep: int = 2


@dataclass(frozen=True)
class FaultsRecipe:
    """spike: a loss so many standard deviations above the last 64 is not learnt from, 0 for never; patience: such steps
    in a row before the run returns to its last checkpoint; hang_minutes: without a step before a rank ends the job, 0
    for never."""

    spike: float = 8.0
    patience: int = 5
    hang_minutes: float = 20.0


@dataclass(frozen=True)
class MonitorRecipe:
    """curvature: steps between looks at the sharpness of the loss and its ratio to where the optimizer becomes
    unstable, 0 for none; rows: packed rows, always the same, on which it is measured."""

    curvature: int = 0
    rows: int = 1

    def __post_init__(self) -> None:
        if self.curvature < 0 or self.rows < 1:
            given = f"not {self.curvature} and {self.rows}"
            raise InputError(f"monitor: curvature is 0 or more steps, and rows 1 or more, {given}")


@dataclass(frozen=True)
class Recipe:
    """A training run.

    data, valid:      folders of token shards, or folders of such
    tokenizers:       folder that is copied beside the model, so that it can be used alone
    init:             model folder, or `omni-tiny`, whose shape and weights the run begins with, instead of
                      `model.preset` and chance
    freeze:           patterns over the names of parameters that are not trained (`embedding.*`, `blocks.0.*`)
    sequence_length:  steps of a packed row; too_long: what to do with longer sequences
    stages:           parts of the run, one after the other, instead of `mixture` and `schedule.steps`
    train_on:         the assistant's answers alone, or everything that is said, prompts too (pretraining; not with
                      model.prefix)
    zero:             stage of ZeRO, what of the training state is divided among processes (Rajbhandari et al. 2020)
    activation_checkpointing:  keep the input of each block alone and compute the rest again in the backward pass
    precision:        bf16 keeps fp32 master weights
    """

    data: list[str] = field(default_factory=list)
    valid: list[str] = field(default_factory=list)
    tokenizers: str | None = None
    init: str | None = None
    freeze: list[str] = field(default_factory=list)
    lora: LoraRecipe = field(default_factory=LoraRecipe)
    dpo: DpoRecipe = field(default_factory=DpoRecipe)
    binary: BinaryRecipe = field(default_factory=BinaryRecipe)
    distill: DistillRecipe = field(default_factory=DistillRecipe)
    sequence_length: int = 512
    too_long: Literal["error", "drop"] = "error"
    train_on: Literal["answers", "everything"] = "answers"
    model: ModelRecipe = field(default_factory=ModelRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    batch: BatchRecipe = field(default_factory=BatchRecipe)
    mixture: MixtureRecipe = field(default_factory=MixtureRecipe)
    stages: list[StageRecipe] = field(default_factory=list)
    reading: ReadingRecipe = field(default_factory=ReadingRecipe)
    validate: ValidateRecipe = field(default_factory=ValidateRecipe)
    checkpoint: CheckpointRecipe = field(default_factory=CheckpointRecipe)
    faults: FaultsRecipe = field(default_factory=FaultsRecipe)
    monitor: MonitorRecipe = field(default_factory=MonitorRecipe)
    multitask: MultitaskRecipe = field(default_factory=MultitaskRecipe)
    zero: Literal[0, 1, 2, 3] = 1
    offload: OffloadRecipe = field(default_factory=OffloadRecipe)
    activation_checkpointing: bool = False
    parallel: ParallelRecipe = field(default_factory=ParallelRecipe)
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.compile and self.zero == 3:
            raise InputError("compile: works with zero 0, 1 and 2, not with 3; change one of them")
        if self.optimizer.kind == "muon" and self.zero:
            raise InputError(f"optimizer.kind: muon divides its own work among processes; use zero: 0, not {self.zero}")
        if self.optimizer.kind == "adafactor" and self.zero:
            raise InputError(f"optimizer.kind: adafactor needs matrices whole; use zero: 0, not {self.zero}")
        check_parallel(self)
        if self.monitor.curvature and (self.dpo.beta or self.parallel.size > 1 or self.zero == 3):
            raise InputError("monitor.curvature: needs whole weights; goes with zero 0 to 2, parallel.* 1 and no dpo")
        check_multitask(self)
        alone = self.multitask.method == "none" and self.parallel.size == 1 and not self.dpo.beta
        if self.reading.weight and not alone:
            raise InputError("reading.weight: above 0 it goes with parallel.* 1, no multitask and no dpo")
        if self.distill.teacher is not None and not alone:
            raise InputError("distill: goes with parallel.* 1, no multitask and no dpo; change one of them")
        if self.dpo.beta and (self.binary.weights or self.binary.inputs):
            raise InputError("binary: dpo compares with a model whose layers are all as they will be; leave one out")
        if self.dpo.beta and (self.train_on == "everything" or self.parallel.sequence > 1):
            raise InputError("dpo: compares answers, each on one process; use train_on: answers, parallel.sequence: 1")
        self.check_prefix(bool(self.model.prefix))
        check(self.init, self.lora, self.dpo, self.optimizer.groups, self.optimizer.kind)
        check_ranges(self)
        if any(stage.steps < 1 for stage in self.stages):
            raise InputError("stages: every stage needs at least one step; leave out those without")
        if not self.data:
            raise InputError("data: name at least one folder of token shards")

    @property
    def beginning(self) -> str | None:
        """Folder of the model to begin with; None for chance."""
        return None if self.init is None else str(named_model(self.init))

    @property
    def teacher(self) -> str | None:
        """Folder of the model to learn from; None where there is none."""
        return None if self.distill.teacher is None else str(named_model(self.distill.teacher))

    def check_prefix(self, prefix: bool) -> None:
        """Raises InputError where a model whose prompts see themselves whole would be taught to predict them."""
        if prefix and self.train_on == "everything":
            mend = "use train_on: answers, or model.prefix: false"
            raise InputError(f"train_on: everything would predict what model.prefix shows; {mend}")

    @classmethod
    def load(cls, path: Path | str, overrides: dict[str, Any] | None = None) -> "Recipe":
        """Read a recipe. `overrides` maps dotted keys such as "optimizer.lr" to values or their spelling.

        Relative folders count from the current one. Raises InputError naming file, key and mend.
        """
        path = find_recipe(path)
        values = read(path)
        for key, value in (overrides or {}).items():
            put(values, key.split("."), value)
        return cls.parse(values, path.name)

    @classmethod
    def parse(cls, values: dict[str, Any], origin: str) -> "Recipe":
        """The recipe in nested dictionaries. Raises InputError naming `origin` and the key at fault."""
        from argparse import ArgumentError

        import jsonargparse

        check_keys(cls, values, origin, "")
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(cls, None)
        try:
            parsed = parser.parse_object(deepcopy(values))              # parsing changes what it is given
            return cls(**vars(parser.instantiate(parsed)))
        except ArgumentError as error:
            raise InputError(f"{origin}: {brief(str(error))}") from None
        except InputError as error:
            raise InputError(f"{origin}: {error}") from None

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        values["optimizer"]["betas"] = list(self.optimizer.betas)
        return values

    def yaml(self) -> str:
        """The recipe as YAML that `load` reads back."""
        import yaml

        return str(yaml.safe_dump(self.as_dict(), sort_keys=False))


def recipe_keys(kind: type = Recipe, prefix: str = "") -> dict[str, Any]:
    """Every dotted key of a recipe with its default."""
    found: dict[str, Any] = {}
    for name, value in asdict(kind(data=["."]) if kind is Recipe else kind()).items():
        if isinstance(value, dict) and name != "weights":
            found |= {f"{prefix}{name}.{inner}": default for inner, default in value.items()}
        else:
            found[prefix + name] = value
    return found
