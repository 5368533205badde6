"""`omni data fetch`: packages of the system's archive, verified and extracted into a cache folder. No root needed."""

import os
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from omni.errors import InputError
from omni.files import atomic_path, read_json, sha256, write_json
from omni.progress import progress
from omni.train.data.items import SOURCES
from omni.train.data.parse.base import Package

SOURCES_FILE = Path(__file__).with_name("sources.toml")
RECEIPT = "receipt.json"


@dataclass(frozen=True)
class PackageSpec:
    """One entry of sources.toml. `sha256` and `size` are those of the package file, `take` paths inside it."""

    name: str
    source: str
    kind: str
    version: str
    architecture: str
    size: int
    sha256: str
    take: tuple[str, ...]
    licence: str
    attribution: str


@dataclass(frozen=True)
class Offer:
    """A version that the package index offers, and the checksum it vouches for."""

    version: str
    architecture: str
    sha256: str


def default_cache() -> Path:
    """`$OMNI_CACHE`, else ~/.cache/omni."""
    return Path(os.environ.get("OMNI_CACHE") or Path.home() / ".cache" / "omni")


def read_specs(only: Sequence[str] = (), path: Path = SOURCES_FILE) -> list[PackageSpec]:
    """The packages of all sources, or of those named. Raises InputError for a source that does not exist."""
    unknown = sorted(set(only) - set(SOURCES))
    if unknown:
        raise InputError(f"--only {unknown[0]}: no such source; there are {', '.join(SOURCES)}")
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["package"]
    specs = [PackageSpec(**{**entry, "take": tuple(entry["take"])}) for entry in entries]
    for spec in specs:
        if spec.kind != "apt":
            raise InputError(f"{path.name}: {spec.name}: kind {spec.kind!r} is not known; use 'apt'")
    return [spec for spec in specs if not only or spec.source in only]


def fetch(specs: Iterable[PackageSpec], cache: Path) -> list[str]:
    """Bring every package into the cache; those already whole there are skipped. Returns lines worth telling.

    Raises InputError when a package is not offered, cannot be downloaded or has another checksum.
    """
    missing = [spec for spec in specs if installed(spec, cache) is None]
    notes: list[str] = []
    with progress(None, "fetch", total=sum(spec.size for spec in missing), unit="B") as bar:
        bar.unit_scale = True
        for spec in missing:
            bar.set_postfix_str(spec.name)
            _fetch_one(spec, cache, bar, notes)
    return notes


def installed(spec: PackageSpec, cache: Path) -> Package | None:
    """The extracted package, or None when it is not there, not whole, or of a version no longer pinned or noted."""
    root = cache / "packages" / spec.name
    try:
        receipt = read_json(root / RECEIPT)
    except InputError:
        return None
    if receipt.get("asked") != spec.sha256 or receipt.get("tree") != _tree(root):
        return None
    return Package(spec.name, root, spec.licence, spec.attribution)


def package_sha256(spec: PackageSpec, cache: Path) -> str:
    """Checksum of the package file that was in fact extracted."""
    return str(read_json(cache / "packages" / spec.name / RECEIPT)["sha256"])


def _fetch_one(spec: PackageSpec, cache: Path, bar: "tqdm[None]", notes: list[str]) -> None:
    _need_tools()
    file = cache / "downloads" / f"{spec.name}.deb"
    before = bar.n
    if file.is_file():  # put there by hand, or left by a run that was stopped before it could extract
        offer = Offer(spec.version, spec.architecture, spec.sha256)
    else:
        offer = choose(spec, offers(spec.name))
        if offer.sha256 != spec.sha256:
            notes.append(
                f"{spec.name}: version {spec.version} is not offered here; took {offer.version} "
                f"({offer.architecture}), whose checksum the package index vouches for"
            )
        _download(spec, offer, file, bar)
    found = sha256(file)
    if found != offer.sha256:
        file.unlink()
        raise InputError(
            f"{file.name}: corrupt: its sha256 is {found[:12]}…, not {offer.sha256[:12]}…; "
            "it has been removed, run the same command again to fetch it anew"
        )
    _extract(spec, offer, file, cache)
    file.unlink()
    bar.update(before + spec.size - bar.n)


def choose(spec: PackageSpec, offered: Sequence[Offer]) -> Offer:
    """The pinned version where it is offered, else the first one that is. Raises InputError when there is none."""
    for offer in offered:
        if (offer.version, offer.architecture) == (spec.version, spec.architecture):
            return Offer(spec.version, spec.architecture, spec.sha256)
    if not offered:
        raise InputError(
            f"{spec.name}: the package index offers no such package; run `apt-get update` as root "
            "(Debian or a derivative with its main archive), then the same command again"
        )
    return offered[0]


def offers(name: str) -> list[Offer]:
    """What the local package index offers under a name, the preferred version first."""
    shown = subprocess.run(["apt-cache", "show", name], capture_output=True, text=True, check=False).stdout
    found = []
    for stanza in shown.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] != " ")
        if {"Version", "Architecture", "SHA256"} <= fields.keys():
            found.append(Offer(fields["Version"], fields["Architecture"], fields["SHA256"]))
    return found


def _download(spec: PackageSpec, offer: Offer, file: Path, bar: "tqdm[None]") -> None:
    """`apt-get download` into a folder of its own, so that `file` appears only when it is whole."""
    with _scratch(file.parent) as folder:
        command = ["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", f"{spec.name}={offer.version}"]
        with tempfile.TemporaryFile("w+") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
            try:
                start = bar.n
                while process.poll() is None:
                    time.sleep(0.1)
                    bar.update(min(spec.size, _size(folder)) - (bar.n - start))
            finally:
                process.terminate()
                process.wait()
            log.seek(0)
            errors = [line[2:].strip() for line in log.read().splitlines() if line.startswith("E:")]
        files = list(folder.glob("*.deb"))
        if process.returncode != 0 or not files:
            reason = errors[0] if errors else f"apt-get ended with {process.returncode}"
            raise InputError(f"{spec.name}: download failed ({reason}); try again or run `apt-get update` as root")
        files[0].replace(file)


def _extract(spec: PackageSpec, offer: Offer, file: Path, cache: Path) -> None:
    """Unpack and keep the paths of `take`, with a receipt inside; the folder appears only when it is whole."""
    with _scratch(cache / "packages") as everything, atomic_path(cache / "packages" / spec.name) as root:
        done = subprocess.run(["dpkg-deb", "-x", file, everything], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = " ".join(done.stderr.split())
            raise InputError(f"{file.name}: cannot be unpacked ({reason}); free disk space, then fetch it again")
        for path in spec.take:
            if not (everything / path).exists():
                raise InputError(f"{spec.name} {offer.version}: holds no {path}; version {spec.version} is needed")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (everything / path).rename(root / path)
        receipt = {"package": spec.name, "version": offer.version, "architecture": offer.architecture}
        write_json(root / RECEIPT, {**receipt, "sha256": offer.sha256, "asked": spec.sha256, "tree": _tree(root)})


def _tree(root: Path) -> list[int]:
    """How many files there are and their bytes: enough to see that something was deleted or cut short."""
    sizes = [path.lstat().st_size for path in root.rglob("*") if path.is_file() and path.name != RECEIPT]
    return [len(sizes), sum(sizes)]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".scratch.", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _need_tools() -> None:
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise InputError(f"{tool} is not installed; fetch on Debian or a derivative and copy the cache folder here")
