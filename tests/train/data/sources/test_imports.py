"""Sources written by the libraries that users write them with; what is read back, segment by segment."""

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from omni.cli import main
from omni.errors import InputError
from omni.tokenizers.audio.wavefile import read_wave
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.pixels import read_picture
from omni.train.data.shards import Shard
from omni.train.data.sources.imports import import_sources
from omni.vocab import Vocabulary

Said = tuple[str, str, Any]                                             # role, modality, text or codes


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def answer(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def read_back(shard: Shard, tokenizers: Tokenizers) -> list[list[Said]]:
    """Every conversation; and that loss is on the assistant's words alone."""
    assert tokenizers.text is not None
    found = []
    for number in range(len(shard)):
        sequence = shard.sequence(number)
        segments = sequence.segments(shard.vocab)
        codes = sum(len(s.codes) * (s.role == "assistant") for s in segments)
        controls = sum(s.role == "assistant" for s in segments)         # each closes, and each turn ends
        turns = sum(a.role == "assistant" and b != "assistant"
                    for a, b in zip(segments, [*(s.role for s in segments[1:]), ""], strict=True))  # fmt: skip
        assert sequence.loss.sum() == codes + controls + turns
        said: list[Said] = []
        for one in segments:
            what = tokenizers.text.decode(one.codes.tolist()) if one.modality == "text" else one.codes.tolist()
            said.append((one.role, one.modality, what))
        found.append(said)
    return found


def picture(source: Path, tokenizers: Tokenizers) -> list[int]:
    assert tokenizers.image is not None
    with torch.inference_mode():
        pixels = read_picture(source / "owl.png", tokenizers.image.picture_size)
        return list(tokenizers.image.encode(pixels[None])[0].tolist())


def sound(source: Path, tokenizers: Tokenizers) -> list[list[int]]:
    assert tokenizers.audio is not None
    with torch.inference_mode():
        wave = torch.from_numpy(read_wave(source / "owl.wav", tokenizers.audio.sample_rate))
        return list(tokenizers.audio.encode(wave[None])[0].tolist())


def imported(path: Path, tokenizers: Tokenizers, **more: Any) -> list[list[Said]]:
    out = path.parent / "shards"
    import_sources([path], out, tokenizers, "chat", **more)
    return read_back(Shard.load(out / "chat", verify=True), tokenizers)


def test_lines_of_messages(source: Path, tokenizers: Tokenizers) -> None:
    wave = base64.b64encode((source / "owl.wav").read_bytes()).decode()
    png = "data:image/png;base64," + base64.b64encode((source / "owl.png").read_bytes()).decode()
    records = [
        {"messages": [user("What is this?"), answer("An owl — 🦉."), user("Really?"), answer("Yes.")]},
        {"messages": [{"role": "system", "content": ""}, user([
            {"type": "image", "path": "owl.png"}, {"type": "text", "text": "Say it."},
            {"type": "input_audio", "input_audio": {"data": wave, "format": "wav"}},
        ]), answer([{"type": "audio", "path": "owl.wav"}])]},
        {"messages": [{"role": "developer", "content": "Be brief."},
                      user([{"type": "image_url", "image_url": {"url": png}}]), answer("Owl.")]},
        {"text": "Owl.", "image": "owl.png"},
    ]  # fmt: skip
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    (source / "chats.jsonl").write_text("\n\n".join(lines), encoding="utf-8")
    image, heard = ("user", "image", picture(source, tokenizers)), sound(source, tokenizers)
    assert imported(source / "chats.jsonl", tokenizers) == [
        [("user", "text", "What is this?"), ("assistant", "text", "An owl — 🦉."),
         ("user", "text", "Really?"), ("assistant", "text", "Yes.")],
        [image, ("user", "text", "Say it."), ("user", "audio", heard), ("assistant", "audio", heard)],
        [("system", "text", "Be brief."), image, ("assistant", "text", "Owl.")],
        [image, ("assistant", "text", "Owl.")],
    ]  # fmt: skip
    shard = Shard.load(source / "shards" / "chat")
    assert shard.items == [f"chats.jsonl, line {number}" for number in (1, 3, 5, 7)]
    assert Vocabulary.load(source / "shards" / "vocab.json") == shard.vocab


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_the_assistant_says_is_asked_for_in_its_language_and_voice(
    source: Path, tokenizers: Tokenizers, form: str
) -> None:
    told = [user("Dis."), answer([{"type": "text", "text": "Oui."}, {"type": "audio", "path": "owl.wav"}])]
    rows = [{"messages": told, "language": "fr_FR", "voice": "clara"}]
    rows += [{"messages": told, "language": None, "voice": None}]
    path = source / f"chats.{form}"
    if form == "parquet":
        datasets.Dataset.from_list([{**row, "messages": json.dumps(row["messages"])} for row in rows]).to_parquet(path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    Vocabulary.of(tokenizers, ["en", "fr"], voices=["clara"]).save(source / "vocab.json")
    import_sources([path], source / "train", tokenizers, "chat")
    shard = Shard.load(source / "train" / "chat")
    tags = [[(s.language, s.voice) for s in shard.sequence(n).segments(shard.vocab)] for n in (0, 1)]
    assert tags == [[(None, None), ("fr", None), ("fr", "clara")], [(None, None)] * 3]

    path.unlink()
    (source / "other.jsonl").write_text(json.dumps({"messages": told, "language": "sw"}))
    with pytest.raises(InputError, match=r"other.jsonl, line 1: .*no <2sw>; its languages are en, fr"):
        import_sources([source / "other.jsonl"], source / "train", tokenizers, "other")


@pytest.mark.parametrize("packing", ["tar", "tar.gz"])
def test_archives_of_samples(source: Path, tokenizers: Tokenizers, packing: str) -> None:
    png, wav = (source / "owl.png").read_bytes(), (source / "owl.wav").read_bytes()
    messages = {"messages": [user([{"type": "audio", "path": "c.wav"}]), answer([{"type": "image", "path": "c.png"}])]}
    members = {
        "x/a.png": png, "x/a.txt": b"An owl.\n", "x/b.json": b'{"caption": "Hoo.", "width": 3}', "x/b.wav": wav,
        "x/c.json": json.dumps(messages).encode(), "x/c.wav": wav, "x/c.png": png,
    }  # fmt: skip
    pack(source / f"samples.{packing}", members)
    image, heard = picture(source, tokenizers), sound(source, tokenizers)
    assert imported(source / f"samples.{packing}", tokenizers) == [
        [("user", "image", image), ("assistant", "text", "An owl.")],
        [("user", "audio", heard), ("assistant", "text", "Hoo.")],
        [("user", "audio", heard), ("assistant", "image", image)],
    ]


def pack(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("kind", ["saved", "parquet", "jsonl"])
def test_folders_of_the_datasets_library(source: Path, tokenizers: Tokenizers, kind: str) -> None:
    chats = [[user(f"What is {n}?"), answer(f"Number {n}.")] for n in range(70)]
    made = datasets.Dataset.from_dict({"messages": chats, "score": list(range(70))})
    folder = source / "data"
    if kind == "saved":
        made.save_to_disk(folder, num_shards=3)
    else:
        folder.mkdir()
        for part in range(2):
            path = folder / f"train-0000{part}-of-00002.{kind}"
            chunk = made.shard(2, part, contiguous=True)
            chunk.to_parquet(path) if kind == "parquet" else chunk.to_json(path)
    expected = [[("user", "text", f"What is {n}?"), ("assistant", "text", f"Number {n}.")] for n in range(70)]
    assert imported(folder, tokenizers) == expected


@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_columns_of_pictures_and_recordings(source: Path, tokenizers: Tokenizers, kind: str) -> None:
    png, wav = (source / "owl.png").read_bytes(), (source / "owl.wav").read_bytes()
    rows = {
        "caption": ["An owl.", "Hoo."],
        "image": [{"bytes": png, "path": "owl.png"}, None],
        "audio": [None, {"bytes": wav, "path": None}],
    }
    sounds = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}  # what datasets.Audio stores
    features = datasets.Features({"caption": datasets.Value("string"), "image": datasets.Image(), "audio": sounds})
    made = datasets.Dataset.from_dict(rows, features)
    path = source / "data" / "part.parquet"
    path.parent.mkdir()
    made.save_to_disk(source / "data") if kind == "saved" else made.to_parquet(path)
    assert imported(source / "data", tokenizers) == [
        [("user", "image", picture(source, tokenizers)), ("assistant", "text", "An owl.")],
        [("user", "audio", sound(source, tokenizers)), ("assistant", "text", "Hoo.")],
    ]


BAD = [
    ("{", "not valid JSON"),
    ("[1]", "not an object"),
    ('{"messages": []}', "not a list of messages"),
    (json.dumps({"messages": [user("hello")]}), "the assistant says nothing"),
    (json.dumps({"messages": [user(""), answer("x")]}), "message 1: says nothing"),
    (json.dumps({"messages": [{"role": "tool", "content": "x"}]}), "message 1: role 'tool' is not one of"),
    (json.dumps({"messages": [answer([{"type": "video"}])]}), "a part of type 'video'"),
    (json.dumps({"text": "x", "image": "../secret.png"}), "leads out of the source's folder"),
    (json.dumps({"text": "x", "image": "/etc/passwd"}), "leads out of the source's folder"),
    (json.dumps({"text": "x", "image": "link.png"}), "leads out of the source's folder"),
    (json.dumps({"text": "x", "image": "https://example.org/owl.png"}), "download it beforehand"),
    (json.dumps({"text": "x", "image": "missing.png"}), "no such file"),
    (json.dumps({"text": "x", "image": "owl.wav"}), "not a picture"),
    (json.dumps({"text": "x", "audio": "data:audio/wav;base64,%%"}), "not valid base64"),
    ("[" * 100_000, "not valid JSON"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_bad_record_is_named(
    source: Path, tokenizers: Tokenizers, line: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (source.parent / "secret.png").write_bytes((source / "owl.png").read_bytes())
    (source / "link.png").symlink_to(source.parent / "secret.png")
    good = json.dumps({"messages": [user("a"), answer("b")]})
    (source / "chats.jsonl").write_text(f"{good}\n{line}\n{good}\n")
    out = source / "shards"
    with pytest.raises(InputError) as refused:
        import_sources([source / "chats.jsonl"], out, tokenizers, "chat")
    message = str(refused.value)
    assert message.startswith("chats.jsonl, line 2: ") and reason in message and "\n" not in message
    assert not (out / "chat").exists()
    done = import_sources([source / "chats.jsonl"], out, tokenizers, "chat", skip_bad=True)
    assert (done.sequences, done.bad, len(Shard.load(out / "chat"))) == (2, 1, 2)
    assert "left out chats.jsonl, line 2: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "reason"),
    [("", "holds no record"), ("\n\n", "holds no record"), ("{\n[1]\n", "none of 2 records is good")],
)
def test_a_source_without_a_record_is_named(source: Path, tokenizers: Tokenizers, lines: str, reason: str) -> None:
    empty, out = source / "empty.jsonl", source / "shards"
    empty.write_text(lines)
    with pytest.raises(InputError) as refused:
        import_sources([empty], out, tokenizers, "chat", skip_bad=True)
    assert str(refused.value).startswith(f"{empty}: {reason}; ") and "\n" not in str(refused.value)
    assert not (out / "chat").exists()
    with pytest.raises(InputError, match=f"^{empty} and 1 more: "):
        import_sources([empty, empty], out, tokenizers, "chat", skip_bad=True)


def test_damaged_files_give_what_stands_before_the_damage(source: Path, tokenizers: Tokenizers) -> None:
    pack(source / "a.tar", {f"{n}.{end}": b"text" * 300 for n in range(9) for end in ("txt", "json2")})
    whole = (source / "a.tar").read_bytes()
    (source / "a.tar").write_bytes(whole[: len(whole) // 2 + 700])
    (source / "b.parquet").write_bytes(b"PAR1 no more")
    (source / "c.jsonl").write_text('{"text": "fine"}')
    for name in ("a.tar", "b.parquet"):
        with pytest.raises(InputError, match=rf"^{name}.*a damaged"):
            import_sources([source / name], source / "shards", tokenizers, "chat")
    done = import_sources([source], source.parent / "shards", tokenizers, "chat", skip_bad=True)
    assert done.bad == 2 and 1 < done.sequences < 9


def test_folders_that_hold_several_splits_are_refused(source: Path, tokenizers: Tokenizers) -> None:
    made = datasets.Dataset.from_dict({"text": ["a", "b"]})
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(source / "dict")
    for name in ("train", "test"):
        made.to_parquet(source / "files" / f"{name}-00000.parquet")
    for folder in ("dict", "files"):
        with pytest.raises(InputError, match="holds the splits test, train"):
            import_sources([source / folder], source / "shards", tokenizers, "chat")
    assert len(imported(source / "dict" / "train", tokenizers)) == 2


def test_the_token_space_of_the_shards_beside_it(source: Path, tokenizers: Tokenizers, tmp_path: Path) -> None:
    space = Vocabulary(text=300, codebooks=1, codebook_size=4096, image=4096, picture_tokens=64, languages=("fr",),
                       tokenizers=tokenizers.fingerprint)  # fmt: skip
    space.save(tmp_path / "shards" / "vocab.json")
    (source / "a.jsonl").write_text('{"text": "fine"}')
    import_sources([source / "a.jsonl"], tmp_path / "shards" / "train", tokenizers, "chat")
    assert Shard.load(tmp_path / "shards" / "train" / "chat").vocab == space
    with pytest.raises(InputError, match="of other tokenizers"):
        import_sources([source / "a.jsonl"], tmp_path / "shards", Tokenizers(text=tokenizers.text), "chat")


def test_text_needs_a_text_tokenizer_alone(source: Path, tokenizers: Tokenizers) -> None:
    alone = Tokenizers(text=tokenizers.text)
    (source / "a.jsonl").write_text('{"text": "fine"}\n{"text": "x", "image": "owl.png"}')
    assert imported(source / "a.jsonl", alone, skip_bad=True) == [[("assistant", "text", "fine")]]
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: this model has no image tokenizer"):
        imported(source / "a.jsonl", alone)


def test_the_command(
    source: Path, tokenizers: Tokenizers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizers.save(tmp_path / "tokenizers")
    (source / "a.jsonl").write_text('{"text": "fine"}\nno')
    words = ["data", "import", str(source / "a.jsonl"), "--tokenizers", str(tmp_path / "tokenizers")]
    words += ["--out", str(tmp_path / "shards"), "--task", "books"]
    assert main(words) == 2
    assert "omni: a.jsonl, line 2: not valid JSON" in capsys.readouterr().err
    assert main([*words, "--skip-bad"]) == 0
    out = capsys.readouterr().out
    assert f"1 conversations of {len(Shard.load(tmp_path / 'shards' / 'books').tokens)} steps" in out
    assert "1 bad records left out" in out
    assert np.array_equal(Shard.load(tmp_path / "shards" / "books").index["item"], [0])
    assert main(["data", "import", str(tmp_path / "nothing"), *words[3:]]) == 2
    assert "no such file or folder" in capsys.readouterr().err
