"""What all cells of the ablations share: the documents in every arrangement, and how much the held-out ones hold."""

from pathlib import Path
from typing import TYPE_CHECKING

from omni.errors import InputError
from omni.files import write_json
from omni.shipped import shipped_model
from omni.train.data.items import Manifest
from omni.train.data.loader import Dataset
from omni.train.data.shards import Shard, find_shards
from omni.train.studies.tiny.arrange import ARRANGEMENTS, ROW, UNITS, Amounts, Choice, arrange
from omni.train.tasks import build

if TYPE_CHECKING:
    from omni.tokenizers.bundle import Tokenizers

LANGUAGES = ("en", "fr", "es", "ru")                                    # of the answers
SOURCES = ("stamps", "words", "prompts", "lines")
STEPS, DOCUMENTS = 180_000, 100                                         # of a task: to train on, held out
QUICK_STEPS, QUICK_DOCUMENTS = 8_000, 10
ABOUT = "about.json"


def prepare(data: Path, shared: Path, quick: bool) -> None:
    """Write shared/ARRANGEMENT/{train,valid}/TASK, and about.json.

    data: shards of `omni data tokenize` with omni-tiny's tokenizers, or a prepared folder, of which they are made.
    about.json: of each task its steps in `data`, its rows as text first in the delay layout, and the items and amounts
    of its held-out documents.
    """
    from omni.tokenizers.bundle import Tokenizers
    from omni.train.tasks.codes import checked

    tokenizers = Tokenizers.load(shipped_model() / "tokenizers")
    known, shards = checked(tokenizers), _shards(data, tokenizers, shared)
    amounts = Amounts(known.text, known.audio.frame_rate, UNITS)
    steps, documents = (QUICK_STEPS, QUICK_DOCUMENTS) if quick else (STEPS, DOCUMENTS)
    learnt, asked = Choice(LANGUAGES, steps=steps), Choice(LANGUAGES, documents=documents, measured=True)
    sizes, held_out = {}, {}
    for shard in _opened(shards / "train", tokenizers):
        if arrange(shard, shared, "train", learnt, amounts):
            sizes[shard.task] = len(shard.tokens)
    for shard in _opened(shards / "valid", tokenizers):
        if shard.task in UNITS and shard.task in sizes:
            held_out[shard.task] = arrange(shard, shared, "valid", asked, amounts)
    for name in ARRANGEMENTS:
        for split in ("train", "valid"):
            Dataset.load([shared / name / split], ROW)                  # packed once, which is kept beside the shards
    rows = Dataset.load([shared / "delay" / "train"], ROW).rows
    write_json(shared / ABOUT, {"sizes": sizes, "rows": rows, "held_out": held_out})


def _shards(data: Path, tokenizers: "Tokenizers", shared: Path) -> Path:
    from omni.train.data.engines import open_engine

    if (data / build.CHOICE).is_file():
        return data
    manifest = Manifest.load(data)
    there = {item.source for item in manifest.items}
    choice = build.Choice(LANGUAGES, tuple(source for source in SOURCES if source in there), ROW, layout="delay")
    with open_engine() as hands:
        build.build_shards(manifest, tokenizers, shared / "shards", choice, hands)
    return shared / "shards"


def _opened(folder: Path, tokenizers: "Tokenizers") -> list[Shard]:
    """Raises InputError for codes of other tokenizers than omni-tiny's."""
    shards = [Shard.load(path) for path in find_shards([folder])]
    for shard in shards:
        if shard.vocab.tokenizers != tokenizers.fingerprint:
            raise InputError(f"{shard.folder}: not of omni-tiny's tokenizers; run `omni data tokenize` with those")
    return shards
