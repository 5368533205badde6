"""What a tokenizer does to pictures, recordings and texts that are held out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from omni.figures import Report
    from omni.tokenizers.image.naming import Named
    from omni.tokenizers.image.tags import Tagger
    from omni.train.data.items import Manifest, Recording

SHORTEST_CLIP = 0.5                                                     # seconds; STOI needs 0.4
MOST_CLIPS = 60                                                         # in one evaluation of a codec
MOST_READ = 40                                                          # sentences, in each voice
MOST_PICTURES = 500
MOST_DISTRACTORS = 5000


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


def named_pictures(manifest: "Manifest", split: str) -> "Named":
    """Pictures of a split with what English says of them, the folders they lie in, and the colour that prevails."""
    from omni.tokenizers.image.naming import Named, names_in
    from omni.train.tasks.colours import colour_of

    pictures = manifest_pictures(manifest, split)
    said = [
        names_in([item.texts.get("en", ""), *item.keywords.get("en", []), *item.id.split("/")[1:-1]])
        for item in manifest.of(split=split)
        for _ in item.pictures
    ]
    colours = map(colour_of, pictures)
    return Named(pictures, [some | {hue} if hue else some for some, hue in zip(said, colours, strict=True)])


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
    from omni.tokenizers.image.autoencoder import ImageTokenizer
    from omni.tokenizers.image.metrics import contact_sheet, evaluate
    from omni.tokenizers.image.pixels import write_picture
    from omni.train.tasks.codes import check_size

    tokenizer = load_image(folder)
    check_size(manifest, tokenizer)
    pictures = manifest_pictures(manifest, "test")[:MOST_PICTURES]
    report = evaluate(tokenizer, pictures, distractors=manifest_pictures(manifest, "train")[:MOST_DISTRACTORS])
    if isinstance(tokenizer, ImageTokenizer) and tokenizer.tagger is not None:
        _add_tags(report, tokenizer.tagger, named_pictures(manifest, "test"))
    sheet = folder / "reconstructions.png"
    write_picture(sheet, contact_sheet(tokenizer, pictures[:: max(1, len(pictures) // 32)][:32]), scale=2)
    print(f"originals above their reconstructions: {sheet}")
    return report


def _add_tags(report: "Report", tagger: "Tagger", named: "Named") -> None:
    """tags_right: share of a picture's tags, of as many as could fit, that do; tags_blind: if all had the same."""
    from omni.tokenizers.image.metrics import add_mean
    from omni.tokenizers.image.naming import fitting, fitting_all

    found = fitting(tagger, named)
    if len(found):
        add_mean(report, "tags_right", found, "share")
        report.add("tags_blind", float(fitting_all(named, tagger.names).mean()), "share", n=len(found))
