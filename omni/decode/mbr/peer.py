"""`python -m omni.decode.mbr.peer`: what mbrs chooses, in a process of its own, as JSON from stdin to stdout.

mbrs imports every metric that it knows, and with it packages of which chrF and BLEU need none; here those are left out.
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
METRICS = {"chrf": "MetricChrF", "bleu": "MetricBLEU"}


def main() -> None:
    """{"sets": lists of candidates, "workers": processes, "fast": whether by its Rust, "metric": chrf or bleu,
    "aggregate": whether by a mean reference} to [[index, seconds, expected utility] a set]."""
    asked: dict[str, Any] = json.load(sys.stdin)
    with Path(os.devnull).open("w", encoding="utf-8") as silent:
        told, sys.stdout = sys.stdout, silent
        decoder = _decoder(**{name: asked[name] for name in ("workers", "fast", "metric", "aggregate")})
        chosen = []
        for candidates in asked["sets"]:
            began = time.perf_counter()
            found = decoder.decode(candidates, candidates)
            chosen.append([int(found.idx[0]), time.perf_counter() - began, float(found.score[0])])
        sys.stdout = told
    print(json.dumps(chosen))


def _decoder(workers: int, fast: bool, metric: str, aggregate: bool) -> Any:
    sys.modules.update({f"mbrs.metrics.{name}": MagicMock() for name in NEURAL})
    if find_spec("fastchrf") is None:
        sys.modules["fastchrf"] = MagicMock()
    measure = getattr(importlib.import_module(f"mbrs.metrics.{metric}"), METRICS[metric])
    config = measure.Config(num_workers=workers, **({"fastchrf": fast} if metric == "chrf" else {}))
    module, name = ("aggregate_mbr", "DecoderAggregateMBR") if aggregate else ("mbr", "DecoderMBR")
    decoder = getattr(importlib.import_module(f"mbrs.decoders.{module}"), name)
    return decoder(decoder.Config(), measure(config))


if __name__ == "__main__":
    main()
