"""Files that are whole or not there, where the system refuses to write them."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from omni.files import atomic_path

FULL = """
import resource, sys
import numpy as np
from safetensors.numpy import save_file
from omni.files import atomic_path
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_path(sys.argv[1]) as scratch:
        save_file({"weight": np.zeros(10_000)}, scratch)
except OSError as error:
    print(error.errno, error.filename)
"""


def test_what_keeps_weights_from_being_written_is_an_error_of_the_system(tmp_path: Path) -> None:
    """As a full disk does: safetensors raises an error of its own, which names neither file nor number."""
    path = tmp_path / "model.safetensors"
    found = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(errno.EFBIG), str(path)]
    assert not any(tmp_path.iterdir())


def test_an_error_names_the_file_and_not_the_scratch_one(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    with pytest.raises(OSError) as refused, atomic_path(path) as scratch:
        scratch.mkdir()
        scratch.write_text("is a folder")
    assert refused.value.errno == errno.EISDIR and refused.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as other, atomic_path(path):
        (tmp_path / "elsewhere").read_text()
    assert other.value.filename == str(tmp_path / "elsewhere")
