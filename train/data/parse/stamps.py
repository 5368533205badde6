"""Tux Paint stamps: a picture, its caption in some sixty languages, spoken captions and sound effects.

A stamp NAME is NAME.png and/or NAME.svg with NAME.txt (the English caption, then `xx.utf8=caption` lines),
NAME_desc_xx.ogg for the spoken captions (NAME_desc.ogg is English) and NAME.ogg or NAME.wav for its sound.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from omni.train.data.items import SAMPLE_RATE
from omni.train.data.parse import audio, picture
from omni.train.data.parse.base import Clip, Outcome, Package, Parsed, Source, UnusableError, is_english, language_code

STAMPS = Path("usr/share/tuxpaint/stamps")
PICTURES = (".svg", ".png")  # the drawing first: a bitmap beside it is its rendering
SOUNDS = (".ogg", ".wav")
FASTEST = 22  # letters and digits a second; at most 21 in Romanian and Bulgarian, whose captions are what is said
_SPOKEN = re.compile(r"(?P<name>.+)_desc(?:_(?P<language>[A-Za-z]{2,3}(?:[_@][A-Za-z]+)?))?")


@dataclass(frozen=True)
class Job:
    package: Package
    name: str  # "animals/birds/owl"
    pictures: tuple[Path, ...]  # by preference
    speech: tuple[tuple[str, Path], ...]  # (language, file)
    effects: tuple[Path, ...]


def plan(packages: list[Package]) -> list[Job]:
    """One job a captioned picture."""
    return [job for package in packages for job in _stamps(package)]


def _stamps(package: Package) -> list[Job]:
    root = package.root / STAMPS
    files = sorted(path for path in root.rglob("*") if path.is_file())
    pictures: dict[str, list[Path]] = {}
    speech: dict[str, dict[str, Path]] = {}
    effects: dict[str, list[Path]] = {}
    for path in files:
        stem = path.name.removesuffix(".ogg").removesuffix(path.suffix)  # one file ends in .ogg.ogg
        name = str(path.parent.relative_to(root) / stem)
        if path.suffix in PICTURES:
            pictures.setdefault(name, []).append(path)
        elif path.suffix in SOUNDS:
            spoken = _SPOKEN.fullmatch(name)
            if spoken:
                language = language_code(spoken["language"] or "en")
                speech.setdefault(spoken["name"], {}).setdefault(language, path)
            else:
                effects.setdefault(name, []).append(path)
    return [
        Job(
            package,
            name,
            tuple(sorted(pictures.get(name, []), key=lambda path: PICTURES.index(path.suffix))),
            tuple(sorted(speech.get(name, {}).items())),
            tuple(effects.get(name, [])),
        )
        for name in sorted(pictures)
    ]


def parse(job: Job, size: int) -> Outcome:
    """The stamp as one item; what cannot be read is counted."""
    outcome = Outcome()
    captions = job.package.root / STAMPS / f"{job.name}.txt"
    if not captions.is_file():
        outcome.dropped["picture without captions, mostly a mirror image of another"] += 1
        return outcome
    licence = job.package.licence
    item = Parsed(f"stamps/{job.name}", licence, job.package.attribution, read_captions(captions))
    _add_picture(item, job, size, outcome)
    for language, path in job.speech:
        _add_clip(item, path, language, "speech", f"stamps/{language}", licence, outcome)
    for path in job.effects:
        _add_clip(item, path, None, "effect", None, licence, outcome)
    if item.pictures or item.clips:
        outcome.items.append(item)
    return outcome


def read_captions(path: Path) -> dict[str, str]:
    """Captions by language. One that equals the English caption is untranslated and left out."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    english = tidy(lines[0]) if lines else ""
    texts = {"en": english} if english else {}
    for line in lines[1:]:
        name, equals, caption = line.partition(".utf8=")
        caption = tidy(caption)
        if equals and caption and (caption != english or is_english(language_code(name))):
            texts[language_code(name)] = caption
    return texts


def tidy(caption: str) -> str:
    """One line with single spaces; a `|` typed for the danda of Indic scripts is put right."""
    return re.sub(r"\s*\|$", "।", " ".join(caption.split()))


def _add_picture(item: Parsed, job: Job, size: int, outcome: Outcome) -> None:
    for path in job.pictures:
        try:
            item.pictures.append(picture.load_picture(path, size))
            return
        except UnusableError as reason:
            outcome.dropped[str(reason)] += 1


def _add_clip(
    item: Parsed, path: Path, language: str | None, kind: str, speaker: str | None, licence: str, outcome: Outcome
) -> None:
    try:
        clip = Clip(audio.load_clip(path), language, kind, speaker, licence)
        _check_pace(clip, item.texts.get(language or "", ""))
        item.clips.append(clip)
    except UnusableError as reason:
        outcome.dropped[str(reason)] += 1


def _check_pace(clip: Clip, caption: str) -> None:
    """Raise UnusableError where nobody says so much so fast: captions were written longer after they were said."""
    seconds = max(0, len(clip.samples) - 2 * audio.MARGIN) / SAMPLE_RATE  # between the silence kept at both ends
    if sum(map(str.isalnum, caption)) > FASTEST * seconds:
        raise UnusableError("recording too short for its caption")


SOURCE = Source("stamps", plan, parse)
