"""A wheel built from this tree is whole: it follows the links, holds the data files, and is importable elsewhere."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEFT_OUT = (".*", "runs", "build", "dist", "tests", "docs", "*.egg-info", "__pycache__")
NOT_SHIPPED = (".pyc", ".md")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, since setuptools leaves folders behind and packs stale ones."""
    source = tmp_path_factory.mktemp("wheel") / "source"
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(source.parent), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(source.parent.glob("omni-*.whl"))


def shipped_files() -> set[str]:
    """What has to be in the wheel, by the name it has there."""
    found = set()
    for folder, folders, names in os.walk(ROOT / "omni", followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found |= {str((Path(folder) / name).relative_to(ROOT)) for name in names if not name.endswith(NOT_SHIPPED)}
    return found


def test_wheel_holds_every_module_and_data_file_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"omni/cli.py", "omni/tokenizers/text.py", "omni/train/data/sources.toml"} <= names
    assert shipped_files() - names == set()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"omni"}


def test_installed_wheel_works_without_the_repository(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    code = (
        "import omni, omni.tokenizers.text, omni.train.data.items, omni.eval.statistics, tokenizers\n"
        "from omni.train.data.fetch import read_specs\n"
        "assert read_specs([])\n"
        "print(omni.__file__, omni.tokenizers.text.__file__, omni.train.data.items.__file__, sep='\\n')\n"
        "assert hasattr(tokenizers, 'Tokenizer')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(site)) for line in done.stdout.splitlines())
    command = [sys.executable, str(site / "bin" / "omni"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "usage: omni" in done.stdout
