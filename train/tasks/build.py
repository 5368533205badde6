"""From prepared items and tokenizers to the token shards of every task and split."""

import hashlib
import random
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np

from omni.errors import InputError
from omni.files import read_json, write_json
from omni.sequence import Segment
from omni.sequence import Sequence as Stream
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.engines import HERE, Engine, in_order, one_thread
from omni.train.data.items import LINES, Item, Manifest
from omni.train.data.shards import ShardWriter
from omni.train.tasks.codes import Codes, checked, encode_pictures, opened
from omni.train.tasks.dialogues import DIALOGUES, Script, concerns
from omni.train.tasks.directions import TRANSLATE, check_pairs, tasks_by
from omni.train.tasks.mishearing import TO_ANSWER, TO_WRITE, Noise
from omni.train.tasks.templates import Task
from omni.train.tasks.video import clips
from omni.vocab import Vocabulary

SPLITS = ("train", "valid", "test")
CHOICE, BUILT = "choice.json", "built.json"
VERSION = 5                                                             # of what tasks make of the same data
TRAINED = dict.fromkeys(("count", "talk"), ("user", "assistant"))       # so it learns when somebody has done speaking
MOVING = ("stamps", "emoji")                                            # whose pictures move in videos
DOWN = ("transcribe", "prompts")                                        # tasks that write down what is heard
UNSOUNDED = 0.6                                                         # of what is heard in training: letters alone
UNTAGGED, UNVOICED = 0.4, 0.2                                           # of the dialogues: nobody says what is wanted
LISTS = ("languages", "sources", "directions")
ITEMS, CLIPPED_ITEMS = 64, 8                                            # that a worker lays out at a time


@dataclass(frozen=True)
class Choice:
    """Which items and languages become shards, of sequences up to `max_steps`; an empty tuple means all there are.

    draws: examples of an item, in multiples of a task's limit; layout: of the audio codes (omni.layout)
    directions: of `translate`, such as "en-fr", each as a task of its own
    items: most of them that a task is trained on, 0 for all; fewer are some of more, and held-out ones stay whole
    """

    languages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    max_steps: int = 512
    seed: int = 0
    draws: int = 1
    layout: str = "flat"
    directions: tuple[str, ...] = ()
    items: int = 0


def vocabulary(manifest: Manifest, tokenizers: Tokenizers, layout: str = "flat") -> Vocabulary:
    """The token space of these tokenizers with a tag for every language and preset voice of the manifest."""
    checked(tokenizers)
    return Vocabulary.of(tokenizers, languages_of(manifest), layout, manifest.voices)


def languages_of(manifest: Manifest) -> set[str]:
    """Languages of the texts, each of which has a tag."""
    return {language for item in manifest.items for language in item.texts}


def build_shards(
    manifest: Manifest, tokenizers: Tokenizers, out: Path, choice: Choice, hands: Engine = HERE
) -> Vocabulary:
    """Write out/SPLIT/TASK for every task that has examples. Finished ones of the same choice are kept.

    Items are laid out by many `hands` and written in their order, so the shards are the same whoever does it.
    Raises InputError when a language, source or direction of the choice is not in the manifest.
    """
    vocab = vocabulary(manifest, tokenizers, choice.layout)
    languages = _checked(choice.languages, vocab.languages, "language") or vocab.languages
    known = sorted({item.source for item in manifest.items})
    sources = _checked(choice.sources, known, "source") or known
    tasks = tasks_by(choice.directions, languages)
    check_pairs(tasks, [item for item in manifest.items if item.source in sources and item.split == "train"])
    _check_place(out, tasks)
    Codes.of(manifest, tokenizers, sources, languages, out / "codes", hands)
    made = replace(choice, languages=tuple(languages), sources=tuple(sources))
    one = _plain(replace(made, directions=()))                          # a shard's folder says which it is of
    key: dict[str, object] = {"data": manifest.fingerprint, "vocab": vocab.hash, "tasks": VERSION, **one}
    with tempfile.TemporaryDirectory(prefix=".tokenizers-", dir=out) as copy:
        tokenizers.save(copy)
        place = manifest.folder.resolve(), Path(copy).resolve(), out.resolve()
        desk = Desk(*place, vocab, tuple(languages), choice.seed, choice.draws)
        for split in SPLITS:
            chosen = [row for row, item in enumerate(manifest.items) if item.source in sources and item.split == split]
            some = partial(_some, manifest.items, choice.items if split == "train" else 0, choice.seed)
            for task in tasks:
                served = some(chosen, partial(_serves, task, languages))
                streams = _streams(hands, partial(task_streams, desk, task), served, ITEMS, task.name)
                _write(out / split / task.name, task.name, streams, vocab, choice.max_steps, key)
            for name in DIALOGUES if LINES in sources else ():
                asked = some([row for row in chosen if concerns(name, manifest.items[row])])
                streams = _streams(hands, partial(dialogue_streams, desk, name), asked, ITEMS, name)
                _write(out / split / name, name, streams, vocab, choice.max_steps, key)
            shown = some([row for row in chosen if manifest.items[row].source in MOVING])
            streams = _streams(hands, partial(video_streams, desk), shown, CLIPPED_ITEMS, "video")
            _write(out / split / "video", "video", streams, vocab, choice.max_steps, key)
    vocab.save(out / "vocab.json")
    write_json(out / CHOICE, _plain(made))
    return vocab


def read_choice(folder: Path) -> Choice:
    """What the shards in a folder were made of. Raises InputError when it holds none."""
    if not (folder / CHOICE).exists():                                  # which is written last
        why = "no token shards there, or not all of them"
        raise InputError(f"{folder}: {why}; run `omni data tokenize --out {folder}`")
    try:
        values = {"directions": [], **read_json(folder / CHOICE)}
        return Choice(**{**values, **{name: tuple(values[name]) for name in LISTS}})
    except (KeyError, TypeError):
        raise InputError(f"{folder / CHOICE}: damaged; run `omni data tokenize` again") from None


def _plain(choice: Choice) -> dict[str, object]:
    """For JSON, without what is unset of later versions' fields, so that shards of an omni without them are known."""
    values = {**asdict(choice), **{name: list(getattr(choice, name)) for name in LISTS}}
    return {name: value for name, value in values.items() if value or name not in ("directions", "items")}


def _checked(wanted: Collection[str], known: Sequence[str], what: str) -> Collection[str]:
    for name in wanted:
        if name not in known:
            raise InputError(f"{what} {name!r} is not in the data; it has {', '.join(known)}")
    return wanted


def _check_place(out: Path, tasks: Sequence[Task]) -> None:
    """Raises InputError where the same translations lie already as another task, and would be trained on twice."""
    there = {built.parent.name for built in out.glob(f"*/{TRANSLATE}*/{BUILT}")} - {task.name for task in tasks}
    if there:
        raise InputError(f"{out}: has {', '.join(sorted(there))} already, by other directions; name another --out")


def _some(
    items: Sequence[Item], most: int, seed: int, rows: list[int], serves: Callable[[Item], bool] = lambda item: True
) -> list[int]:
    """The rows of at most `most` items that serve, by a draw of which fewer are some of more; 0: all rows."""
    if not most:
        return rows
    drawn = sorted(rows, key=lambda row: hashlib.sha256(f"{seed}/{items[row].id}".encode()).digest())
    return sorted(islice((row for row in drawn if serves(items[row])), most))


def _serves(task: Task, languages: Collection[str], item: Item) -> bool:
    return any(True for _ in task.examples(item, languages, 0))


@dataclass(frozen=True)
class Desk:
    """What a worker needs for its jobs, and where it finds it; the rows of a job count the manifest's items."""

    data: Path
    tokenizers: Path
    out: Path
    vocab: Vocabulary
    languages: tuple[str, ...]
    seed: int
    draws: int


@lru_cache(maxsize=1)
def _script(desk: Desk) -> Script:
    manifest, _ = _codes(desk)
    return Script(manifest, desk.languages, desk.seed)


@lru_cache(maxsize=1)
def _codes(desk: Desk) -> tuple[Manifest, Codes]:
    manifest, tokenizers = opened(desk.data, desk.tokenizers)
    return manifest, Codes(desk.out / "codes", tokenizers)


def task_streams(desk: Desk, task: Task, rows: Sequence[int]) -> list[tuple[str, Stream]]:
    """The sequences of a task that some items give, each with its item's name."""
    manifest, codes = _codes(desk)
    found = []
    for item in (manifest.items[row] for row in rows):
        noise = _noise(desk, task.name, item)
        for given, wanted in task.examples(item, desk.languages, desk.seed, desk.draws):
            then = (codes.segment(item, face, "assistant") for face in task.following(item, wanted))
            said = [codes.answer(item, given, wanted), *then]
            segments = [codes.segment(item, given, "user", noise), *said]
            segments = _heard(segments, noise) if given.kind == "speech" else segments
            found.append((item.id, Stream.of(segments, desk.vocab)))
    return found


def dialogue_streams(desk: Desk, name: str, rows: Sequence[int]) -> list[tuple[str, Stream]]:
    """The dialogues of a name that some items give."""
    manifest, codes = _codes(desk)
    script, found = _script(desk), []
    for item in (manifest.items[row] for row in rows):
        draw, learnt = random.Random(f"{desk.seed}/{name}/{item.id}/tags"), "user" in TRAINED.get(name, ())
        noise = None if learnt else _noise(desk, name, item)            # nobody is to learn to say what was misheard
        for dialogue in DIALOGUES[name](script, item):
            segments = [codes.segment(one.item, one.face, one.role, noise) for one in dialogue]
            segments = _untagged(segments, draw.random() < UNTAGGED, draw.random() < UNVOICED)
            stream = Stream.of(_heard(segments, noise), desk.vocab, TRAINED.get(name, ("assistant",)))
            found.append((item.id, stream))
    return found


def _noise(desk: Desk, name: str, item: Item) -> Noise | None:
    """In which what is said in a training item's examples is heard; held-out items are heard as they are."""
    if item.split != "train":
        return None
    chance = np.random.default_rng(zlib.crc32(f"{desk.seed}/{name}/{item.id}/heard".encode()))
    return Noise(chance, *(TO_WRITE if name in DOWN else TO_ANSWER))


def _heard(segments: list[Segment], noise: Noise | None) -> list[Segment]:
    """The segments, or by chance only the letters of what the user is heard saying in them."""
    if noise is None or noise.chance.random() >= UNSOUNDED:
        return segments
    return [replace(one, letters_alone=one.modality == "audio" and one.role == "user") for one in segments]


def _untagged(segments: list[Segment], language: bool, voice: bool) -> list[Segment]:
    """The segments without their language tags, their voice tags, or both."""
    return [
        replace(one, language=None if language else one.language, voice=None if voice else one.voice)
        for one in segments
    ]


def video_streams(desk: Desk, rows: Sequence[int]) -> list[tuple[str, Stream]]:
    """The videos that some items give, with a question and its answer."""
    manifest, codes = _codes(desk)
    items = [manifest.items[row] for row in rows]
    made = [(item.id, clip) for item in items for clip in clips(item, manifest, desk.languages, desk.seed, desk.draws)]
    if not made:
        return []
    with one_thread():
        frames = encode_pictures(np.concatenate([clip.frames for _, clip in made]), codes.tokenizers)
    found, ends = [], np.cumsum([len(clip.frames) for _, clip in made])
    for (item, clip), video in zip(made, np.split(frames, ends[:-1]), strict=True):  # video: [frames, tokens]
        dialogue = [
            Segment("video", video.astype(np.int64)),
            Segment("text", codes.text(clip.question)),
            Segment("text", codes.text(clip.answer), "assistant", clip.language),
        ]
        found.append((item, Stream.of(dialogue, desk.vocab)))
    return found


def _streams(
    hands: Engine,
    work: Callable[[Sequence[int]], list[tuple[str, Stream]]],
    rows: Sequence[int],
    size: int,
    label: str,
) -> Iterator[tuple[str, Stream]]:
    """What `work` makes of the rows, `size` at a time, in their order."""
    jobs = [rows[start : start + size] for start in range(0, len(rows), size)]
    for some in in_order(hands, work, jobs, map(len, jobs), label):
        yield from some


def _write(
    folder: Path,
    task: str,
    streams: Iterator[tuple[str, Stream]],
    vocab: Vocabulary,
    max_steps: int,
    key: dict[str, object],
) -> None:
    """One shard, unless it is there already or has no example that fits; longer ones than `max_steps` are left out."""
    done = folder / BUILT
    if done.exists() and read_json(done) == key:
        return
    first = next((pair for pair in streams if len(pair[1]) <= max_steps), None)
    if first is None:
        return
    with ShardWriter(folder, vocab, task) as shard:
        shard.add(first[1], first[0])
        for item, stream in streams:
            if len(stream) <= max_steps:
                shard.add(stream, item)
    write_json(done, key)
