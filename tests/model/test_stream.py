from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from omni.model.stream import save_tensors


def test_the_library_reads_what_was_written_a_tensor_at_a_time(tmp_path: Path) -> None:
    made = {
        "one": torch.randn(3, 5),
        "ü/two": torch.randn(7).bfloat16(),
        "turned": torch.randn(4, 6).T,
        "nothing": torch.zeros(0, 2),
        "half": torch.randn(2, 2, 2).half(),
    }
    like = {name: torch.empty(one.shape, dtype=one.dtype, device="meta") for name, one in made.items()}
    save_tensors(tmp_path / "ours", like, iter(made.items()))
    save_file({name: one.contiguous() for name, one in made.items()}, tmp_path / "theirs")
    ours, theirs = load_file(tmp_path / "ours"), load_file(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    assert all(ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_was_not_announced_is_refused(tmp_path: Path) -> None:
    like = {"one": torch.zeros(2), "two": torch.zeros(3)}
    with pytest.raises(ValueError, match="two"):
        save_tensors(tmp_path / "file", like, [("two", torch.zeros(3)), ("one", torch.zeros(2))])
    with pytest.raises(ValueError, match="one"):
        save_tensors(tmp_path / "file", like, [("one", torch.zeros(3)), ("two", torch.zeros(3))])
    with pytest.raises(ValueError):
        save_tensors(tmp_path / "file", like, [("one", torch.zeros(2))])
