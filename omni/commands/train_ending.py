"""`omni train ending`: teach a model's head when the user of a live conversation has said all."""

import argparse
from pathlib import Path

from omni.errors import InputError
from omni.shipped import named_model

EPILOG = """example:
  omni train ending --model runs/tiny/model --data runs/tiny/data
The head lies in MODEL/ending; `omni serve` uses it for semantic turn detection."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The model, the recordings and how many of them."""
    parser.description = "Learn from recordings of people where a turn ends and where it only pauses."
    parser.epilog = EPILOG
    parser.add_argument("--model", type=named_model, required=True, help="model folder; the head is written into it")
    parser.add_argument("--data", type=Path, required=True, help="folder of `omni data prepare`")
    parser.add_argument("--recordings", type=int, default=5000, help="to learn from, at most (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Learn, measure on held-out recordings, and write the head."""
    if args.recordings < 1:
        raise InputError(f"--recordings: must be at least 1, got {args.recordings}; the default is 5000")
    import torch

    from omni.decode.pipeline import Pipeline
    from omni.figures import Report
    from omni.train.data.items import Manifest
    from omni.train.turns.ending import LONG, collect, teach

    manifest, pipeline = Manifest.load(args.data), Pipeline.load(args.model)
    head = teach(pipeline, args.model, collect(pipeline, manifest, "train", args.recordings))
    held_out = collect(pipeline, manifest, "test", max(100, args.recordings // 5), seed=1)
    with torch.inference_mode():
        ends, others = (head(held_out.states[held_out.ended == kind]) for kind in (True, False))
        pauses, long = (head(held_out.states[held_out.pause >= hops]) for hops in (1, LONG))
    head.save(args.model)
    report = Report("train ending")
    for name, negatives in (("auc", others), ("auc_pauses", pauses), ("auc_long_pauses", long)):
        report.add(name, _auc(ends.tolist(), negatives.tolist()), "1", n=len(ends) + len(negatives))
    print(report.table())
    print(f"head: {args.model / 'ending'}")
    if args.json:
        print(report.json())


def _auc(positives: list[float], negatives: list[float]) -> float | None:
    """How often an end is held for more of an end than a pause is (the area under the ROC curve)."""
    import numpy as np

    if not positives or not negatives:
        return None
    ranked = np.sort(np.array(negatives))
    below = np.searchsorted(ranked, positives, "left") + np.searchsorted(ranked, positives, "right")
    return float(below.mean() / 2 / len(ranked))
