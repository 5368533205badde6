"""Fetching real .deb files: verified, extracted, skipped when whole, refused and named when corrupt."""

import shutil
import subprocess
from pathlib import Path

import pytest

from omni.errors import InputError
from omni.files import sha256
from omni.train.data.fetch import Offer, PackageSpec, choose, fetch, installed, offers, read_specs

needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed (not Debian)")


def package(folder: Path, take: tuple[str, ...] = ("usr/share/omni-test",)) -> tuple[PackageSpec, Path]:
    """A package with two files, and what sources.toml would say of it."""
    root = folder / "build"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/share/omni-test/sub").mkdir(parents=True)
    (root / "usr/share/omni-test/sub/a.txt").write_text("first")
    (root / "usr/share/unwanted.txt").write_text("second")
    control = (
        "Package: omni-test\nVersion: 1\nArchitecture: all\nMaintainer: omni <omni@example.org>\nDescription: test\n"
    )
    (root / "DEBIAN/control").write_text(control)
    file = folder / "omni-test.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", root, file], check=True, capture_output=True)
    size, checksum = file.stat().st_size, sha256(file)
    return PackageSpec("omni-test", "words", "apt", "1", "all", size, checksum, take, "MIT", "omni"), file


def offer_by_hand(file: Path, cache: Path) -> Path:
    """Put a package file where an offline user puts it."""
    (cache / "downloads").mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(file, cache / "downloads"))


@needs_dpkg
def test_a_package_is_extracted_once_and_only_what_is_wanted(tmp_path: Path) -> None:
    spec, file = package(tmp_path)
    cache = tmp_path / "cache"
    copy = offer_by_hand(file, cache)
    assert fetch([spec], cache) == []
    found = installed(spec, cache)
    assert found and (found.root / "usr/share/omni-test/sub/a.txt").read_text() == "first"
    assert not (found.root / "usr/share/unwanted.txt").exists()
    assert not copy.exists()
    before = (found.root / "receipt.json").stat().st_mtime_ns
    fetch([spec], cache)  # nothing left to do, and no network needed
    assert (found.root / "receipt.json").stat().st_mtime_ns == before


@needs_dpkg
def test_a_corrupt_package_is_named_refused_and_removed(tmp_path: Path) -> None:
    spec, file = package(tmp_path)
    cache = tmp_path / "cache"
    copy = offer_by_hand(file, cache)
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    with pytest.raises(InputError, match=r"omni-test\.deb: corrupt.*run the same command again"):
        fetch([spec], cache)
    assert not copy.exists() and installed(spec, cache) is None
    offer_by_hand(file, cache)
    fetch([spec], cache)
    assert installed(spec, cache)


@needs_dpkg
@pytest.mark.parametrize("harm", ["delete", "cut", "receipt"])
def test_a_damaged_extraction_counts_as_not_there(tmp_path: Path, harm: str) -> None:
    spec, file = package(tmp_path)
    offer_by_hand(file, tmp_path)
    fetch([spec], tmp_path)
    root = tmp_path / "packages/omni-test"
    harmed = root / ("receipt.json" if harm == "receipt" else "usr/share/omni-test/sub/a.txt")
    harmed.unlink() if harm == "delete" else harmed.write_text("{")
    assert installed(spec, tmp_path) is None


@needs_dpkg
def test_a_package_without_what_is_wanted_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    spec, file = package(tmp_path, take=("usr/share/elsewhere",))
    offer_by_hand(file, tmp_path / "cache")
    with pytest.raises(InputError, match="holds no usr/share/elsewhere"):
        fetch([spec], tmp_path / "cache")
    assert not any((tmp_path / "cache/packages").iterdir())


def test_the_pinned_version_is_chosen_and_another_only_where_it_is_missing() -> None:
    spec = PackageSpec("p", "words", "apt", "2", "all", 1, "pinned", (), "", "")
    assert choose(spec, [Offer("3", "all", "c"), Offer("2", "all", "b")]) == Offer("2", "all", "pinned")
    assert choose(spec, [Offer("3", "all", "c"), Offer("1", "all", "a")]) == Offer("3", "all", "c")
    with pytest.raises(InputError, match="apt-get update"):
        choose(spec, [])


@pytest.mark.skipif(not shutil.which("apt-cache"), reason="apt-cache is not installed (not Debian)")
def test_the_index_offers_nothing_under_a_name_that_cannot_be() -> None:
    assert offers("omni-no-such-package") == []


def test_sources_are_complete_and_an_unknown_one_is_named() -> None:
    specs = read_specs()
    assert len({spec.name for spec in specs}) == len(specs) == 15
    assert all(len(spec.sha256) == 64 and spec.licence and spec.attribution and spec.take for spec in specs)
    assert {spec.source for spec in read_specs(["stamps", "emoji"])} == {"stamps", "emoji"}
    with pytest.raises(InputError, match="stanps: no such source; there are stamps, emoji"):
        read_specs(["stanps"])
