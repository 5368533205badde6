"""What is varied, one choice at a time, around a base: omni-tiny's recipe from chance, with 5 million parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omni.files import read_json
from omni.shipped import shipped_model
from omni.train.data.loader import Dataset
from omni.train.recipe import MixtureRecipe, Recipe, StageRecipe
from omni.train.studies.tiny.arrange import ROW, UNITS
from omni.train.studies.tiny.compute import Cost, mean_cost
from omni.train.studies.tiny.shared import ABOUT

SPOKEN = ("tell", "see", "mind")                                        # tasks whose answers are written and said
RICH = ("transcribe", "say", "translate", "caption", "draw")            # those with most documents
UNUSED = {"interpret": 0.0, "describe": 0.0, "imagine": 0.0}
HEARING = MixtureRecipe(2.0, {                                          # the stages of the fourth omni-tiny
    "transcribe": 4.0, "translate": 1.5, "caption": 1.2, "see": 1.0, "prompts": 1.7, "mind": 1.1, "chat": 0.7,
    "count": 2.0, "video": 0.5, "say": 0.5, "translate_speech": 0.4, "tell": 0.25, "draw": 0.2, "name_sound": 0.8,
    "talk": 0.7, **UNUSED,
})  # fmt: skip
JOINT = MixtureRecipe(2.0, {
    "transcribe": 4.0, "translate": 2.9, "caption": 1.7, "see": 2.4, "prompts": 2.3, "mind": 3.3, "chat": 1.9,
    "count": 3.7, "video": 1.1, "say": 1.0, "translate_speech": 0.7, "tell": 0.7, "draw": 0.45, "name_sound": 1.5,
    "talk": 2.1, **UNUSED, "interpret": 0.08,
})  # fmt: skip
FIRST = 0.375                                                           # of the steps, where there is a stage before
SHAPES = {
    "5M": {"d_model": 192, "n_layers": 7, "n_heads": 3, "n_kv_heads": 3, "d_ff": 512},
    "10M": {"d_model": 320, "n_layers": 6, "n_heads": 5, "n_kv_heads": 5, "d_ff": 864},
    "20M": {"d_model": 448, "n_layers": 6, "n_heads": 7, "n_kv_heads": 7, "d_ff": 1216},
}
SETTINGS = {
    "schedule.warmup": 20, "batch.rows": 4, "batch.micro": 4, "compile": False, "valid": [],
    "checkpoint.minutes": 2.0, "checkpoint.keep": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One choice made differently.

    arrangement: of the documents (arrange.py); mixture: see `mixtures`; changes: of the recipe, by dotted keys;
    judged: tasks that decide
    """

    axis: str
    name: str
    arrangement: str = "delay"
    shape: str = "5M"
    mixture: str = "joint"
    changes: Mapping[str, Any] = field(default_factory=dict)
    judged: tuple[str, ...] = tuple(UNITS)


BASE = Variant("base", "base")
VARIANTS = (
    Variant("layout", "flat", arrangement="flat"),
    Variant("layout", "depth", arrangement="depth"),
    Variant("answers", "speech alone", arrangement="alone", judged=SPOKEN),
    Variant("answers", "interleaved", arrangement="interleaved", judged=SPOKEN),
    Variant("order", "hearing first", mixture="hearing first"),
    Variant("order", "rich first", mixture="rich first"),
    Variant("order", "by size", mixture="by size"),
    Variant("stability", "no QK-norm", changes={"model.qk_norm": False}),
    Variant("stability", "no z-loss", changes={"model.z_loss": 0.0}),
    Variant("size", "10M", shape="10M"),
    Variant("size", "20M", shape="20M"),
    Variant("text weight", "1", changes={"model.text_weight": 1.0}),
    Variant("reading", "on", changes={"reading.weight": 1.0}),
    Variant("reading", "last layer", changes={"reading.weight": 1.0, "reading.layer": SHAPES["5M"]["n_layers"]}),
)
NAMED = {f"{one.axis}: {one.name}": one for one in VARIANTS} | {"base": BASE}
AXES = tuple(dict.fromkeys(one.axis for one in VARIANTS))


def mixtures(shared: Path) -> dict[str, list[tuple[float, MixtureRecipe]]]:
    """(share of the steps, mixture) of each stage, by name.

    A mixture says how often a document comes, alike in every arrangement: shares that count rows of the whole data,
    over the rows that a task has here.
    """
    about = read_json(shared / ABOUT)
    rich = MixtureRecipe(2.0, {task: 0.0 for task in about["rows"] if task not in RICH})

    def here(mixture: MixtureRecipe) -> MixtureRecipe:
        weights = {
            task: about["sizes"][task] ** (1 / mixture.temperature) * mixture.weights.get(task, 1.0) / rows
            for task, rows in about["rows"].items()
        }
        return MixtureRecipe(1.0, weights)

    return {
        "joint": [(1.0, here(JOINT))],
        "hearing first": [(FIRST, here(HEARING)), (1 - FIRST, here(JOINT))],
        "rich first": [(FIRST, here(rich)), (1 - FIRST, here(JOINT))],
        "by size": [(1.0, here(MixtureRecipe()))],
    }


def planned(variant: Variant, shared: Path, seed: int, budget: float) -> tuple[Recipe, Cost]:
    """The recipe whose training takes `budget` multiply-adds, as nearly as whole steps can, and its average row."""
    data, parts = [str(shared / variant.arrangement / "train")], mixtures(shared)[variant.mixture]
    given = {"data": data, "tokenizers": str(shipped_model() / "tokenizers"), "seed": seed, "mixture": {}}
    shape = {f"model.{name}": value for name, value in SHAPES[variant.shape].items()}
    recipe = Recipe.load("tiny-first", {**SETTINGS, **given, **shape, **variant.changes})
    rows = Dataset.load(data, ROW)
    cost = mean_cost(rows, recipe.model.config(rows.vocab), parts)
    steps = max(len(parts), round(budget / (cost.multiply_adds * recipe.batch.rows)))
    first = round(parts[0][0] * steps)
    stages = [StageRecipe(count, part) for count, (_, part) in zip((first, steps - first), parts, strict=False)]
    return Recipe.parse({**recipe.as_dict(), "stages": [_plain(stage) for stage in stages]}, "ablations"), cost


def _plain(stage: StageRecipe) -> dict[str, Any]:
    return {"steps": stage.steps, "mixture": vars(stage.mixture)}
