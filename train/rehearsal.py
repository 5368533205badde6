"""What a recipe would do, without doing it: `omni train RECIPE --dry-run`."""

import hashlib
from pathlib import Path

import numpy as np

from omni.train.recipe import Recipe


def rehearsed(recipe: Recipe) -> str:
    """The whole recipe, its hash (a run's recipe.yaml has the same), and what it gives with its data, where they are.

    Raises InputError where recipe and data do not go together.
    """
    text = recipe.yaml()
    lines = [text, f"recipe.yaml: sha256 {hashlib.sha256(text.encode()).hexdigest()}"]
    missing = [folder for folder in (*recipe.data, *recipe.valid) if not Path(folder).is_dir()]
    if missing:
        return "\n".join([*lines, f"data: {', '.join(missing)} is not there; `omni data tokenize` writes such folders"])
    return "\n".join([*lines, *_with_data(recipe)])


def _with_data(recipe: Recipe) -> list[str]:
    from omni.train.stages import Stages
    from omni.train.start.given import load_data
    from omni.train.start.initial import shape_of

    data = load_data(recipe)
    shape, stages = shape_of(recipe, data.vocab), Stages.of(recipe, data)
    parts = shape.parameters()
    rows = stages.steps * recipe.batch.rows
    tasks, _ = stages.order.at(np.arange(rows))                         # [rows]
    counts = np.bincount(tasks, minlength=len(data.rows))               # [tasks]
    lines = [
        f"model: {sum(parts.values()):,} parameters, a token space of {len(data.vocab):,} ids",
        f"steps: {stages.steps:,} of {recipe.batch.rows} rows of {recipe.sequence_length}",
        "task: rows of the run, of the data",
    ]
    there = zip(data.rows.items(), counts.tolist(), strict=True)
    return lines + [f"  {name}: {count:,} of {have:,}" for (name, have), count in there]
