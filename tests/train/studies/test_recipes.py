"""Recipes at the papers' scale: the command in each makes its shards, and then it does what its comment says."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from omni.cli import main
from omni.train import studies

FOLDER = Path(studies.__path__[0])
RECIPES = sorted(FOLDER.glob("*/recipes/*.yaml"))
STATED = {                                                              # what comments must say, here once more
    "multilingual-scaling": {"translate_en-fr": 0.3, "translate_en-is": 0.7},
    "multitask": {"caption": 0.5, "draw": 0.5},
    "multitask-translation": {"translate_en-fr": 0.5, "translate_en-is": 0.5},
    "order-matters": {"translate_en-fr": 0.95, "translate_en-is": 0.05},
}
PROPORTIONAL = {"curvature", "edge-of-stability"}                       # every task, by its rows
PRECISION = 1 / 1024 + 1e-4                                             # of a share, and of how it is printed


def test_all_recipes_are_here() -> None:
    alone = {"binary", "data-scaling", "epsilon-mbr", "lm-architectures"}
    assert {path.stem for path in RECIPES} == alone | STATED.keys() | PROPORTIONAL


@pytest.fixture(scope="module")
def places(messages: Path, tokenizers: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder to work in, with the shards that a command makes there of `runs/data` and `runs/tokenizers`."""
    made: dict[str, Path] = {}

    def place(command: str) -> Path:
        if command not in made:
            folder = made[command] = tmp_path_factory.mktemp("work")
            (folder / "runs").mkdir()
            (folder / "runs" / "data").symlink_to(messages)
            (folder / "runs" / "tokenizers").symlink_to(tokenizers)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                assert main([*shlex.split(command)[1:], "--workers", "1"]) == 0
        return made[command]

    return place


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_on_the_shares_that_it_states(
    path: Path, places: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    (command,) = (line.removeprefix("#   ") for line in comment if line.startswith("#   omni data tokenize"))
    monkeypatch.chdir(places(command))
    capsys.readouterr()
    assert main(["train", str(path), "--dry-run"]) == 0
    shares, rows = rehearsed(capsys.readouterr().out)
    said = " ".join(line.removeprefix("# ") for line in comment)
    told = "".join(re.findall(r"shares are [^:]*", said))
    stated = {task: float(share) for task, share in re.findall(r"(\S+) (0\.\d+)", told)}
    assert stated == STATED.get(path.stem, {})
    if stated:
        assert len(set(rows.values())) == 2                             # else rows could not be told from weights
        assert shares == pytest.approx(stated, abs=PRECISION)
    elif path.stem in PROPORTIONAL:
        assert {"caption", "draw", "say", "transcribe", "translate"} <= shares.keys()
        assert shares == pytest.approx({task: count / sum(rows.values()) for task, count in rows.items()}, abs=0.003)
    else:
        (task,) = shares
        assert task == ("translate_en-fr" if path.stem == "data-scaling" else "translate")


@pytest.mark.slow
def test_the_stages_of_order_matters_are_the_papers(
    places: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(path for path in RECIPES if path.stem == "order-matters")
    (command,) = re.findall(r"^#   (omni data tokenize.*)$", path.read_text(), flags=re.MULTILINE)
    monkeypatch.chdir(places(command))
    capsys.readouterr()
    assert main(["train", str(path), "--dry-run"]) == 0
    first, second = re.findall(r"^stage \d, 250,000 steps: (.*)$", capsys.readouterr().out, flags=re.MULTILINE)
    assert first == "translate_en-fr 100.00%" and second == "translate_en-fr 90.04%, translate_en-is 9.96%"


def rehearsed(said: str) -> tuple[dict[str, float], dict[str, int]]:
    """Of each task its share of the run, and how many rows there are."""
    found = re.findall(r"^  (\S+): [\d,]+ of ([\d,]+), ([\d.]+)%$", said, flags=re.MULTILINE)
    return (
        {task: float(share) / 100 for task, _, share in found},
        {task: int(rows.replace(",", "")) for task, rows, _ in found},
    )
