"""KTuberling: single words spoken by volunteers in some 27 languages, keyed by the English name of the object.

XX.soundtheme lists the sounds of language XX as `<sound name="egypt_camel" file="xx/camel.ogg"/>`. Only the English
word is written down anywhere, so it is the only text; the recordings of one word are speech-to-speech pairs.
"""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from omni.train.data.parse import audio
from omni.train.data.parse.base import Clip, Outcome, Package, Parsed, Source, UnusableError, language_code

SOUNDS = Path("usr/share/ktuberling/sounds")
_SCENE = re.compile(r"^(?:egypt|moon|pizzeria|tv|butterflies|robot_workshop|xmas)_")
_SPELLING = {
    "brocolli": "broccoli",
    "fallingstar": "falling star",
    "fireengine": "fire engine",
    "lorry tractor": "tractor unit",
    "palmtree": "palm tree",
    "sphynx": "sphinx",
    "ufo": "UFO",
    "volley net": "volleyball net",
}


@dataclass(frozen=True)
class Job:
    package: Package
    name: str  # "egypt_camel"
    takes: tuple[tuple[str, Path], ...]  # (language, file)


def plan(packages: list[Package]) -> list[Job]:
    """One job a word, with its takes in all languages."""
    takes: dict[tuple[str, str], tuple[Package, dict[str, Path]]] = {}
    for package in packages:
        folder = package.root / SOUNDS
        for theme in sorted(folder.glob("*.soundtheme")):
            language = language_code(theme.stem)
            for sound in ET.parse(theme).getroot().iter("sound"):
                name, file = sound.get("name", ""), folder / sound.get("file", "")
                takes.setdefault((package.name, name), (package, {}))[1].setdefault(language, file)
    return [Job(package, name, tuple(sorted(files.items()))) for (_, name), (package, files) in sorted(takes.items())]


def parse(job: Job, size: int) -> Outcome:
    """The word as one item; `size` is of no use here."""
    outcome = Outcome()
    licence = job.package.licence
    word = english(job.name)
    item = Parsed(f"words/{job.name}", licence, job.package.attribution, {"en": word} if word else {})
    for language, path in job.takes:
        if not path.is_file():
            outcome.dropped["recording named but not in the package"] += 1
            continue
        try:
            item.clips.append(Clip(audio.load_clip(path), language, "speech", f"words/{language}", licence))
        except UnusableError as reason:
            outcome.dropped[str(reason)] += 1
    if item.clips:
        outcome.items.append(item)
    return outcome


def english(name: str) -> str:
    """The word that a sound's name tells: `egypt_camel` -> "camel", `pizzeria_olive2` -> "olive".

    Empty for the stickers of the Tux scene (`tux-huh`), which are named by mood and not by what is said.
    """
    if "tux" in name:
        return ""
    words = _SCENE.sub("", name).rstrip("0123456789").replace("_", " ").strip()
    return _SPELLING.get(words, words)


SOURCE = Source("words", plan, parse)
