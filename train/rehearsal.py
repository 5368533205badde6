"""What a recipe would do, without doing it: `omni train RECIPE --dry-run`."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from omni.tokenizers.bundle import Tokenizers
from omni.train.data.order import BLOCK, Staged
from omni.train.recipe import Recipe
from omni.train.start.given import share_of
from omni.vocab import Vocabulary


def rehearsed(recipe: Recipe, world: int = 1) -> str:
    """The whole recipe, its hash, and what it gives in so many processes with its data, where they are.

    Raises InputError for a shape that cannot be, for processes that do not divide its rows, and where recipe and data
    do not go together.
    """
    share_of(recipe, 0, world)
    if recipe.beginning is None:
        recipe.model.config(Vocabulary.of(Tokenizers()))                # a shape that cannot be, whatever the data
    lines = [recipe.yaml(), f"recipe: sha256 {fingerprint(recipe)}"]
    missing = [folder for folder in (*recipe.data, *recipe.valid) if not Path(folder).is_dir()]
    if missing:
        return "\n".join([*lines, f"data: {', '.join(missing)} is not there; `omni data tokenize` writes such folders"])
    return "\n".join([*lines, *_with_data(recipe)])


def fingerprint(recipe: Recipe) -> str:
    """SHA-256 of what a recipe says otherwise than by default: keys that come later leave it as it is."""
    return hashlib.sha256(json.dumps(_said(recipe), sort_keys=True).encode()).hexdigest()


def _said(value: Any) -> Any:
    if is_dataclass(value):
        given = {one: getattr(value, one.name) for one in fields(value)}
        return {one.name: _said(here) for one, here in given.items() if here != _usual(one)}
    if isinstance(value, dict):
        return {str(name): _said(one) for name, one in value.items()}
    return [_said(one) for one in value] if isinstance(value, list | tuple) else value


def _usual(one: Field[Any]) -> Any:
    return one.default_factory() if callable(one.default_factory) else one.default


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
    if stages.steps <= recipe.schedule.warmup:
        lines.append(f"warmup: {recipe.schedule.warmup:,} steps, so that optimizer.lr is never reached")
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
