"""Figures of benchmarks on a card: what they were measured of, and whether that is what there is now."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni.files import code, sha256
from omni.safety.policy import WHOLE
from omni.shipped import NAME, named_model

ROOT = Path(__file__).absolute().parents[2]                             # of the package, whose parts are links


@dataclass(frozen=True)
class Bench:
    """sources: files and folders that the figures depend on; model: whether they are a model's."""

    sources: tuple[str, ...]
    model: bool

    def code(self) -> str:
        return code([ROOT / one for one in self.sources])


LIVE = Bench(("live", "eval/live"), model=True)
BENCHES = {
    "guards": Bench(("safety/guards", *(f"safety/{one}" for one in WHOLE)), model=False),
    "latency": LIVE, "barge-in": LIVE, "sessions": LIVE,
}  # fmt: skip


def measured_of(name: str, args: argparse.Namespace) -> dict[str, str | None]:
    """Checksums of code, weights and data of a benchmark by its flags; None for what cannot be known."""
    bench = BENCHES.get(name)
    if bench is None:
        return {}
    found: dict[str, str | None] = {"code": bench.code(), "data": None, "model": None}
    if (args.data / "manifest.json").is_file():
        found["data"] = sha256(args.data / "manifest.json")
    if bench.model and args.url is None:                                # else whatever answers at the address
        found["model"] = sha256(named_model(args.model or NAME) / "checksums.json")
    return found


def stale(name: str, of: dict[str, Any], weights: str, data: str | None) -> tuple[str, bool]:
    """What is wrong with figures that were measured of `of`, or nothing, and whether they are another model's.

    weights: checksum of the card's model; data: of the folder that its suites asked
    """
    bench = BENCHES.get(name)
    if bench is None or not of:
        return "does not say which code and weights it measured", False
    if bench.model and of.get("model") not in (None, weights):
        return "was run on other weights, and is left out", True
    if bench.model and of.get("model") is None:
        return "measured an address, and nobody knows which weights answered", False
    if of.get("code") != bench.code():
        return "was run by another version of its code", False
    if data and of.get("data") not in (None, data):
        return "was run on other data than the suites", False
    return "", False
