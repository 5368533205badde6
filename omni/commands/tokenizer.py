"""`omni tokenizer train|eval|sweep`: what turns each modality into integers and back."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from omni.figures import Report
    from omni.train.data.items import Manifest, Recording

EPILOG = """examples:
  omni tokenizer train text --data runs/data --out runs/tokenizers --languages en fr ru
  omni tokenizer train image --data runs/data --out runs/tokenizers --preset base --minutes 60
  omni tokenizer eval audio --tokenizers runs/tokenizers --data runs/data --json
  omni tokenizer sweep --data runs/data --out runs/sweep --steps 1000
A training that was interrupted goes on when the same command is given again."""
MODALITIES = ("text", "audio", "image")
PRESETS = ("quick", "tiny", "base")
VOCAB_SIZE = {"quick": 4096, "tiny": 4096, "base": 16384}
MINUTES = {"audio": {"quick": 4.0, "tiny": 60.0, "base": 120.0}, "image": {"quick": 1.2, "tiny": 20.0, "base": 60.0}}
SHORTEST_CLIP = 0.5                                                     # seconds; STOI needs 0.4
MOST_CLIPS = 60                                                         # in one evaluation of a codec
MOST_READ = 40                                                          # sentences, in each voice
MOST_PICTURES = 500
MOST_DISTRACTORS = 5000


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
    for action in (train, evaluate):
        action.add_argument("modality", choices=MODALITIES)
    for action in (train, evaluate, sweep):
        action.add_argument("--data", type=Path, default=Path("runs/data"), help="of `omni data prepare`")
    train.add_argument("--out", type=Path, default=Path("runs/tokenizers"), help="default: %(default)s")
    train.add_argument("--preset", choices=PRESETS, default="quick", help="minutes, or hours and better")
    length = train.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="how long to train (default: as the preset says)")
    length.add_argument("--steps", type=int, help="the same in steps")
    train.add_argument("--languages", nargs="+", default=[], metavar="CODE", help="text: of these alone (default: all)")
    train.add_argument("--seed", type=int, default=0, help="of weights and order of data (default: %(default)s)")
    evaluate.add_argument("--tokenizers", type=Path, default=Path("runs/tokenizers"), help="default: %(default)s")
    evaluate.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")


def run(args: argparse.Namespace) -> None:
    """Do one action and print where the result is."""
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
        if args.modality == "text":
            train_text(manifest, args.out, args.preset, args.languages)
        elif args.modality == "audio":
            train_audio(manifest, args.out, args.preset, **length, seed=args.seed)
        else:
            train_image(manifest, args.out, args.preset, **length, seed=args.seed)
        print(f"{args.modality} tokenizer: {args.out / args.modality}")
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
    if steps is None and minutes is None:
        minutes = MINUTES["audio"][preset]
    plan = Plan.preset(preset)
    train_codec(
        waves["train"], config, out / "audio", steps=steps, minutes=minutes, valid=waves["valid"], texts=texts,
        seed=seed, plan=plan,
    )  # fmt: skip


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
    from omni.tokenizers.image.autoencoder import ImageConfig
    from omni.tokenizers.image.training import Plan, train_image_tokenizer

    pictures, valid = manifest_pictures(manifest, "train"), manifest_pictures(manifest, "valid")
    if steps is None and minutes is None:
        minutes = MINUTES["image"][preset]
    config, plan = ImageConfig.preset(preset), Plan.preset(preset)
    train_image_tokenizer(
        pictures, config, out / "image", steps=steps, minutes=minutes, valid=valid, seed=seed, plan=plan
    )


def evaluate(modality: str, folder: Path, manifest: "Manifest") -> "Report":
    """Figures of one tokenizer on the test split, also written beside it as eval.json."""
    from omni.files import write_text

    folder = folder / modality
    if not folder.is_dir():
        raise InputError(f"{folder}: no tokenizer there; run `omni tokenizer train {modality} --out {folder.parent}`")
    report = {"text": _eval_text, "audio": _eval_audio, "image": _eval_image}[modality](folder, manifest)
    write_text(folder / "eval.json", report.json() + "\n")
    return report


def sweep_codecs(manifest: "Manifest", out: Path, steps: int) -> None:
    """Frame rates times codebook sizes, trained on the training split and measured on the test split."""
    from omni.tokenizers.audio.sweep import sweep

    waves = [manifest.wave(recording) for item in manifest.of(split="train") for recording in item.recordings]
    sweep(waves, held_out_clips(manifest), out, steps=steps, **_judge(manifest))


def manifest_pictures(manifest: "Manifest", split: str) -> "NDArray[np.uint8]":
    """All pictures of a split, uint8 [n, size, size, 3]."""
    import numpy as np

    rows = [row for item in manifest.of(split=split) for row in item.pictures]
    if not rows:
        return np.zeros((0, manifest.picture_size, manifest.picture_size, 3), np.uint8)
    return np.stack([manifest.picture(row) for row in rows])


def held_out_clips(manifest: "Manifest", most: int = MOST_CLIPS) -> "list[tuple[NDArray[np.float32], str | None]]":
    """Test recordings at 16 kHz with what is said in them: English with its transcript first, then other languages."""
    import numpy as np
    import soxr

    from omni.tokenizers.audio.recognizer import RATE

    found = [
        (recording, item.texts.get("en") if _is_english(recording) else None)
        for item in manifest.of(split="test")
        for recording in item.recordings
        if recording.kind == "speech" and recording.length >= SHORTEST_CLIP * manifest.sample_rate
    ]
    english = [pair for pair in found if pair[1] is not None]
    other = [pair for pair in found if pair[1] is None]
    spread = other[:: max(1, len(other) // max(1, most // 2))]          # over all speakers, not the first one's
    chosen = (english[: most - min(len(spread), most // 2)] + spread)[:most]
    return [
        (np.asarray(soxr.resample(manifest.wave(recording), manifest.sample_rate, RATE), np.float32), text)
        for recording, text in chosen
    ]


def _eval_text(folder: Path, manifest: "Manifest") -> "Report":
    from omni.tokenizers.text import TextTokenizer, evaluate

    texts: dict[str, list[str]] = {}
    for item in manifest.of(split="test"):
        for language, text in item.texts.items():
            texts.setdefault(language, []).append(text)
    return evaluate(TextTokenizer.load(folder), texts)


def _eval_audio(folder: Path, manifest: "Manifest") -> "Report":
    from omni.tokenizers.audio.metrics import evaluate
    from omni.tokenizers.bundle import load_audio

    return evaluate(load_audio(folder), held_out_clips(manifest), **_judge(manifest))


def _judge(manifest: "Manifest") -> dict[str, Any]:
    """What the recognizer chooses from, and captions of the test split read by voices that are in no training data."""
    from omni.tokenizers.audio.recognizer import RATE, hearable
    from omni.tokenizers.audio.voices import UNHEARD, is_installed, read_aloud

    items = manifest.of()
    said = [item.texts["en"] for item in items if "en" in item.texts and any(map(_is_english, item.recordings))]
    read = hearable([item.texts["en"] for item in items if item.split == "test" and "en" in item.texts])
    read = read[:: max(1, len(read) // MOST_READ)][:MOST_READ] if is_installed("flite") else ()
    unheard = [
        (wave, text)
        for voice in UNHEARD
        for text, (wave, rate) in zip(read, read_aloud(read, voice), strict=True)
        if rate == RATE
    ]
    return {"sentences": tuple(sorted({*hearable(said), *read})), "unheard": unheard}


def _is_english(recording: "Recording") -> bool:
    return recording.kind == "speech" and recording.language == "en"


def _eval_image(folder: Path, manifest: "Manifest") -> "Report":
    from omni.tokenizers.bundle import load_image
    from omni.tokenizers.image.metrics import contact_sheet, evaluate
    from omni.tokenizers.image.pixels import write_picture

    tokenizer = load_image(folder)
    if tokenizer.picture_size != manifest.picture_size:
        raise InputError(
            f"{manifest.folder}: pictures of {manifest.picture_size} pixels, but the tokenizer wants "
            f"{tokenizer.picture_size}; run `omni data prepare --picture-size {tokenizer.picture_size}`"
        )
    pictures = manifest_pictures(manifest, "test")[:MOST_PICTURES]
    report = evaluate(tokenizer, pictures, distractors=manifest_pictures(manifest, "train")[:MOST_DISTRACTORS])
    sheet = folder / "reconstructions.png"
    write_picture(sheet, contact_sheet(tokenizer, pictures[:: max(1, len(pictures) // 32)][:32]), scale=2)
    print(f"originals above their reconstructions: {sheet}")
    return report


def _some(languages: set[str]) -> str:
    """The first dozen, which fit a line."""
    names = sorted(languages)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _check_length(args: argparse.Namespace) -> None:
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
