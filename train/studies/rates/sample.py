"""What all cells share: one voice that reads English texts aloud, some to learn from and some to measure on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError
from omni.files import read_json, write_json
from omni.tokenizers.audio.recognizer import hearable, spoken
from omni.train.data.items import SAMPLE_RATE, Item, Manifest, Recording
from omni.train.studies.rates.decoding import recognized

LANGUAGE = "en"
MINUTES, QUICK_MINUTES = 60.0, 5.0                                      # of speech to learn from
GROUPS, QUICK_GROUPS = 20, 3                                            # of texts to tell apart
TEXTS = 10                                                              # of a group
SHORTEST, LONGEST = 0.5, 6.0                                            # seconds of a recording
LETTERS = 256                                                           # bytes: text is written letter by letter
SAID, WAVES, TEXT = "said.json", "waves.npy", "text"
MEND = "make the data with `omni data voice`"

Reading = tuple[Item, Recording]                                        # an item and one that says its text


@dataclass(frozen=True)
class Utterance:
    """A text and where its recording lies in the shared samples."""

    item: str
    text: str
    start: int
    length: int


@dataclass(frozen=True)
class Sample:
    """learnt: what codecs and models are trained on; asked: [groups * TEXTS] held-out utterances, group after group;
    recognized: of each of those, 1 where a recognizer picks its text as it was recorded, else 0; waves: all samples."""

    voice: str
    learnt: tuple[Utterance, ...]
    asked: tuple[Utterance, ...]
    recognized: tuple[float, ...]
    waves: NDArray[np.int16]

    @classmethod
    def load(cls, shared: Path) -> "Sample":
        kept = read_json(shared / SAID)
        learnt, asked = (tuple(Utterance(**one) for one in kept[name]) for name in ("learnt", "asked"))
        waves = np.load(shared / WAVES, mmap_mode="r")
        return cls(kept["voice"], learnt, asked, tuple(kept["recognized"]), waves)

    def wave(self, one: Utterance) -> NDArray[np.float32]:
        """Samples [length] in -1..1."""
        return np.asarray(self.waves[one.start : one.start + one.length], np.float32) / 32768.0


def prepare(data: Path, shared: Path, quick: bool) -> None:
    """Write the sample of a folder of `omni data voice`. Raises InputError where it has too little of one voice."""
    manifest = Manifest.load(data)
    voice = _voice(manifest)
    read = [one for item in manifest.items for one in _readings(item, voice)]
    minutes, groups = (QUICK_MINUTES, QUICK_GROUPS) if quick else (MINUTES, GROUPS)
    learnt = _some([one for one in read if one[0].split == "train"], minutes)
    known = {spoken(item.texts[LANGUAGE]) for item, _ in learnt}
    asked = in_groups(_tellable([one for one in read if one[0].split != "train"], known), groups)
    if len(asked) < groups * TEXTS or not learnt:
        raise InputError(
            f"{data}: {voice} reads {len(asked)} of {groups * TEXTS} held-out texts; {MEND} from more sources"
        )
    _write(manifest, voice, learnt, asked, shared)


def _write(manifest: Manifest, voice: str, learnt: Sequence[Reading], asked: Sequence[Reading], shared: Path) -> None:
    from omni.tokenizers.text import TextTokenizer

    told, waves, at = [], [], 0
    for item, recording in [*learnt, *asked]:
        told.append(asdict(Utterance(item.id, item.texts[LANGUAGE], at, recording.length)))
        waves.append((manifest.wave(recording) * 32768.0).astype(np.int16))
        at += recording.length
    TextTokenizer.train((), LETTERS).save(shared / TEXT)
    np.save(shared / WAVES, np.concatenate(waves))
    picked = recognized([manifest.wave(one) for _, one in asked], [item.texts[LANGUAGE] for item, _ in asked])
    parts = {"learnt": told[: len(learnt)], "asked": told[len(learnt) :]}
    write_json(shared / SAID, {"voice": voice, **parts, "recognized": picked})


def _voice(manifest: Manifest) -> str:
    """The preset voice that reads most English texts."""
    heard = Counter(one.preset for item in manifest.items for one in item.recordings if one.language == LANGUAGE)
    voices = [(count, name) for name, count in heard.items() if name]
    if not voices:
        raise InputError(f"{manifest.folder}: no voice reads its texts in {LANGUAGE}; {MEND}")
    return max(voices)[1]


def _readings(item: Item, voice: str) -> Iterator[Reading]:
    """The item with its first recording by the voice, if that is neither too short nor too long."""
    for one in item.recordings:
        if one.preset == voice and one.language == LANGUAGE and LANGUAGE in item.texts:
            if SHORTEST <= one.length / SAMPLE_RATE <= LONGEST:
                yield item, one
            return


def _some(read: Sequence[Reading], minutes: float) -> list[Reading]:
    """So many minutes of them, drawn by chance; all if there are fewer."""
    found, left = list[Reading](), 60 * minutes * SAMPLE_RATE
    for number in np.random.default_rng(0).permutation(len(read)).tolist():
        if left <= 0:
            break
        found.append(read[number])
        left -= read[number][1].length
    return found


def _tellable(read: Sequence[Reading], known: set[str]) -> list[Reading]:
    """Those that a recognizer can hear (its dictionary has their words) and tell apart, and that nothing known says."""
    found = {spoken(item.texts[LANGUAGE]): (item, one) for item, one in read}
    return [found[text] for text in hearable(list(found)) if text not in known]


def in_groups(read: Sequence[Reading], groups: int) -> list[Reading]:
    """Groups of TEXTS whose recordings are about equally long, so that length alone does not tell a text: [groups *
    TEXTS], spread over all lengths; fewer where there are not so many."""
    ordered = sorted(read, key=lambda one: (one[1].length, one[0].id))
    starts = np.arange(len(ordered) // TEXTS) * TEXTS
    taken = starts[np.linspace(0, len(starts) - 1, min(groups, len(starts))).round().astype(int)]
    return [ordered[start + place] for start in taken.tolist() for place in range(TEXTS)]
