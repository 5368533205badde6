"""Four faults, each of which leaves more behind than the others do; `make soak` injects twenty, of all kinds."""

from pathlib import Path

import pytest
from soak import soak

FEW = ("kill_in_a_save", "hang", "flip", "no_room")                     # `flip` kills all ranks at once, too


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_faults_leave_the_weights_of_an_undisturbed_run(tmp_path: Path) -> None:
    found = soak(tmp_path, FEW, seed=0, steps=120)
    assert found == {
        "faults_injected": len(FEW),
        "samples_lost": 0,
        "samples_repeated": 0,
        "weights_bit_equal": True,
    }
    logs = "".join(log.read_text(errors="replace") for log in (tmp_path / "disturbed" / "logs").glob("*"))
    messages = (tmp_path / "soak.log").read_text(errors="replace") + logs
    for sign in ("starting again from the last good checkpoint", "trying an older one", "could not be written"):
        assert sign in messages
