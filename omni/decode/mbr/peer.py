"""`python -m omni.decode.mbr.peer`: what mbrs chooses, in a process of its own, as JSON from stdin to stdout.

mbrs imports every metric that it knows, and with it packages of which chrF needs none; here those are left out.
"""

import importlib
import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

NEURAL = ("bertscore", "bleurt", "comet", "cometkiwi", "metricx", "xcomet")


def main() -> None:
    """{"sets": lists of candidates, "workers": processes, "fast": whether by its Rust} to [[index, seconds] a set]."""
    asked: dict[str, Any] = json.load(sys.stdin)
    with Path(os.devnull).open("w", encoding="utf-8") as silent:
        told, sys.stdout = sys.stdout, silent
        decoder = _decoder(asked["workers"], asked["fast"])
        chosen = []
        for candidates in asked["sets"]:
            began = time.perf_counter()
            index = decoder.decode(candidates, candidates).idx[0]
            chosen.append([int(index), time.perf_counter() - began])
        sys.stdout = told
    print(json.dumps(chosen))


def _decoder(workers: int, fast: bool) -> Any:
    sys.modules.update({f"mbrs.metrics.{name}": MagicMock() for name in NEURAL})
    if find_spec("fastchrf") is None:
        sys.modules["fastchrf"] = MagicMock()
    metric = importlib.import_module("mbrs.metrics.chrf").MetricChrF
    decoder = importlib.import_module("mbrs.decoders.mbr").DecoderMBR
    return decoder(decoder.Config(), metric(metric.Config(num_workers=workers, fastchrf=fast)))


if __name__ == "__main__":
    main()
