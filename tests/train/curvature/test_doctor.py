"""Trials of a recipe that is known to be good or bad."""

import json
from pathlib import Path

import pytest

from omni.cli import main
from omni.train.curvature.doctor import spans

SMALL = ["--set", "model.n_layers=1", "--set", "valid=[]", "--set", "batch.micro=8"]


@pytest.mark.slow
def test_a_rate_that_is_far_too_high_is_found_out(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "doctor", str(recipe_file), "--steps", "10", "--json", *SMALL]
    assert main([*words, "--set", "optimizer.lr=20.0", "--set", "optimizer.clip=0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    figures = {name: figure["value"] for name, figure in json.loads(lines[-1])["figures"].items()}
    assert figures["highest_stable_lr"] is None or figures["highest_stable_lr"] < 20
    assert "ABOVE" in "".join(lines) or "no rate" in "".join(lines)
    assert figures["ratio blocks.0.attention"] > 0 and figures["spread embedding"] > 1


def test_parts_cover_every_parameter_once() -> None:
    names = ["embedding.weight", "blocks.0.attention.qkv.weight", "blocks.0.attention.out.weight", "norm.weight"]
    found = spans(dict(zip(names, (10, 5, 5, 2), strict=True)))
    assert found == {"embedding": (0, 10), "blocks.0.attention": (10, 20), "norm": (20, 22)}


def test_bad_flags_are_refused(recipe_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "doctor", str(recipe_file), "--steps", "2"]) == 2
    assert main(["train", "doctor", str(recipe_file), "--set", "zero"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err
