"""`omni eval`: every task on held-out items, against chance and baselines, as figures and as a page."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from omni.eval.quick.evaluate import Evaluation, Subject
    from omni.figures import Report
    from omni.page import Content

EPILOG = """example:
  omni eval --run runs/quickstart --data runs/quickstart/data --shards runs/quickstart/shards

`omni eval abilities --help`: the abilities of the model that ships, against their goals
`omni eval suite --help`: capability and safety by Inspect tasks; `omni eval compare --help`: two runs of a suite"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.description = "Score every task on held-out items against chance and a nearest neighbour; write report.html."
    parser.epilog = EPILOG
    parser.add_argument("--run", type=Path, required=True, help="folder of `omni train`, whose model is measured")
    parser.add_argument("--data", type=Path, required=True, help="folder of `omni data prepare`")
    parser.add_argument("--shards", type=Path, required=True, help="folder of `omni data tokenize`")
    parser.add_argument("--out", type=Path, help="where report.html and results.json go (default: --run)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of examples (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Measure the model and print where the results are."""
    from omni.eval.quick.evaluate import evaluate
    from omni.eval.quick.report import read_losses, write_report
    from omni.files import write_json
    from omni.train.monitor.log import PLOT
    from omni.train.tasks.build import read_choice

    out: Path = args.out or args.run
    subject = load_subject(args.run / "model", args.data, args.shards, args.seed)
    losses = read_losses(args.run, args.shards, read_choice(args.shards).max_steps)
    evaluation = evaluate(subject)
    report = figures(evaluation)
    for task, measured in losses.items():
        report.add(f"{task}_loss_over_unigram", measured.loss / measured.unigram, "1")
    write_json(out / "results.json", evaluation.as_dict())
    write_report(out / "report.html", subject, evaluation, losses, facts(args.run, out, subject), args.run / PLOT)
    print(report.table())
    print(f"report: {out / 'report.html'}\nfigures: {out / 'results.json'}")
    if args.json:
        print(report.json())


def load_subject(model: Path, data: Path, shards: Path, seed: int) -> "Subject":
    """The model with the held-out items it is asked about. Raises InputError when the parts are not of one run."""
    from omni.decode.pipeline import Pipeline
    from omni.eval.quick.evaluate import Subject
    from omni.train.data.items import Manifest
    from omni.train.tasks.build import read_choice
    from omni.train.tasks.codes import Codes
    from omni.vocab import Vocabulary

    pipeline, manifest, choice = Pipeline.load(model), Manifest.load(data), read_choice(shards)
    pipeline.vocab.check_same(Vocabulary.load(shards / "vocab.json"), str(model), str(shards))
    codes = Codes.of(manifest, pipeline.tokenizers, choice.sources, choice.languages, shards / "codes")
    return Subject(pipeline.model, pipeline.vocab, codes, manifest, choice.languages, choice.sources, seed)


def facts(run: Path, out: Path, subject: "Subject") -> "list[tuple[str, Content]]":
    """What was trained, on what, for how long, and the way from a page in `out` to its card, where it has one."""
    from omni.figures import machine
    from omni.page import Markup
    from omni.train.monitor.log import read_log

    trained = [record for record in read_log(run) if record["kind"] == "train"]
    parameters = sum(parameter.numel() for parameter in subject.model.parameters())
    here = machine()
    rows: list[tuple[str, Content]] = [
        ("model", f"{parameters / 1e6:.1f}M parameters, token space of {len(subject.vocab)} ids"),
        ("items", f"{len(subject.items('train'))} trained on, {len(subject.items('valid', 'test'))} held out"),
        ("languages", ", ".join(subject.languages)),
        ("machine", f"{here['cpu']}, {here['cores']} cores"),
    ]
    if trained:
        speed = sorted(record["tokens_per_second"] for record in trained)[len(trained) // 2]
        rows.insert(1, ("training", f"{trained[-1]['step']} steps at {speed:,.0f} tokens a second"))
    if (card := run / "card" / "card.html").is_file():
        target = quote(os.path.relpath(card, out))
        rows.append(("System Card", Markup(f'<a href="{target}">what it can and may do</a>')))
    return rows


def figures(evaluation: "Evaluation") -> "Report":
    """Accuracy and chrF of every task under the names of the page."""
    from omni.figures import Report

    report = Report("eval")
    for result in evaluation.results:
        if result.choice:
            choice = result.choice
            report.add(f"{result.task}_choice", choice.accuracy, "1", low=choice.low, high=choice.high, n=choice.n)
        if result.answers:
            answers = result.answers
            report.add(f"{result.task}_chrf", answers.chrf, "chrF", low=answers.low, high=answers.high, n=answers.n)
    return report
