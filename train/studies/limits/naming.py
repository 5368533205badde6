"""Pictures and the words of their English captions: which of ten unknown pictures does a caption mean?"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni.errors import InputError
from omni.files import read_json, write_json
from omni.train.data.items import Item, Manifest

SOURCES = ("stamps", "emoji", "clipart")
TEN = 10
BATCH, BATCH_QUICK = 128, 32
NAMES, PICTURES = "names.json", "pictures.npy"


def prepare(manifest: Manifest, shared: Path) -> int:
    """Write the pictures with a name, those that are learnt first and in a random order. Returns how many they are."""
    from omni.tokenizers.image.naming import names_in

    random = np.random.default_rng(0)
    found: list[tuple[Item, list[str]]] = []
    counts = []
    for splits in (("train",), ("valid", "test")):
        items = [item for item in manifest.items if item.split in splits and item.source in SOURCES and item.pictures]
        named = [(item, sorted(names_in([item.texts.get("en", ""), *item.keywords.get("en", [])]))) for item in items]
        some = [named[place] for place in random.permutation(len(named)) if named[place][1]]
        counts.append(len(some))
        found += some
    if min(counts) < 2 * TEN:
        raise InputError(f"{manifest.folder}: too few pictures with English names; prepare stamps, emoji and clipart")
    np.save(shared / PICTURES, np.stack([manifest.picture(item.pictures[0]) for item, _ in found]))
    write_json(shared / NAMES, {"learnt": counts[0], "names": [names for _, names in found]})
    return counts[0]


def right(shared: Path, count: int, seed: int, steps: int, quick: bool) -> list[float]:
    """A tagger learns from `count` pictures. Of each unknown picture's name: the chance that it picks that picture
    among ten, 1 or 0; 0.1 where it knows none of the words."""
    from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
    from omni.tokenizers.image.naming import Named, Plan, train_tags

    kept = read_json(shared / NAMES)
    names, learnt = [frozenset(some) for some in kept["names"]], kept["learnt"]
    pictures = np.load(shared / PICTURES, mmap_mode="r")
    chosen = np.random.default_rng(seed).permutation(learnt)[:count]
    named = Named(np.ascontiguousarray(pictures[chosen]), [names[place] for place in chosen])
    with TemporaryDirectory() as folder:
        blank = ImageTokenizer(ImageConfig.preset("quick"))             # the codes do not count here
        plan = Plan(batch=BATCH_QUICK if quick else BATCH)
        tagged = train_tags(blank, named, Path(folder) / "tags", steps=steps, seed=seed, plan=plan)
    return picked(_scores(tagged, pictures[learnt:]), _words(tagged, names[learnt:]))


def _scores(tagged: Any, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Log probabilities of the tags [pictures, tags]."""
    import torch

    from omni.tokenizers.image.pixels import to_pixels

    with torch.no_grad():
        parts = [tagged.tagger(to_pixels(some)) for some in np.array_split(pictures, 1 + len(pictures) // 64)]
    found: NDArray[np.float64] = torch.cat(parts).double().numpy()
    return found


def _words(tagged: Any, names: Sequence[frozenset[str]]) -> NDArray[np.bool_]:
    """Which tags name which picture [pictures, tags]."""
    from omni.tokenizers.image.naming import Named, targets_of

    blank = np.zeros((len(names), 1, 1, 3), np.uint8)
    found: NDArray[np.bool_] = targets_of(Named(blank, names), tagged.tagger.names).numpy() > 0
    return found


def picked(scores: NDArray[np.float64], words: NDArray[np.bool_]) -> list[float]:
    """Tens of pictures, neighbours in their order: of each, whether its words fit it best (mean log probability).

    scores: [pictures, tags]; words: which tags are in a picture's name, [pictures, tags]
    """
    found = []
    for start in range(0, len(scores) // TEN * TEN, TEN):
        ten = scores[start : start + TEN]                               # [TEN, tags]
        for place, own in enumerate(words[start : start + TEN]):
            fit = ten[:, own].mean(axis=1) if own.any() else None
            found.append(1 / TEN if fit is None else float(fit.argmax() == place))
    return found
