import hashlib
import re
from pathlib import Path

from omni.train.recipe import Recipe
from omni.train.rehearsal import rehearsed
from omni.train.stages import Stages
from omni.train.start.given import load_data


def test_without_its_data_a_recipe_is_shown_with_its_hash(tmp_path: Path) -> None:
    recipe = Recipe.load("tiny", {"data": [str(tmp_path / "nothing")], "valid": []})
    said = rehearsed(recipe)
    assert said.startswith(recipe.yaml()) and f"{tmp_path / 'nothing'} is not there" in said
    assert hashlib.sha256(recipe.yaml().encode()).hexdigest() in said


def test_the_rows_of_a_run_are_those_of_its_order(shards: Path) -> None:
    recipe = Recipe.load("mini", {"data": [str(shards)], "valid": [], "tokenizers": None, "schedule.steps": 30})
    said = rehearsed(recipe)
    data = load_data(recipe)
    counts = dict(re.findall(r"^  (\w+): ([\d,]+) of", said, flags=re.MULTILINE))
    assert set(counts) == set(data.rows)
    rows = 30 * recipe.batch.rows
    assert sum(int(count.replace(",", "")) for count in counts.values()) == rows
    tasks, _ = Stages.of(recipe, data).order.at([rows - 1])
    assert list(counts.values())[int(tasks[0])] != "0"
