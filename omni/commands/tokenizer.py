"""`omni tokenizer train|eval|sweep`: what turns each modality into integers and back."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omni.errors import InputError

if TYPE_CHECKING:
    from omni.train.data.items import Manifest

EPILOG = """examples:
  omni tokenizer train text --data runs/data --out runs/tokenizers --languages en fr ru
  omni tokenizer train image --data runs/data --out runs/tokenizers --preset base --minutes 60
  omni tokenizer train words --data runs/voiced --tokenizers runs/tokenizers --out runs/spelling
  omni tokenizer train tags --data runs/data --tokenizers runs/spelling --out runs/named
  omni tokenizer eval audio --tokenizers runs/tokenizers --data runs/data --json
  omni tokenizer sweep --data runs/data --out runs/sweep --steps 1000
A training that was interrupted goes on when the same command is given again."""
MODALITIES = ("text", "audio", "image")
PRESETS = ("quick", "tiny", "base")
VOCAB_SIZE = {"quick": 4096, "tiny": 4096, "base": 16384}
MINUTES = {
    "audio": {"quick": 4.0, "tiny": 60.0, "base": 120.0},
    "words": {"quick": 30.0, "tiny": 30.0, "base": 60.0},
    "image": {"quick": 1.2, "tiny": 20.0, "base": 60.0},
    "tags": {"quick": 2.0, "tiny": 6.0, "base": 20.0},
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the actions."""
    parser.description = "Train or measure tokenizers. Those of one model lie under one folder: text/, audio/, image/."
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", required=True, metavar="train|eval|sweep")
    train = actions.add_parser("train", help="learn a tokenizer from the training split of prepared data")
    evaluate = actions.add_parser("eval", help="measure a tokenizer on the held-out split")
    sweep = actions.add_parser("sweep", help="train codecs of many rates alike and measure them beside Opus and Codec2")
    sweep.add_argument("--out", type=Path, default=Path("runs/sweep"), help="default: %(default)s")
    sweep.add_argument("--steps", type=int, default=1000, help="of each training (default: %(default)s)")
    train.add_argument(
        "modality", choices=(*MODALITIES, "words", "tags"),
        help="words: what is said, one more codebook; tags: what is shown, codes before a picture's own",
    )  # fmt: skip
    evaluate.add_argument("modality", choices=MODALITIES)
    for action in (train, evaluate, sweep):
        action.add_argument("--data", type=Path, default=Path("runs/data"), help="of `omni data prepare`")
    train.add_argument("--out", type=Path, default=Path("runs/tokenizers"), help="default: %(default)s")
    train.add_argument("--preset", choices=PRESETS, default="quick", help="minutes, or hours and better")
    length = train.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="how long to train (default: as the preset says)")
    length.add_argument("--steps", type=int, help="the same in steps")
    train.add_argument("--languages", nargs="+", default=[], metavar="CODE", help="text: of these alone (default: all)")
    train.add_argument("--seed", type=int, default=0, help="of weights and order of data (default: %(default)s)")
    for action in (train, evaluate):
        action.add_argument("--tokenizers", type=Path, default=Path("runs/tokenizers"), help="default: %(default)s")
    evaluate.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Do one action and print where the result is."""
    from omni.commands.measuring import evaluate, sweep_codecs
    from omni.train.data.items import Manifest

    if args.action == "sweep":
        if args.steps < 1:
            raise InputError(f"--steps: must be at least 1, got {args.steps}")
        sweep_codecs(Manifest.load(args.data), args.out, args.steps)
        print(f"table, plot and figures: {args.out}/sweep.md, sweep.png, sweep.json")
        return
    if args.action == "train":
        _check_length(args)
        manifest = Manifest.load(args.data)
        length = {"steps": args.steps, "minutes": args.minutes}
        if args.steps is None and args.minutes is None and args.modality in MINUTES:
            length["minutes"] = MINUTES[args.modality][args.preset]
        if args.modality == "text":
            train_text(manifest, args.out, args.preset, args.languages)
        elif args.modality == "audio":
            train_audio(manifest, args.out, args.preset, **length, seed=args.seed)
        elif args.modality == "words":
            train_words(manifest, args.tokenizers, args.out, **length, seed=args.seed)
        elif args.modality == "tags":
            train_tags(manifest, args.tokenizers, args.out, **length, seed=args.seed)
        else:
            train_image(manifest, args.out, args.preset, **length, seed=args.seed)
        part = {"words": "audio", "tags": "image"}.get(args.modality, args.modality)
        print(f"{part} tokenizer: {args.out / part}")
        return
    report = evaluate(args.modality, args.tokenizers, Manifest.load(args.data))
    print(report.table())
    print(f"figures: {args.tokenizers / args.modality / 'eval.json'}")
    if args.json:
        print(report.json())


def train_text(manifest: "Manifest", out: Path, preset: str = "quick", languages: Sequence[str] = ()) -> None:
    """Learn byte pairs from the captions, transcripts, messages and keywords of the training split.

    `languages` keeps the ids for the languages a model will speak: with ten of 140, French takes a fifth fewer tokens.
    """
    from omni.tokenizers.text import TextTokenizer

    items = manifest.of(split="train")
    known = {language for item in items for language in (*item.texts, *item.keywords)}
    if missing := sorted(set(languages) - known):
        raise InputError(f"--languages: no training text in {', '.join(missing)}; the data have {_some(known)}")
    wanted = set(languages) or known
    texts = [text for item in items for language, text in item.texts.items() if language in wanted]
    texts += [
        word for item in items for language, words in item.keywords.items() if language in wanted for word in words
    ]
    if not texts:
        raise InputError(f"{manifest.folder}: no training texts; run `omni data prepare` with more sources")
    TextTokenizer.train(texts, VOCAB_SIZE[preset]).save(out / "text")


def train_audio(
    manifest: "Manifest",
    out: Path,
    preset: str = "quick",
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
) -> None:
    """Learn a codec from every recording of the training split."""
    from omni.tokenizers.audio.config import CodecConfig
    from omni.tokenizers.audio.training import Plan, train_codec

    config = CodecConfig.preset(preset)
    if config.sample_rate != manifest.sample_rate:
        raise InputError(
            f"{manifest.folder}: audio at {manifest.sample_rate} Hz, but the codec wants {config.sample_rate}; "
            "run `omni data prepare` again"
        )
    spoken = {
        split: [(item, recording) for item in manifest.of(split=split) for recording in item.recordings]
        for split in ("train", "valid")
    }
    waves = {split: [manifest.wave(recording) for _, recording in some] for split, some in spoken.items()}
    texts = [item.texts.get(recording.language or "", "") for item, recording in spoken["train"]]
    plan = Plan.preset(preset)
    train_codec(
        waves["train"], config, out / "audio", steps=steps, minutes=minutes, valid=waves["valid"], texts=texts,
        seed=seed, plan=plan,
    )  # fmt: skip


def train_words(
    manifest: "Manifest",
    given: Path,
    out: Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
) -> None:
    """The tokenizers in `given` with a codebook of words, learnt from the training split's speech that has a text."""
    from omni.tokenizers.audio.codec import Codec
    from omni.tokenizers.audio.spelling import Spoken
    from omni.tokenizers.audio.spelling import train_words as learn
    from omni.tokenizers.bundle import Tokenizers

    bundle = Tokenizers.load(_other(given, out))
    if not isinstance(bundle.audio, Codec):
        raise InputError(f"{given}: words are added to our own codec; train one with `omni tokenizer train audio`")
    said = [
        (recording, item.texts[recording.language])
        for item in manifest.of(split="train")
        for recording in item.recordings
        if recording.language in item.texts
    ]
    spoken = Spoken(
        manifest.waves([recording for recording, _ in said]), [recording.length for recording, _ in said],
        [text for _, text in said], [(recording.speaker or "").split("@")[0] for recording, _ in said],  # at any rate
    )  # fmt: skip
    bundle.audio = learn(bundle.audio, spoken, out / "audio", steps=steps, minutes=minutes, seed=seed)
    bundle.save(out)


def train_image(
    manifest: "Manifest",
    out: Path,
    preset: str = "quick",
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
) -> None:
    """Learn an image tokenizer from every picture of the training split."""
    from omni.commands.measuring import manifest_pictures
    from omni.tokenizers.image.autoencoder import ImageConfig
    from omni.tokenizers.image.training import Plan, train_image_tokenizer

    pictures, valid = manifest_pictures(manifest, "train"), manifest_pictures(manifest, "valid")
    config, plan = ImageConfig.preset(preset), Plan.preset(preset)
    train_image_tokenizer(
        pictures, config, out / "image", steps=steps, minutes=minutes, valid=valid, seed=seed, plan=plan
    )


def train_tags(
    manifest: "Manifest",
    given: Path,
    out: Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
) -> None:
    """The tokenizers in `given` with names for pictures, learnt from English captions, keywords, folders, colours."""
    from omni.commands.measuring import named_pictures
    from omni.tokenizers.bundle import Tokenizers
    from omni.tokenizers.image.autoencoder import ImageTokenizer
    from omni.tokenizers.image.naming import train_tags as learn

    bundle = Tokenizers.load(_other(given, out))
    if not isinstance(bundle.image, ImageTokenizer):
        raise InputError(f"{given}: tags are added to our own image tokenizer; `omni tokenizer train image` makes one")
    named, valid = (named_pictures(manifest, split) for split in ("train", "valid"))
    bundle.image = learn(bundle.image, named, out / "image", steps=steps, minutes=minutes, valid=valid, seed=seed)
    bundle.save(out)


def _other(given: Path, out: Path) -> Path:
    """The folder that is given. Raises InputError when it is the one to write."""
    if given.resolve() == out.resolve():
        raise InputError(f"--out {out}: holds the tokenizers that are given; name another folder")
    return given


def _some(languages: set[str]) -> str:
    """The first dozen, which fit a line."""
    names = sorted(languages)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _check_length(args: argparse.Namespace) -> None:
    if args.seed < 0:
        raise InputError(f"--seed: must be 0 or more, got {args.seed}")
    for name in ("minutes", "steps"):
        value = getattr(args, name)
        if value is None:
            continue
        if args.modality == "text":
            raise InputError(f"--{name}: the text tokenizer learns in one pass over the texts; leave the flag out")
        if not 0 < value < float("inf"):
            raise InputError(f"--{name}: must be above 0, got {value:g}")
    if args.languages and args.modality != "text":
        raise InputError("--languages: chooses the texts of the text tokenizer; leave the flag out for audio and image")
