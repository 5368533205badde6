"""`omni data import`: conversations of any source as one token shard, in one pass and in bounded memory."""

import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from omni.errors import InputError
from omni.progress import progress
from omni.sequence import Sequence as Stream
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.shards import ShardWriter
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
) -> Imported:
    """Write out/task, a shard with loss on what the assistant says.

    Its token space is that of shards in `out` or beside it, or of a model folder with these tokenizers, or made of the
    tokenizers alone. Raises InputError for the
    first bad record, unless those are to be skipped, and when none is good.
    """
    if not re.fullmatch(r"[\w-]+", task):
        raise InputError(f"--task {task!r}: a name of letters, digits, _ and - is wanted")
    found = [pair for source in sources for pair in find_files(source)]
    vocab, done = vocabulary_for(tokenizers, out, model), Imported()
    with (
        tempfile.TemporaryDirectory(prefix="omni-import-") as scratch,
        ShardWriter(out / task, vocab, task) as shard,
        torch.inference_mode(),
        progress(None, "importing", unit="record") as bar,
    ):
        for root, path in found:
            files = Files(root, Path(scratch))
            for record in _reader(path)(path, files):
                stream = _stream(record, tokenizers, vocab, Path(scratch))
                files.clear()
                bar.update()
                if isinstance(stream, Bad):
                    _refuse(stream, done, skip_bad)
                else:
                    shard.add(stream, record.where)
                    done.sequences, done.steps = done.sequences + 1, done.steps + len(stream)
    if not (out.parent / "vocab.json").exists():
        vocab.save(out / "vocab.json")
    return done


def _stream(record: Record | Bad, tokenizers: Tokenizers, vocab: Vocabulary, scratch: Path) -> Stream | Bad:
    if isinstance(record, Bad):
        return record
    try:
        return Stream.of([part.segment(tokenizers, vocab) for part in record.parts], vocab)
    except (InputError, ValueError) as error:
        return Bad(record.where, str(error).replace(f"{scratch}/", ""))


def _refuse(bad: Bad, done: Imported, skip_bad: bool) -> None:
    if not skip_bad:
        raise InputError(f"{bad.where}: {bad.reason}; mend it, or leave such out with --skip-bad")
    done.bad += 1
    if done.bad <= NAMED:
        print(f"left out {bad.where}: {bad.reason}", file=sys.stderr)


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
