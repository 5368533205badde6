"""From prepared items and tokenizers to the token shards of every task and split."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from omni.errors import InputError
from omni.files import read_json, write_json
from omni.progress import progress
from omni.sequence import Segment
from omni.sequence import Sequence as Stream
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.items import Item, Manifest
from omni.train.data.shards import ShardWriter
from omni.train.tasks.codes import Codes, checked, encode_pictures
from omni.train.tasks.templates import TASKS, Task
from omni.train.tasks.video import clips
from omni.vocab import Vocabulary

SPLITS = ("train", "valid", "test")
CHOICE = "choice.json"
CLIP_BATCH = 16                                                         # videos encoded at a time


@dataclass(frozen=True)
class Choice:
    """Which items and languages become shards, of sequences up to `max_steps`; an empty tuple means all there are."""

    languages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    max_steps: int = 512
    seed: int = 0


def vocabulary(manifest: Manifest, tokenizers: Tokenizers, layout: str = "flat") -> Vocabulary:
    """The token space of these tokenizers with a tag for every language of the manifest."""
    checked(tokenizers)
    return Vocabulary.of(tokenizers, languages_of(manifest), layout)


def languages_of(manifest: Manifest) -> set[str]:
    """Languages of the texts, each of which has a tag."""
    return {language for item in manifest.items for language in item.texts}


def build_shards(manifest: Manifest, tokenizers: Tokenizers, out: Path, choice: Choice) -> Vocabulary:
    """Write out/SPLIT/TASK for every task that has examples. Finished ones of the same choice are kept.

    Raises InputError when a language or source of the choice is not in the manifest.
    """
    vocab = vocabulary(manifest, tokenizers)
    languages = _checked(choice.languages, vocab.languages, "language") or vocab.languages
    known = sorted({item.source for item in manifest.items})
    sources = _checked(choice.sources, known, "source") or known
    items = [item for item in manifest.items if item.source in sources]
    codes = Codes.of(manifest, tokenizers, sources, languages, out / "codes")
    made = Choice(tuple(languages), tuple(sources), choice.max_steps, choice.seed)
    key: dict[str, object] = {"data": manifest.fingerprint, "vocab": vocab.hash, **_plain(made)}
    for split in SPLITS:
        chosen = [item for item in items if item.split == split]
        for task in TASKS:
            streams = _task_streams(task, chosen, codes, vocab, languages, choice.seed)
            _write(out / split / task.name, task.name, streams, vocab, choice.max_steps, key)
        stamps = [item for item in chosen if item.source == "stamps"]
        videos = _video_streams(stamps, manifest, codes, vocab, languages, choice.seed)
        _write(out / split / "video", "video", videos, vocab, choice.max_steps, key)
    vocab.save(out / "vocab.json")
    write_json(out / CHOICE, _plain(made))
    return vocab


def read_choice(folder: Path) -> Choice:
    """What the shards in a folder were made of. Raises InputError when it holds none."""
    try:
        values = read_json(folder / CHOICE)
        return Choice(**{**values, "languages": tuple(values["languages"]), "sources": tuple(values["sources"])})
    except (KeyError, TypeError):
        raise InputError(f"{folder / CHOICE}: damaged; run `omni data tokenize` again") from None


def _plain(choice: Choice) -> dict[str, object]:
    return {**asdict(choice), "languages": list(choice.languages), "sources": list(choice.sources)}


def _checked(wanted: Collection[str], known: Sequence[str], what: str) -> Collection[str]:
    for name in wanted:
        if name not in known:
            raise InputError(f"{what} {name!r} is not in the data; it has {', '.join(known)}")
    return wanted


def _task_streams(
    task: Task, items: list[Item], codes: Codes, vocab: Vocabulary, languages: Collection[str], seed: int
) -> Iterator[tuple[str, Stream]]:
    for item in progress(items, f"{task.name}"):
        for given, wanted in task.examples(item, languages, seed):
            said = [codes.segment(item, face, "assistant") for face in (wanted, *task.following(item, wanted))]
            yield item.id, Stream.of([codes.segment(item, given, "user"), *said], vocab)


def _video_streams(
    items: list[Item], manifest: Manifest, codes: Codes, vocab: Vocabulary, languages: Collection[str], seed: int
) -> Iterator[tuple[str, Stream]]:
    made = [(item.id, clip) for item in items for clip in clips(item, manifest, languages, seed)]
    for start in progress(range(0, len(made), CLIP_BATCH), "video", unit="batch"):
        batch = made[start : start + CLIP_BATCH]
        frames = encode_pictures(np.concatenate([clip.frames for _, clip in batch]), codes.tokenizers)
        for (item, clip), video in zip(batch, np.split(frames, len(batch)), strict=True):  # video: [frames, tokens]
            dialogue = [
                Segment("video", video.astype(np.int64)),
                Segment("text", codes.text(clip.question)),
                Segment("text", codes.text(clip.answer), "assistant", clip.language),
            ]
            yield item, Stream.of(dialogue, vocab)


def _write(
    folder: Path,
    task: str,
    streams: Iterator[tuple[str, Stream]],
    vocab: Vocabulary,
    max_steps: int,
    key: dict[str, object],
) -> None:
    """One shard, unless it is there already or has no example that fits; longer ones than `max_steps` are left out."""
    done = folder / "built.json"
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
