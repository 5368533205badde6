"""What a recipe would do, without doing it: `omni train RECIPE --dry-run`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from omni.train.data.order import BLOCK, Staged
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
    counts = stages.order.given(rows)                                   # [tasks]
    lines = [
        f"model: {sum(parts.values()):,} parameters, a token space of {len(data.vocab):,} ids",
        f"steps: {stages.steps:,} of {recipe.batch.rows} rows of {recipe.sequence_length}",
        "task: rows of the run, of the data, share of the run",
    ]
    there = zip(data.rows.items(), counts.tolist(), strict=True)
    lines += [f"  {name}: {count:,} of {have:,}, {count / rows:.2%}" for (name, have), count in there]
    return lines + _by_stage(recipe, data.tasks, stages.order)


def _by_stage(recipe: Recipe, tasks: Sequence[str], order: Staged) -> list[str]:
    """The shares of each stage, where the recipe has several."""
    if len(recipe.stages) < 2:
        return []
    lines = []
    for number, (stage, (_, part)) in enumerate(zip(recipe.stages, order.parts, strict=True), start=1):
        shares = [f"{task} {units / BLOCK:.2%}" for task, units in zip(tasks, part.quotas, strict=True) if units]
        lines.append(f"stage {number}, {stage.steps:,} steps: {', '.join(shares)}")
    return lines
