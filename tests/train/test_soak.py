"""One fault of each kind; `make soak` injects twenty."""

from pathlib import Path

import pytest
from soak import FAULTS, soak


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_kind_of_fault_leaves_the_weights_of_an_undisturbed_run(tmp_path: Path) -> None:
    found = soak(tmp_path, faults=len(FAULTS), seed=0, steps=400)
    assert found == {
        "faults_injected": len(FAULTS),
        "samples_lost": 0,
        "samples_repeated": 0,
        "weights_bit_equal": True,
    }
    logs = "".join(log.read_text(errors="replace") for log in (tmp_path / "disturbed" / "logs").glob("*"))
    messages = (tmp_path / "soak.log").read_text(errors="replace") + logs
    for sign in ("starting again from the last good checkpoint", "trying an older one", "could not be written"):
        assert sign in messages
