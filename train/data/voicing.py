"""`omni data voice`: prepared data with more voices in them: captions and transcripts read aloud by synthesizers.

The assistant's own voices are PRESETS, whose licences allow synthesis; the crowd is there to be listened to. flite is
in neither, so that its voices stay unheard and test what was learnt. The result depends on the data, the languages
and the seed, but for the flutter of espeak-ng, and is a data folder like any other.
"""

import contextlib
import hashlib
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from omni.errors import InputError
from omni.files import atomic_path, read_json
from omni.tokenizers.audio.voices import Voice, read_aloud
from omni.train.data.engines import HERE, Engine, in_order
from omni.train.data.items import LINES, PRESET, SAMPLE_RATE, Item, Manifest, Recording, seal
from omni.train.data.lines import line_items
from omni.train.data.parse.audio import finish
from omni.train.data.parse.base import UnusableError
from omni.train.data.retelling import PITCHES, RETOLD, Retold, retell_job, retellings

PRESETS = {
    "clara": Voice("festival", "slt"),
    "lena": Voice("espeak-ng", "f3", 150),
    "oskar": Voice("espeak-ng", "m3", 150),
}
LICENCES = {"festival": "LicenseRef-CMU-ARCTIC", "espeak-ng": "GPL-3.0-or-later (the program; its speech is free)"}
_CROWD = ("f1", "f2", "f4", "f5", "m1", "m2", "m4", "m5", "m6", "m7", "klatt", "klatt2", "Andy", "steph", "linda")
_RATES = (125, 145, 165, 185)
READ = {"stamps": 1, "emoji": 0, "prompts": 8, "lines": 3, "catalogues": 1}  # sources: readers of the crowd
READ_WORD = 12                                                          # of a line of one word: numbers, letters, ..
ENGLISH = 0.35                                                          # of the messages: clara reads their English too
APART = "@"                                                             # in the id of an unheard speaker's recording
LONGEST_TEXT, LONGEST_MESSAGE = 100, 60                                 # characters
_MESSAGE = re.compile(r"[^\W\d_]+([ ,:’'-]+[^\W\d_]+){1,8}[.!?…]?")     # words that can be read as they stand
HESITANT, HESITATION = 0.3, (0.3, 1.2)                                  # share of the crowd's lines; seconds
ITEMS = 32                                                              # that a worker reads at a time


@dataclass(frozen=True)
class Utterance:
    """A text of an item to be read."""

    text: str
    language: str
    voice: Voice
    speaker: str
    pause: float = 0.0                                                  # seconds of hesitation in its middle
    pitch: float = 1.0                                                  # by which it is faster and higher than read

    @property
    def licence(self) -> str:
        return LICENCES[self.voice.engine]


Spoken = Sequence[tuple[int, "Utterance | Retold", np.ndarray]]         # item, what was read, int16 samples [samples]


def voice_data(
    data: Manifest,
    out: Path,
    languages: Sequence[str],
    unheard: Sequence[str] = (),
    seed: int = 0,
    hands: Engine = HERE,
) -> Manifest:
    """Write `data` to `out` with its texts read aloud, and with the lines of dialogues.

    Recordings of the `unheard` speakers become test items of their own, so that training never hears them. Nothing is
    done where `out` holds this already. Raises InputError for a language or speaker that the data lack, for data that
    have been read aloud already, and for an `out` that is their own folder.
    """
    _check(data, out, languages, unheard)
    key = {
        "data": data.fingerprint, "languages": list(languages), "unheard": list(unheard), "seed": seed,
        "code": _code(languages),
    }  # fmt: skip
    if (out / "manifest.json").exists() and read_json(out / "manifest.json").get("voiced") == key:
        return Manifest.load(out)
    items = [*_set_apart(data.items, unheard), *line_items(languages)]
    wanted = [[(row, one) for one in utterances(item, languages, seed)] for row, item in enumerate(items)]
    read = [some for some in wanted if some]
    jobs = [list(chain(*read[start : start + ITEMS])) for start in range(0, len(read), ITEMS)]
    spoken = in_order(hands, read_job, jobs, map(len, jobs), "reading aloud")
    again = retellings(items, languages, seed)
    jobs_again = [again[start : start + ITEMS] for start in range(0, len(again), ITEMS)]
    retold = in_order(hands, partial(retell_job, data.folder.resolve()), jobs_again, map(len, jobs_again), "retelling")
    _write(data, items, chain(spoken, retold), out, key)
    return Manifest.load(out)


def utterances(item: Item, languages: Sequence[str], seed: int) -> list[Utterance]:
    """What is read of an item: each text by one preset, and to train on by one or two of the crowd."""
    if item.source not in READ or APART in item.id:
        return []
    if item.source == "catalogues":
        return _message(item, languages, seed)
    chosen = []
    for language in languages:
        text = item.texts.get(language, "")
        if not 0 < len(text) <= LONGEST_TEXT or not any(map(str.isalnum, text)):
            continue
        draw = random.Random(f"{seed}/voice/{item.id}/{language}")
        name = draw.choice(_presets(language))
        chosen.append(Utterance(text, language, PRESETS[name], PRESET + name))
        for _ in range(_readers(item, text)):
            pause = draw.uniform(*HESITATION) if item.source == LINES and draw.random() < HESITANT else 0.0
            chosen.append(_by_the_crowd(text, language, draw, pause))
    if item.source == LINES:                                            # what is often said, by every preset
        chosen += _by_all(item, languages, chosen)
    return chosen


def _readers(item: Item, text: str) -> int:
    """How many of the crowd read it: held-out items are left to the presets, and single words are drilled."""
    if item.split != "train":
        return 0
    return READ_WORD if item.source == LINES and len(text.split()) == 1 else READ[item.source]


def _message(item: Item, languages: Sequence[str], seed: int) -> list[Utterance]:
    """A program's message in one of its languages, by one of the crowd: no text is heard twice, so none can be learnt
    by heart instead of being listened to. The English of some that were read in another language is read by clara, for
    English has few voices but espeak-ng's, and she few texts to learn to speak from.
    """
    texts = {one: item.texts.get(one, "") for one in languages}
    readable = [one for one, text in texts.items() if len(text) <= LONGEST_MESSAGE and _MESSAGE.fullmatch(text)]
    if not readable or item.split == "test":                            # tests hear people, and flite
        return []
    draw = random.Random(f"{seed}/voice/{item.id}")
    language = draw.choice(readable)
    said = [_by_the_crowd(texts[language], language, draw)]
    if "en" in readable and language != "en" and draw.random() < ENGLISH:
        said.append(Utterance(texts["en"], "en", PRESETS["clara"], f"{PRESET}clara"))
    return said


def _by_the_crowd(text: str, language: str, draw: random.Random, pause: float = 0.0) -> Utterance:
    voice = Voice("espeak-ng", draw.choice(_CROWD), draw.choice(_RATES))
    return Utterance(text, language, voice, str(voice), pause, round(draw.uniform(*PITCHES), 2))


def _by_all(item: Item, languages: Sequence[str], chosen: Sequence[Utterance]) -> list[Utterance]:
    said = {(one.language, one.speaker) for one in chosen}
    return [
        Utterance(item.texts[language], language, PRESETS[name], PRESET + name)
        for language in languages
        if language in item.texts
        for name in sorted(set(_presets(language)))
        if (language, PRESET + name) not in said
    ]


def _presets(language: str) -> tuple[str, ...]:
    return ("clara", "clara", "lena", "oskar") if language == "en" else ("lena", "oskar")


def read_job(wanted: Sequence[tuple[int, Utterance]]) -> Spoken:
    """Utterances of some items, each engine's voice at once; what gives no usable sound is left out."""
    groups: dict[tuple[Voice, str], list[int]] = {}
    for number, (_, one) in enumerate(wanted):
        groups.setdefault((one.voice, one.language), []).append(number)
    made: dict[int, np.ndarray] = {}
    for (voice, language), numbers in groups.items():
        halves = [_halves(wanted[number][1]) for number in numbers]
        sounds = read_aloud([text for texts in halves for text in texts], voice, language)
        spoken = iter(sounds)
        for number, texts in zip(numbers, halves, strict=True):
            parts = [next(spoken) for _ in texts]
            with contextlib.suppress(UnusableError):
                one = wanted[number][1]
                made[number] = _joined([finish(wave, round(rate * one.pitch)) for wave, rate in parts], one.pause)
    return [(*wanted[number], samples) for number, samples in sorted(made.items())]


def _halves(one: Utterance) -> list[str]:
    """The text, in two where its speaker hesitates: a pause is not the end of what one has to say."""
    words = one.text.split()
    if not one.pause or len(words) < 2:
        return [one.text]
    return [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])]


def _joined(parts: Sequence[np.ndarray], pause: float) -> np.ndarray:
    """Parts [samples] with silence between them."""
    silence = np.zeros(int(pause * SAMPLE_RATE), np.int16)
    return np.concatenate([*(np.concatenate((part, silence)) for part in parts[:-1]), parts[-1]])


def _set_apart(items: Iterable[Item], unheard: Sequence[str]) -> Iterator[Item]:
    """The items without the recordings of the unheard speakers; those of each of them become a test item."""
    for item in items:
        yield replace(item, recordings=tuple(one for one in item.recordings if one.speaker not in unheard))
        for speaker in unheard:
            if own := tuple(one for one in item.recordings if one.speaker == speaker):
                name = f"{item.id}{APART}{speaker.rpartition('/')[2]}"
                yield replace(item, id=name, split="test", keywords={}, pictures=(), recordings=own)


def _write(data: Manifest, items: Sequence[Item], spoken: Iterable[Spoken], out: Path, key: dict[str, object]) -> None:
    """The folder with all items; its audio is the old one with the new recordings behind it."""
    about = read_json(data.folder / "manifest.json")
    added: dict[int, list[Recording]] = {}
    with atomic_path(out) as folder:
        folder.mkdir()
        _link(data.folder / "pictures.npy", folder / "pictures.npy")
        samples = about["samples"]
        with (folder / "audio.raw").open("wb") as raw:
            for row, one, wave in (entry for some in spoken for entry in some):
                raw.write(wave.astype("<i2").tobytes())
                recording = Recording(samples, len(wave), one.language, "speech", one.speaker, one.licence)
                added.setdefault(row, []).append(recording)
                samples += len(wave)
        _append(data.folder / "audio.npy", folder / "audio.raw", folder / "audio.npy", samples)
        (folder / "audio.raw").unlink()
        with (folder / "items.jsonl").open("w", encoding="utf-8", newline="\n") as lines:
            for row, item in enumerate(items):
                lines.write(replace(item, recordings=(*item.recordings, *added.get(row, ()))).to_json() + "\n")
        seal(folder, {**about, "items": len(items), "samples": samples, "voiced": key})


def _append(first: Path, raw: Path, target: Path, samples: int) -> None:
    """One array of the old samples and the new."""
    joined = np.lib.format.open_memmap(target, "w+", "<i2", (samples,))
    old = np.load(first, mmap_mode="r")
    joined[: len(old)] = old
    if samples > len(old):
        joined[len(old) :] = np.memmap(raw, "<i2", "r")
    joined.flush()


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the folders are on different drives."""
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())


def is_voiced(folder: Path) -> bool:
    """Whether a folder of data has been read aloud; not, where there are none."""
    about = folder / "manifest.json"
    return about.is_file() and "voiced" in read_json(about)


def _check(data: Manifest, out: Path, languages: Sequence[str], unheard: Sequence[str]) -> None:
    if is_voiced(data.folder):
        raise InputError(f"--data {data.folder}: has been read aloud already; give what `omni data prepare` wrote")
    if out.resolve() == data.folder.resolve():
        raise InputError(f"--out {out}: the prepared data lie there; give another folder")
    texts = Counter(language for item in data for language in item.texts)
    if missing := [language for language in languages if not texts[language]]:
        known = ", ".join(sorted(language for language, count in texts.items() if count))
        raise InputError(f"--languages: the data have no text in {', '.join(missing)}; they have {known}")
    speakers = {one.speaker for item in data for one in item.recordings if one.speaker}
    if missing := [speaker for speaker in unheard if speaker not in speakers]:
        raise InputError(f"--unheard: no speaker {', '.join(missing)}; the data have {', '.join(sorted(speakers))}")


def _code(languages: Sequence[str]) -> str:
    """What else the result depends on: the voices, and what the lines say."""
    readers = READ, READ_WORD, RETOLD, PITCHES, ENGLISH
    said = (PRESETS, _CROWD, _RATES, readers, HESITANT, HESITATION, [item.to_json() for item in line_items(languages)])
    return hashlib.sha256(repr(said).encode()).hexdigest()
