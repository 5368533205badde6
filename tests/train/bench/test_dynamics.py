"""The benches of curvature and of many tasks, on a model that is too small to say anything about speed."""

import json
from typing import Any

import pytest
import torch

from omni.cli import main
from omni.train.bench import curvature, multitask

SHAPE = {"d_model": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "d_ff": 16}


def figures(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["bench", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["command"] == f"bench {words[0]}" and found["machine"]["cores"] > 0
    return {name: figure["value"] for name, figure in found["figures"].items()}


def test_bench_curvature_has_its_keys(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.nn.functional, "linear", torch._C._nn.linear)  # DeepSpeed's ZeRO 3 leaves its own there
    small = {"SHAPE": SHAPE, "STEPS": 8, "VOCAB": 16, "STARTS": 1, "CHANGES": (1e-3,)}
    for name, value in small.items():
        monkeypatch.setattr(curvature, name, value)
    found = figures(["curvature", "--rounds", "1", "--trained", "20"], capsys)
    keys = {"ratio_vs_pyhessian", "ratio_vs_curvlinops", "error", "error_pyhessian", "error_curvlinops"}
    assert keys | {"steps_per_probe", "steps_per_warm_probe", "seconds_per_probe"} <= set(found)
    assert found["error"] <= curvature.ACCURACY and found["error_curvlinops"] <= curvature.ACCURACY
    assert found["ratio_vs_curvlinops"] > 0                             # PyHessian may be accurate nowhere: null


def test_bench_multitask_has_its_keys(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(multitask, "WIDTH", 16)
    found = figures(["multitask", "--rounds", "1"], capsys)
    rules = {*multitask.RULES, *multitask.OTHERS}
    keys = {f"{kind}_{name}" for kind in ("overhead", "steps_per_second") for name in rules}
    keys |= {f"ratio_{name}" for name in multitask.RULES} | {"ratio_vs_torchjd", "steps_per_second_plain"}
    assert keys | {"parity_error"} == set(found) and all(found[key] > 0 for key in keys)
    assert found["parity_error"] < 1e-4
