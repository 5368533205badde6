"""`omni bench mbr|binary|sweep` at their smallest: the figures that the documents name are there and make sense."""

import json

import pytest

from omni.cli import main

EXPECTED = {                                                            # words: figures beside those of the machine
    ("mbr", "--candidates", "8"): {
        "ratio_vs_mbrs", "agreement_with_mbrs", "ratio_of_cores", "ratio_of_cores_larger",
    },
    ("binary", "--preset", "mini", "--rounds", "1"): {
        "size_ratio_vs_bf16", "decode_speedup_vs_fp32", "decode_speedup_vs_int8", "ms_per_step_floor",
    },
    ("sweep", "--members", "1", "--steps", "1"): {"speedup_vs_sequential", "speedup_at_16"},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)                                               # their processes start slowly on a busy machine
@pytest.mark.parametrize("words", EXPECTED, ids=[words[0] for words in EXPECTED])
def test_a_benchmark_measures_what_the_documents_name(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omni.decode.bench_binary.find_spec", lambda name: None)  # torchao's ways compile for a minute
    assert main(["bench", *words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["command"] == f"bench {words[0]}" and said["machine"]["cores"] > 0
    assert said["figures"].keys() >= EXPECTED[words]
    assert all(figure["value"] > 0 for figure in said["figures"].values())
    if words[0] == "mbr":
        assert said["figures"]["agreement_with_mbrs"] == {"value": 1.0, "unit": "1", "low": None, "high": None, "n": 21}
    if words[0] == "binary":                                            # two bytes a weight to a bit, less the scales
        assert 13 < said["figures"]["size_ratio_vs_bf16"]["value"] < 16


@pytest.mark.parametrize("words", ["mbr --candidates 1", "binary --rounds 0", "binary --preset x", "sweep --steps 0"])
def test_sizes_that_measure_nothing_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words.split()]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
