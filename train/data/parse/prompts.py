"""Asterisk's studio prompts: the same names spoken in five languages, and the transcripts that names tell."""

import re
from dataclasses import dataclass
from pathlib import Path

from omni.train.data.parse import audio
from omni.train.data.parse.base import Clip, Outcome, Package, Parsed, Source, UnusableError
from omni.train.data.parse.prompt_texts import EFFECTS, TEXTS

SOUNDS = Path("usr/share/asterisk/sounds")
_VOICE = re.compile(r"(?P<language>[a-z]{2})_[A-Z]{2}_[mf]_(?P<speaker>\w+)")  # en_US_f_Allison


@dataclass(frozen=True)
class Take:
    """One prompt in one language."""

    path: Path
    language: str
    speaker: str
    package: Package


@dataclass(frozen=True)
class Job:
    name: str  # "digits/7"
    takes: tuple[Take, ...]


def plan(packages: list[Package]) -> list[Job]:
    """One job a prompt name, with its takes in all languages."""
    takes: dict[str, list[Take]] = {}
    for package in packages:
        for folder in sorted((package.root / SOUNDS).iterdir()):
            voice = _VOICE.fullmatch(folder.name)
            for path in sorted(folder.rglob("*.wav")) if voice else ():
                assert voice
                take = Take(path, voice["language"], f"prompts/{voice['speaker'].lower()}", package)
                takes.setdefault(str(path.relative_to(folder).with_suffix("")), []).append(take)
    return [Job(name, tuple(takes[name])) for name in sorted(takes)]


def parse(job: Job, size: int) -> Outcome:
    """The prompt as one item; `size` is of no use here."""
    outcome = Outcome()
    clips: list[Clip] = []
    used: list[Package] = []
    effect = job.name in EFFECTS
    for take in job.takes:
        try:
            samples = audio.load_clip(take.path)
        except UnusableError as reason:
            outcome.dropped[str(reason)] += 1
            continue
        if any(samples.tobytes() == clip.samples.tobytes() for clip in clips):
            outcome.dropped["recording equal to that of another language"] += 1
            continue
        language, kind, speaker = (None, "effect", None) if effect else (take.language, "speech", take.speaker)
        clips.append(Clip(samples, language, kind, speaker, take.package.licence))
        used.append(take.package)
    if clips:
        licence = " AND ".join(sorted({package.licence for package in used}))
        attribution = "; ".join(dict.fromkeys(package.attribution for package in used))
        texts = {"en": EFFECTS[job.name]} if effect else texts_of(job)
        outcome.items.append(Parsed(f"prompts/{job.name}", licence, attribution, texts, clips=clips))
    return outcome


def texts_of(job: Job) -> dict[str, str]:
    """Transcripts in the languages that speak this prompt, as far as they are known for certain."""
    spoken = {take.language for take in job.takes}
    return {language: text for language, text in TEXTS.get(job.name, {}).items() if language in spoken}


SOURCE = Source("prompts", plan, parse)
