"""Imports by several processes: the same shard from every kind of source, and no record encoded twice."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from omni.errors import InputError
from omni.files import sha256
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.engines import HERE, Engine, open_engine
from omni.train.data.shards import Shard
from omni.train.data.sources import imports
from omni.train.data.sources.imports import Imported, import_sources

COUNT = 14


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "RECORDS", 3)


def chats(source: Path, count: int = COUNT) -> Path:
    """Lines that name one picture and one recording, or nothing."""
    lines = []
    for number in range(count):
        media: list[dict[str, Any]] = [{"type": "image", "path": "owl.png"}, {"type": "audio", "path": "owl.wav"}]
        content = [*media[: number % 3], {"type": "text", "text": f"What is {number}?"}]
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "An owl."}]
        lines.append(json.dumps({"messages": turns}) + "\n")
    (source / "chats.jsonl").write_text("".join(lines))
    return source / "chats.jsonl"


def every_kind(source: Path) -> dict[str, Path]:
    """Each kind of source, of as many records."""
    rows = {
        "text": [f"owl {number}" for number in range(COUNT)],
        "image": [{"bytes": (source / "owl.png").read_bytes(), "path": "owl.png"}] * COUNT,
    }
    table = datasets.Dataset.from_dict(rows)
    table.save_to_disk(source / "saved")
    table.to_parquet(source / "rows.parquet")
    with tarfile.open(source / "samples.tar", "w") as archive:
        for number in range(COUNT):
            (source / "said.txt").write_text(f"hoot {number}")
            archive.add(source / "said.txt", f"{number:04}.txt")
            archive.add(source / "owl.wav", f"{number:04}.wav")
    return {"jsonl": chats(source), "tar": source / "samples.tar", "parquet": source / "rows.parquet",
            "datasets": source / "saved"}  # fmt: skip


def checksums(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_every_kind_of_source_is_the_same_from_one_process_and_from_two(
    source: Path, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    sources, made = every_kind(source), {}
    for workers in (1, 2):
        with open_engine("local", workers) as hands:
            for kind, path in sources.items():
                done = import_sources([path], tmp_path / str(workers), tokenizers, kind, hands=hands)
                assert done.sequences == COUNT
        made[workers] = checksums(tmp_path / str(workers))
    assert made[1] == made[2] and {f"{kind}/tokens.npy" for kind in sources} < set(made[2])
    assert not list(tmp_path.glob("?/.*"))


class Stopping:
    """An engine that is interrupted behind its second group."""

    def map(self, work: Any, jobs: Any) -> Any:
        for number, result in enumerate(HERE.map(work, jobs)):
            yield result
            if number == 1:
                raise KeyboardInterrupt


def interrupted(path: Path, out: Path, tokenizers: Tokenizers) -> list[Path]:
    """What an import that is interrupted behind two groups keeps."""
    stopping: Engine = Stopping()
    with pytest.raises(KeyboardInterrupt):
        import_sources([path], out, tokenizers, "chat", hands=stopping)
    assert not (out / "chat").exists()
    return sorted((out / ".chat-encoded").iterdir(), key=os.path.getmtime)


def test_what_is_encoded_is_kept_and_taken_up(source: Path, tokenizers: Tokenizers, tmp_path: Path) -> None:
    path = chats(source)
    kept = interrupted(path, tmp_path / "cut", tokenizers)
    assert len(kept) == 2
    kept[0].write_bytes(kept[1].read_bytes())                           # seen in the shard if it is read
    import_sources([path], tmp_path / "cut", tokenizers, "chat")
    import_sources([path], tmp_path / "whole", tokenizers, "chat")
    cut, whole = (Shard.load(tmp_path / name / "chat").items for name in ("cut", "whole"))
    assert cut == whole[3:6] + whole[3:]
    assert not (tmp_path / "cut" / ".chat-encoded").exists()


@pytest.mark.parametrize("change", ["nothing", "picture", "line"])
def test_what_has_changed_since_is_encoded_anew(
    change: str, source: Path, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    path = chats(source)
    interrupted(path, tmp_path / "cut", tokenizers)
    if change == "picture":
        Image.new("RGB", (30, 40), "red").save(source / "owl.png")
    elif change == "line":
        path.write_text(path.read_text().replace("What is 1?", "Who is 1?"))
    for name in ("cut", "whole"):
        import_sources([path], tmp_path / name, tokenizers, "chat")
    assert checksums(tmp_path / "cut") == checksums(tmp_path / "whole")


def test_a_bad_record_that_was_mended_is_read_again(source: Path, tokenizers: Tokenizers, tmp_path: Path) -> None:
    path, whole = chats(source), (source / "owl.wav").read_bytes()
    (source / "owl.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match=r"chats\.jsonl, line 3: "):
        import_sources([path], tmp_path, tokenizers, "chat")
    (source / "owl.wav").write_bytes(whole)
    done = import_sources([path], tmp_path, tokenizers, "chat")
    assert done == Imported(COUNT, len(Shard.load(tmp_path / "chat").tokens))


@pytest.mark.slow
def test_the_first_bad_record_is_named_whoever_finds_it(
    source: Path, tokenizers: Tokenizers, tmp_path: Path
) -> None:
    path = chats(source)
    path.write_text(path.read_text().replace("owl.wav", "gone.wav"))
    for workers in (1, 2):
        with open_engine("local", workers) as hands:
            with pytest.raises(InputError, match=r"chats\.jsonl, line 3: .*gone\.wav"):
                import_sources([path], tmp_path, tokenizers, "chat", hands=hands)
            done = import_sources([path], tmp_path, tokenizers, "chat", skip_bad=True, hands=hands)
        assert (done.bad, done.sequences) == (COUNT // 3, COUNT - COUNT // 3)
