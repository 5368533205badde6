"""Checkpoints that are whole or not there: written aside, checksummed, renamed, verified before they are read.

    RUN/checkpoints/latest                  name of the newest
    RUN/checkpoints/step-00000200/          state.json, checksums.json, state/ (DeepSpeed's own files)

DeepSpeed reads its files with pickle, so only those of the run's own folder, with the right checksums, are ever loaded.
"""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from omni.errors import InputError
from omni.files import atomic_path, read_json, sha256, write_json, write_text

FREE = frozenset({"validate", "checkpoint", "tokenizers", "valid"})     # what may change without changing the weights


@dataclass(frozen=True)
class State:
    """Where a run stands. cursor: rows consumed; world: processes; data and vocab: fingerprints."""

    step: int
    cursor: int
    world: int
    recipe: dict[str, Any]
    data: str
    vocab: str


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, run: Path) -> None:
        self.folder = run / "checkpoints"

    def save(self, state: State, write: Callable[[Path], None], rank: int, barrier: Callable[[], None]) -> Path:
        """Write one; every rank calls it. `write(folder)` writes this rank's files into an empty folder."""
        target = self.folder / f"step-{state.step:08d}"
        partial = self.folder / f".partial-{target.name}"
        if rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        barrier()
        write(partial)
        barrier()                                                       # every rank's files are there
        if rank == 0:
            write_json(partial / "state.json", asdict(state))
            write_json(partial / "checksums.json", _checksums(partial))
            with atomic_path(target) as scratch:
                partial.rename(scratch)
            write_text(self.folder / "latest", target.name + "\n")
        barrier()
        return target

    def prune(self, keep: int) -> None:
        """Delete all but the newest `keep`, and what a killed save left."""
        for folder in (*self._all()[keep:], *self.folder.glob(".partial-*")):
            shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def newest(self) -> tuple[Path, State] | None:
        """The newest checkpoint that is whole; damaged ones are named on stderr and passed over.

        Raises InputError when there are checkpoints and none is whole.
        """
        found = self._all()
        for folder in found:
            try:
                return folder, _verify(folder)
            except InputError as error:
                print(f"omni: {error}; trying an older one", file=sys.stderr)
        if found:
            raise InputError(f"{self.folder}: no checkpoint is whole; begin again with --fresh")
        return None

    def _all(self) -> list[Path]:
        """Newest first, the one that `latest` names before all others."""
        folders = sorted(self.folder.glob("step-*"), reverse=True)
        latest = self.folder / "latest"
        name = latest.read_text(encoding="utf-8").strip() if latest.is_file() else ""
        return sorted(folders, key=lambda folder: folder.name != name)


def check_same_run(saved: State, now: State, run: Path, changed_recipe: bool = False) -> None:
    """Refuse to go on with other data, vocabulary or processes, or, unless `changed_recipe`, another recipe.

    Raises InputError naming what differs.
    """
    mends = "; put it back, name another --out, or begin again with --fresh"
    if saved.vocab != now.vocab:
        raise InputError(f"{run}: the vocabulary is not the one of its checkpoint{mends}")
    if saved.data != now.data:
        raise InputError(f"{run}: the data are not those of its checkpoint{mends}")
    if saved.world != now.world:
        raise InputError(
            f"{run}: its checkpoint is of {saved.world} processes, not {now.world}; use --nproc {saved.world}"
        )
    old, new = _flat(saved.recipe), _flat(now.recipe)
    differing = [key for key in {**old, **new} if old.get(key) != new.get(key) and key.split(".")[0] not in FREE]
    must = [key for key in differing if key.startswith(("model", "zero", "batch", "precision")) or not changed_recipe]
    if must:
        key = must[0]
        say = "" if key.startswith(("model", "zero", "batch", "precision")) else "; --resume goes on with the new one"
        raise InputError(f"{run}: {key} was {old.get(key)!r} and is now {new.get(key)!r}{mends}{say}")


def _verify(folder: Path) -> State:
    """Raises InputError when a file is missing, damaged or foreign."""
    expected = read_json(folder / "checksums.json")
    for name, checksum in expected.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: missing")
        if sha256(path) != checksum:
            raise InputError(f"{path}: damaged (its checksum differs)")
    values = read_json(folder / "state.json")
    if not isinstance(values, dict) or set(values) != {field.name for field in fields(State)}:
        raise InputError(f"{folder / 'state.json'}: not a checkpoint of this version")
    return State(**values)


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as dotted keys, values as JSON would give them back."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = json.loads(json.dumps(value))
    return found
