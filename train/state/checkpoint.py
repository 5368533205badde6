"""Checkpoints that are whole or not there, and that any number of processes and any stage of ZeRO can read.

    RUN/checkpoints/latest                  name of the newest
    RUN/checkpoints/step-00000200/          state.json, checksums.json, rank-0000.safetensors, ..

A rank copies its fragments of the state aside, which is all that training waits for; a thread writes, syncs and
checksums them. When the ranks, in the course of a step, agree that all are written, the first one renames the folder.
Nothing is pickled.
"""

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from omni.errors import InputError
from omni.files import atomic_path, read_json, sha256, write_json, write_text
from omni.train.recipe import Recipe
from omni.train.state.places import Fragment, Place

VERSION = 2
FREE = frozenset(                                                       # may change without changing the weights
    {"validate", "checkpoint", "tokenizers", "valid", "faults", "monitor"}
    | {"zero", "offload", "compile", "activation_checkpointing", "parallel"}
)
FIXED = (                                                               # not even --resume may change these
    *("model", "precision", "batch.rows", "sequence_length"),
    *("init", "freeze", "lora"),                                        # frozen weights are in no checkpoint
)
LOSS = ("model.z_loss", "model.text_weight")                            # what is minimised, not what is trained


@dataclass(frozen=True)
class State:
    """Where a run stands. cursor: rows consumed; data and vocab: fingerprints; optimizer_steps: of AdamW's moments;
    guard, multitask: their memories, the latter's by the name of its rule."""

    step: int
    cursor: int
    world: int
    optimizer_steps: float
    guard: list[float]
    recipe: dict[str, Any]
    data: str
    vocab: str
    multitask: dict[str, list[float]] = field(default_factory=dict)
    version: int = VERSION


class Saving:
    """One checkpoint on its way to the disk, written by a thread of its own."""

    def __init__(self, state: State, folder: Path, work: Callable[[], None]) -> None:
        self.state, self.folder = state, folder
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=(work,), name="checkpoint", daemon=True)
        self.thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:                                      # a full disk, above all: the owner decides
            self.error = error

    @property
    def written(self) -> bool:
        return not self.thread.is_alive() and self.error is None

    @property
    def failed(self) -> bool:
        return not self.thread.is_alive() and self.error is not None


class Checkpoints:
    """The checkpoints of one run, as one of its ranks sees them."""

    def __init__(self, run: Path, rank: int = 0, world: int = 1) -> None:
        self.folder, self.rank, self.world = run / "checkpoints", rank, world

    def partial(self, step: int) -> Path:
        """Where a checkpoint lies until all have written it."""
        return self.folder / f".partial-step-{step:08d}"

    def begin(self, state: State, parts: Iterable[Fragment], also: Callable[[], None] | None = None) -> Saving:
        """Copy this rank's fragments and start to write them; `also` is done in the same thread, after them.

        Every rank calls it with the same state, and `commit` once all have written.
        """
        copies = {
            f"{kind}/{part.name}/{part.place}": value.detach().to("cpu", copy=True)
            for part in parts
            for kind, value in part.values.items()
        }
        folder = self.partial(state.step)
        folder.mkdir(parents=True, exist_ok=True)

        def work() -> None:
            path = folder / f"rank-{self.rank:04d}.safetensors"
            save_file(copies, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())                                 # renamed only when it outlives a power cut
            write_json(folder / f"rank-{self.rank:04d}.json", {path.name: sha256(path)})
            if also is not None:
                also()

        return Saving(state, folder, work)

    def commit(self, saving: Saving) -> Path:
        """Make a checkpoint that every rank has written the newest one. The first rank calls it."""
        target = self.folder / f"step-{saving.state.step:08d}"
        checksums: dict[str, str] = {}
        for rank in range(self.world):
            part = saving.folder / f"rank-{rank:04d}.json"
            checksums |= read_json(part)
            part.unlink()
        write_json(saving.folder / "state.json", asdict(saving.state))
        checksums["state.json"] = sha256(saving.folder / "state.json")
        write_json(saving.folder / "checksums.json", checksums)
        with atomic_path(target) as scratch:
            saving.folder.rename(scratch)
        write_text(self.folder / "latest", target.name + "\n")
        return target

    def discard(self, saving: Saving) -> None:
        """Forget a checkpoint that some rank could not write. The first rank calls it."""
        shutil.rmtree(saving.folder, ignore_errors=True)

    def prune(self, keep: int) -> None:
        """Delete all but the newest `keep`. Later steps than the newest one's were damaged, and passed over."""
        folders = self._all()
        whole = [folder for folder in folders if folder.name <= folders[0].name]
        for folder in {*folders} - {*whole[:keep]}:
            shutil.rmtree(folder, ignore_errors=True)

    def clear_partial(self) -> None:
        """Delete what a killed save left. Only before a run begins: later ones may be on their way."""
        for folder in self.folder.glob(".*"):
            shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def newest(self, total: Callable[[float], float] = float) -> tuple[Path, State] | None:
        """The newest checkpoint that is whole; damaged ones are named on stderr and passed over.

        total: the sum over all ranks of a number. The first rank says which is looked at, so that a network's folder
        that looks different elsewhere cannot part them, and each verifies its share of the files.
        Raises InputError when there are checkpoints and none is whole.
        """
        candidates = self._all() if self.rank == 0 else []
        tried = 0
        while True:
            place = int(candidates[tried].name.removeprefix("step-")) if tried < len(candidates) else -1
            step = int(total(float(place if self.rank == 0 else 0)))
            if step < 0:
                break
            folder, good = self.folder / f"step-{step:08d}", True
            try:
                _verify(folder, self.rank, self.world)
            except InputError as error:
                good = False
                print(f"omni: {error}; trying an older one", file=sys.stderr, flush=True)
            if total(float(not good)) == 0:
                return folder, _read_state(folder)
            tried += 1
        if tried:
            raise InputError(f"{self.folder}: no checkpoint is whole; begin again with --fresh")
        return None

    def _all(self) -> list[Path]:
        """Newest first, the one that `latest` names before all others."""
        folders = sorted((one for one in self.folder.glob("step-*") if one.name[5:].isdecimal()), reverse=True)
        latest = self.folder / "latest"
        name = latest.read_text(encoding="utf-8").strip() if latest.is_file() else ""
        return sorted(folders, key=lambda folder: folder.name != name)


class Reader:
    """The fragments in a checkpoint's files, found by kind, parameter and place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = [safe_open(path, framework="pt") for path in sorted(folder.glob("rank-*.safetensors"))]
        self.places: dict[tuple[str, str], list[tuple[Place, Any, str]]] = {}
        for file in self.files:
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                kind, name, where = key.split("/")
                place = Place.parse(where, file.get_slice(key).get_shape()[0])
                self.places.setdefault((kind, name), []).append((place, file, key))

    def fill(self, part: Fragment) -> None:
        """Copy what was saved into the live tensors of a fragment. Raises InputError when some of it is not there."""
        for kind, value in part.values.items():
            missing = part.numel
            for place, file, key in self.places.get((kind, part.name), []):
                low, high = max(place.start, part.start), min(place.stop, part.place.stop)
                if low >= high:
                    continue
                if place.stride or part.stride:                         # columns of what was, or is, shared
                    inside, found = part.place.find(place.index())
                    value[found.to(value.device)] = file.get_tensor(key)[inside].to(value)
                    missing -= len(found)
                    continue
                saved: Tensor = file.get_slice(key)[low - place.start : high - place.start]
                value[low - part.start : high - part.start].copy_(saved)
                missing -= high - low
            if missing:
                raise InputError(f"{self.folder}: lacks {kind} of {part.name}; it is not a checkpoint of this model")


def check_same_run(saved: State, now: State, run: Path, changed_recipe: bool = False) -> None:
    """Refuse to go on with other data or vocabulary or, unless `changed_recipe`, another recipe.

    Raises InputError naming what differs. Processes, micro-batches and the stage of ZeRO may change freely.
    """
    mends = "; put it back, name another --out, or begin again with --fresh"
    if saved.vocab != now.vocab:
        raise InputError(f"{run}: the vocabulary is not the one of its checkpoint{mends}")
    if saved.data != now.data:
        raise InputError(f"{run}: the data are not those of its checkpoint{mends}")
    new, defaults = _flat(now.recipe), _flat(Recipe(data=["."]).as_dict())
    old = {key: defaults[key] for key in new if key in defaults}        # a key that omni had not yet, at its default
    old |= _flat(saved.recipe)
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key) and not _free(key)]
    must = [key for key in differing if _fixed(key) or not changed_recipe]
    if must:
        key = must[0]
        say = "" if _fixed(key) else "; --resume goes on with the new one"
        raise InputError(f"{run}: {key} was {old.get(key)!r} and is now {new.get(key)!r}{mends}{say}")


def _fixed(key: str) -> bool:
    return key.startswith(FIXED) and key not in LOSS


def _free(key: str) -> bool:
    return key.split(".")[0] in FREE or key == "batch.micro"


def _verify(folder: Path, rank: int, world: int) -> None:
    """This rank's share of the files. Raises InputError when one is missing, damaged or foreign."""
    expected = read_json(folder / "checksums.json")
    if not isinstance(expected, dict) or "state.json" not in expected:
        raise InputError(f"{folder / 'checksums.json'}: not the checksums of a checkpoint")
    for number, (name, checksum) in enumerate(sorted(expected.items())):
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing")
        if number % world == rank and sha256(path) != checksum:
            raise InputError(f"{path}: damaged (its checksum differs)")
    _read_state(folder)
    try:
        Reader(folder)
    except (SafetensorError, ValueError):
        raise InputError(f"{folder}: its files hold something else than training state") from None


def _read_state(folder: Path) -> State:
    values = read_json(folder / "state.json")
    if isinstance(values, dict):
        values.setdefault("multitask", {})                              # of before rules had a memory
    if not isinstance(values, dict) or set(values) != {one.name for one in fields(State)}:
        raise InputError(f"{folder / 'state.json'}: not a checkpoint of this version")
    return State(**values)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as dotted keys, values as JSON would give them back."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = json.loads(json.dumps(value))
    return found


def restore(reader: Reader, parts: Iterable[Fragment]) -> None:
    """Fill all fragments of a rank."""
    with torch.no_grad():
        for part in parts:
            reader.fill(part)
