"""`omni eval abilities`: what the model that ships can do, each figure with its interval, against its goals."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from omni.errors import InputError
from omni.shipped import NAME, named_model, shipped_model

if TYPE_CHECKING:
    from omni.eval.abilities.subject import Subject

EPILOG = """examples:
  omni eval abilities --data runs/voiced
  omni eval abilities --model runs/tiny/model --data runs/voiced --out runs/tiny/abilities"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.description = (
        "Hearing, speaking, seeing, drawing, translating, answering and refusing, on held-out items and beside them on"
        " trained ones (docs/abilities.md). Writes abilities.json and abilities.md; an interrupted run goes on."
    )
    parser.epilog = EPILOG
    parser.add_argument("--model", type=named_model, help=f"folder of a model (default: {NAME}, of omni itself)")
    parser.add_argument("--data", type=Path, help="folder of `omni data voice` (default: $OMNI_DATA, or in runs/)")
    parser.add_argument("--out", type=Path, help="for the results (default: abilities/ beside --model, or in runs/)")
    parser.add_argument("--languages", nargs="+", help="asked in (default: those of omni-tiny's that it learnt)")
    parser.add_argument("--limit", type=int, default=60, help="most observations a figure (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of items and of speech (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Examine the model and print where the results are."""
    if args.limit < 10:
        raise InputError(f"--limit: must be 10 or more, got {args.limit}")
    from omni.eval.abilities.evaluate import evaluate, identity
    from omni.eval.abilities.report import as_dict, figures, page, table
    from omni.files import write_json, write_text
    from omni.train.data.items import usual_data

    args.data = args.data or usual_data()
    out: Path = args.out or (args.model.resolve().parent if args.model else Path("runs")) / "abilities"
    model = args.model or shipped_model()
    subject = _subject(args, model)
    key = identity(model, subject)
    results = evaluate(subject, key, out / "parts")
    which = f"Model `{args.model or NAME}` on `{args.data}`"
    about = f"{which}, at most {args.limit} observations a figure, seed {args.seed}."
    write_json(out / "abilities.json", as_dict(results, key))
    write_text(out / "abilities.md", page(results, about))
    print(table(results))
    for name, result in results.items():
        if result.note:
            print(f"left out, {name}: {result.note}")
    print(f"figures: {out / 'abilities.json'}\npage: {out / 'abilities.md'}")
    if args.json:
        print(figures(results).json())


def _subject(args: argparse.Namespace, model: Path) -> "Subject":
    from omni.decode.pipeline import Pipeline
    from omni.eval.abilities.subject import CAPTIONED, Subject
    from omni.model.folder import learnt_languages
    from omni.train.data.items import Manifest
    from omni.train.tasks.codes import checked

    manifest, pipeline = Manifest.load(args.data), Pipeline.load(model)
    checked(pipeline.tokenizers)
    known = pipeline.vocab.languages
    learnt = learnt_languages(model) or known                           # a vocabulary has tags for more
    languages = tuple(args.languages or (language for language in CAPTIONED if language in learnt))
    if missing := [language for language in languages if language not in known]:
        raise InputError(f"--languages: the model has no {', '.join(missing)}; it has {', '.join(known) or 'none'}")
    return Subject(pipeline, manifest, languages, args.limit, args.seed)
