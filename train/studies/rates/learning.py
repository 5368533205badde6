"""A codec from chance, and a small model from chance that learns to hear and to say its codes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.loader import Dataset
from omni.train.recipe import MixtureRecipe, Recipe
from omni.train.studies.rates.documents import ROW
from omni.train.studies.rates.sample import Sample
from omni.train.studies.tiny import variants
from omni.train.studies.tiny.compute import Cost, mean_cost

if TYPE_CHECKING:
    from omni.model.transformer import OmniTransformer
    from omni.tokenizers.audio.codec import Codec

LEVELS = (8, 5, 5, 5)                                                   # 1,000 codes, as omni-tiny's
SHAPE = {"d_model": 128, "n_layers": 3, "n_heads": 2, "n_kv_heads": 2, "d_ff": 344}
SETTINGS = {**variants.SETTINGS, "batch.rows": 2, "batch.micro": 2, "sequence_length": ROW}


def learnt_codec(sample: Sample, frame_rate: float, codebooks: int, steps: int, seed: int, folder: Path) -> "Codec":
    """The preset quick at another rate, trained on all that is learnt from; stopped, it goes on when called again."""
    from omni.tokenizers.audio.training import train_codec

    config = CodecConfig(frame_rate=frame_rate, levels=LEVELS, codebooks=codebooks)
    waves = [sample.wave(one) for one in sample.learnt]
    return train_codec(waves, config, folder, steps=steps, seed=seed)


def learnt_model(
    data: Path, tokenizers: Tokenizers, budget: float, seed: int, folder: Path
) -> tuple["OmniTransformer", Cost]:
    """Trained for `budget` multiply-adds on the documents of both tasks, as often each; and what the whole run costs.

    Raises KeyboardInterrupt where the training was stopped; it goes on when called again.
    """
    from omni.train.engine import Trainer

    tokenizers.save(folder / "tokenizers")
    recipe, cost = _planned(data, folder / "tokenizers", budget, seed)
    trainer = Trainer(recipe, folder / "run", "cpu")
    if trainer.train() is not None:
        raise KeyboardInterrupt
    model = trainer.engine.module.model.eval().requires_grad_(False)
    trainer.close()
    rows = trainer.stages.steps * recipe.batch.rows
    return model, Cost(cost.multiply_adds * rows, cost.steps * rows, cost.documents * rows)


def _planned(data: Path, tokenizers: Path, budget: float, seed: int) -> tuple[Recipe, Cost]:
    """The recipe whose training takes the budget, as nearly as whole steps can, and its average row."""
    rows, once = Dataset.load([data], ROW), MixtureRecipe(1.0, {})
    shape: dict[str, Any] = {f"model.{name}": value for name, value in SHAPE.items()}
    given = {"data": [str(data)], "tokenizers": str(tokenizers), "seed": seed, "mixture": vars(once)}
    recipe = Recipe.load("tiny-first", {**SETTINGS, **given, **shape})
    cost = mean_cost(rows, recipe.model.config(rows.vocab), [(1.0, once)])
    steps = max(1, round(budget / (cost.multiply_adds * recipe.batch.rows)))
    return Recipe.load("tiny-first", {**SETTINGS, **given, **shape, "schedule.steps": steps}), cost
