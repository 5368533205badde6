"""`omni data import`: conversations of any source as one token shard, in one pass and in bounded memory.

Records are read here, one after the other, and encoded some at a time by all hands of an engine.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from omni.decode.parts import Text
from omni.errors import InputError
from omni.progress import progress
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.engines import HERE, Engine
from omni.train.data.shards import ShardWriter
from omni.train.data.sources.encode import Desk, Group, encode_group
from omni.train.data.sources.jsonl import read_jsonl
from omni.train.data.sources.record import Bad, Files, Record
from omni.train.data.sources.tables import read_table
from omni.train.data.sources.webdataset import read_webdataset
from omni.vocab import Vocabulary

Reader = Callable[[Path, Files], Iterator[Record | Bad]]
READERS: dict[str, Reader] = {
    ".jsonl": read_jsonl, ".ndjson": read_jsonl, ".tar": read_webdataset, ".tar.gz": read_webdataset,
    ".tgz": read_webdataset, ".parquet": read_table, ".arrow": read_table,
}  # fmt: skip
NAMED = 10                                                              # bad records that are named; all are counted
RECORDS, CONTENT = 64, 1 << 24                                          # of a group: at most so many, of so many bytes
SPLIT = re.compile(r"(train|test|valid|validation|val|dev)(?=[-_.])")


@dataclass
class Imported:
    """What became of a source's records."""

    sequences: int = 0
    steps: int = 0
    bad: int = 0


def import_sources(
    sources: Sequence[Path],
    out: Path,
    tokenizers: Tokenizers,
    task: str,
    skip_bad: bool = False,
    model: Path | None = None,
    hands: Engine = HERE,
) -> Imported:
    """Write out/task, a shard with loss on what the assistant says, the same whatever the `hands`.

    Its token space is that of shards in `out` or beside it, or of a model folder with these tokenizers, or made of the
    tokenizers alone. What is encoded is kept until the shard is whole, and not encoded again after an interruption.
    Raises InputError for the first bad record, unless those are to be skipped, and when none is good.
    """
    if not re.fullmatch(r"[\w-]+", task):
        raise InputError(f"--task {task!r}: a name of letters, digits, _ and - is wanted")
    found = [pair for source in sources for pair in find_files(source)]
    vocab, done = vocabulary_for(tokenizers, out, model), Imported()
    kept = out.resolve() / f".{task}-encoded"
    out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=f".{task}-", dir=out.resolve()) as scratch,  # which all workers see
        ShardWriter(out / task, vocab, task) as shard,
        progress(None, "importing", unit="record") as bar,
    ):
        tokenizers.save(Path(scratch) / "tokenizers")
        desk = Desk(Path(scratch) / "tokenizers", tokenizers.fingerprint, vocab, kept)
        for folder, encoded in hands.map(partial(encode_group, desk), groups(found, Path(scratch))):
            for one in encoded:
                bar.update()
                if isinstance(one, Bad):
                    _refuse(one, done, skip_bad)
                    continue
                where, stream = one
                shard.add(stream, where)
                done.sequences, done.steps = done.sequences + 1, done.steps + len(stream)
            shutil.rmtree(folder)
        _check_some(sources, done)
    shutil.rmtree(kept, ignore_errors=True)
    if not (out.parent / "vocab.json").exists():
        vocab.save(out / "vocab.json")
    return done


def groups(found: Sequence[tuple[Path, Path]], scratch: Path) -> Iterator[Group]:
    """The records of all files in groups, which depend on the files alone; each group's contents have a folder."""
    number, written, group = 0, 0, _group(scratch, 0)
    files = Files(Path(), group.folder)
    for files.root, path in found:
        for record in _reader(path)(path, files):
            group.records.append(record)
            if isinstance(record, Record):
                written += sum(len(part.text) for part in record.parts if isinstance(part, Text))
            if len(group.records) >= RECORDS or written + files.held >= CONTENT:
                yield group
                number, written, group = number + 1, 0, _group(scratch, number + 1)
                files.move_on(group.folder)
    if group.records:
        yield group


def _group(scratch: Path, number: int) -> Group:
    folder = scratch / f"{number:06}"
    folder.mkdir()
    return Group(folder)


def _refuse(bad: Bad, done: Imported, skip_bad: bool) -> None:
    if not skip_bad:
        raise InputError(f"{bad.where}: {bad.reason}; mend it, or leave such out with --skip-bad")
    done.bad += 1
    if done.bad <= NAMED:
        print(f"left out {bad.where}: {bad.reason}", file=sys.stderr)


def _check_some(sources: Sequence[Path], done: Imported) -> None:
    """Raise InputError where no record became a sequence: it names the sources, and the shard's writer could not."""
    if done.sequences:
        return
    name = f"{sources[0]}" if len(sources) == 1 else f"{sources[0]} and {len(sources) - 1} more"
    if done.bad:
        raise InputError(f"{name}: none of {done.bad} records is good; mend them, or give another source")
    raise InputError(f"{name}: holds no record; give a source with a conversation on a line, or row, or in a sample")


def find_files(source: Path) -> list[tuple[Path, Path]]:
    """(folder that paths count from, file) of every file of a source, in order of their names.

    Raises InputError when there is none, or a folder mixes the splits of a data set.
    """
    if source.is_file():
        if _ending(source) is None:
            raise InputError(f"{source}: unknown ending; wanted is one of {', '.join(READERS)}")
        return [(source.parent, source)]
    if not source.is_dir():
        raise InputError(f"{source}: no such file or folder; give a file or a folder of such")
    if (source / "dataset_dict.json").exists():
        splits = sorted(path.parent.name for path in source.glob("*/state.json"))
        raise InputError(f"{source}: holds the splits {', '.join(splits)}; give one of these folders")
    paths = [path for path in sorted(source.rglob("*")) if path.is_file() and _ending(path)]
    if not paths:
        raise InputError(f"{source}: no file there with one of the endings {', '.join(READERS)}")
    splits = sorted({match[1] for path in paths if (match := SPLIT.match(path.name))})
    if len(splits) > 1:
        raise InputError(f"{source}: holds the splits {', '.join(splits)}; give the files of one ({splits[0]}-*)")
    return [(source, path) for path in paths]


def _ending(path: Path) -> str | None:
    name = path.name.lower()
    return next((ending for ending in READERS if name.endswith(ending)), None)


def _reader(path: Path) -> Reader:
    ending = _ending(path)
    assert ending is not None
    return READERS[ending]


def vocabulary_for(tokenizers: Tokenizers, out: Path, model: Path | None = None) -> Vocabulary:
    """The token space of what is in `out` or beside it, or of `model`, else one of these tokenizers without languages.

    A modality without a tokenizer has a single id. Raises InputError when what is there has other tokenizers.
    """
    for folder in (out, out.parent, *([model] if model else [])):
        if (folder / "vocab.json").exists():
            vocab = Vocabulary.load(folder / "vocab.json")
            if vocab.tokenizers != tokenizers.fingerprint:
                raise InputError(f"{folder / 'vocab.json'}: of other tokenizers; use those, or another --out")
            return vocab
    return Vocabulary.of(tokenizers)
