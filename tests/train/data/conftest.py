"""A cache of packages in small."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from omni.files import write_json
from omni.train.data.fetch import PackageSpec, read_specs
from omni.train.data.parse import prompts, stamps


def put(cache: Path, spec: PackageSpec) -> Path:
    """A folder that counts as the extracted package, to be filled before `seal`."""
    root = cache / "packages" / spec.name
    root.mkdir(parents=True)
    return root


def seal(root: Path, spec: PackageSpec) -> None:
    files = [path for path in root.rglob("*") if path.is_file()]
    tree = [len(files), sum(path.stat().st_size for path in files)]
    write_json(root / "receipt.json", {"asked": spec.sha256, "sha256": spec.sha256, "tree": tree})


@pytest.fixture
def stamps_cache(tmp_path: Path) -> Path:
    """Twelve stamps with a spoken caption each, and two prompts in English; the other prompt packages are empty."""
    cache = tmp_path / "cache"
    for spec in read_specs(["stamps", "prompts"]):
        root = put(cache, spec)
        folder = root / (stamps.STAMPS if spec.source == "stamps" else prompts.SOUNDS)
        folder.mkdir(parents=True)
        if spec.source == "stamps":
            for index in range(12):
                Image.new("RGB", (20, 10), (20 * index, 100, 50)).save(folder / f"s{index:02}.png")
                (folder / f"s{index:02}.txt").write_text(f"Thing {index}.\nfr.utf8=Chose {index}.\n")
                write_tone(folder / f"s{index:02}_desc_fr.wav", 200 + 20 * index)
        elif "-en-" in spec.name:
            (folder / "en_US_f_Allison/digits").mkdir(parents=True)
            write_tone(folder / "en_US_f_Allison/digits/7.wav", 700)
            write_tone(folder / "en_US_f_Allison/digits/8.wav", 800)
        seal(root, spec)
    return cache


def write_tone(path: Path, frequency: float) -> None:
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * frequency * np.arange(4000) / 8000), 8000)
