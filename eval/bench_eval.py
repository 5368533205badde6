"""`omni bench eval`: lm-eval's requests answered by our class and by its own hf backend, on the same weights."""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omni.figures import Report

EPILOG = """example:
  omni bench eval --json
Without --model, a decoder of the shape of omni-tiny with flat audio has random weights. Both answer the same requests:
four answers to each question, and texts to go on with; both must give equal numbers. They take turns in every round,
each on one thread, and the hf backend has the batch size of 8, 16, 32 and 64 that suits it best."""
QUESTIONS, TEXTS, NEW_TOKENS = 48, 16, 24
BATCHES = (8, 16, 32, 64)


def configure(parser: argparse.ArgumentParser) -> None:
    """How long."""
    parser.description = "Throughput of lm-eval's requests: our model class against lm-eval's hf backend."
    parser.epilog = EPILOG
    parser.add_argument("--model", type=Path, metavar="DIR", help="a model folder with flat audio to measure instead")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure and print the table."""
    from omni.errors import InputError

    if args.rounds < 1:
        raise InputError(f"--rounds: must be 1 or more, got {args.rounds}")
    with tempfile.TemporaryDirectory(prefix="omni-bench-") as scratch:
        model = args.model or random_model(Path(scratch) / "model")
        report = measure(model, Path(scratch) / "exported", args.rounds)
    print(report.table())
    if args.json:
        print(report.json())


def measure(model: Path, exported: Path, rounds: int) -> "Report":
    """Ratios of throughput, ours over theirs: medians over the rounds, low and high are the extremes."""
    from omni.eval.lm_eval import OmniLM
    from omni.figures import Report
    from omni.model.pretrained.folders import export_model
    from omni.train.data.engines import one_thread

    export_model(model, exported)
    choices, texts = requests()
    report = Report("bench eval")
    with _quiet(), one_thread():
        ours = OmniLM(model)
        peers = [_peer(exported, size) for size in BATCHES]
        theirs = min(peers, key=lambda peer: _seconds(peer.loglikelihood, choices))
        _compare(report, "ratio_vs_lm_eval_hf", ours.loglikelihood, theirs.loglikelihood, choices, rounds)
        _compare(report, "generate_ratio_vs_lm_eval_hf", ours.generate_until, theirs.generate_until, texts, rounds)
        ours_said, theirs_said = ours.loglikelihood(choices), theirs.loglikelihood(choices)
        gap = max(abs(a[0] - b[0]) for a, b in zip(ours_said, theirs_said, strict=True))
        same = [a == b for a, b in zip(ours.generate_until(texts), theirs.generate_until(texts), strict=True)]
    report.add("loglikelihood_gap", gap, "nats", n=len(choices))
    report.add("equal_texts", sum(same) / len(same), "share", n=len(same))
    report.add("hf_batch_size", float(theirs.batch_size), "rows")
    return report


def requests() -> tuple[list[Any], list[Any]]:
    """lm-eval's requests: four answers to each of some questions, and texts to go on with; lines of the dialogues."""
    from lm_eval.api.instance import Instance

    from omni.train.data.lines import line_items

    lines = [item.texts["en"] for item in line_items(["en"]) if len(item.texts.get("en", "")) > 12]
    choices = []
    for number in range(QUESTIONS):
        context = "\n".join(lines[(3 * number + step) % len(lines)] for step in range(4)) + "\nAnswer:"
        for step in range(4):
            pair = (context, " " + lines[(7 * number + 5 * step + 1) % len(lines)])
            choices.append(Instance("loglikelihood", {}, pair, step))
    settings = {"until": ["\n\n\n"], "max_gen_toks": NEW_TOKENS}
    texts = [Instance("generate_until", {}, (lines[11 * number % len(lines)], settings), 0) for number in range(TEXTS)]
    return choices, texts


def random_model(folder: Path) -> Path:
    """omni-tiny's shape and tokenizers with flat audio, which transformers can compute, and random weights."""
    import shutil
    from dataclasses import replace

    import torch

    from omni.model.folder import save_model
    from omni.model.shape import load_shape
    from omni.model.transformer import OmniTransformer
    from omni.shipped import shipped_model
    from omni.tokenizers.bundle import Tokenizers
    from omni.vocab import Vocabulary

    shipped = shipped_model()
    tokenizers = Tokenizers.load(shipped / "tokenizers")
    vocab = Vocabulary.of(tokenizers, ("en",), layout="flat")
    config = replace(load_shape(shipped)[0], depth_layers=2).for_vocabulary(vocab)
    torch.manual_seed(0)
    save_model(folder, OmniTransformer(config).state_dict(), config, vocab)
    shutil.copytree(shipped / "tokenizers", folder / "tokenizers")
    return folder


def _peer(exported: Path, batch_size: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(exported), batch_size=batch_size, device="cpu", dtype="float32")


def _compare(
    report: "Report", name: str, ours: Callable[[Any], Any], theirs: Callable[[Any], Any], asked: Sequence[Any],
    rounds: int,
) -> None:  # fmt: skip
    for answer in (ours, theirs):
        answer(asked)                                                   # warms up
    ratios, seconds = [], []
    for _ in range(rounds):
        own, other = _seconds(ours, asked), _seconds(theirs, asked)
        ratios.append(other / own)
        seconds.append((own, other))
    report.add(name, statistics.median(ratios), "x", low=min(ratios), high=max(ratios), n=rounds)
    for who, column in zip(("omni", "hf"), zip(*seconds, strict=True), strict=True):
        rate = len(asked) / statistics.median(column)
        report.add(f"{name.split('ratio')[0]}{who}_requests_per_second", rate, "requests/s", n=rounds)


def _seconds(answer: Callable[[Any], Any], asked: Sequence[Any]) -> float:
    """Of one thread's processor time, which other programs do not add to."""
    begun = time.process_time()
    answer(asked)
    return time.process_time() - begun


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval's bars and warnings away: they are not what is measured."""
    import logging

    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
