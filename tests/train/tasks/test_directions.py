"""Translation by direction, and training on some of the items."""

import json
from pathlib import Path

import pytest

from omni.cli import main
from omni.errors import InputError
from omni.files import read_json
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.items import Item, Manifest
from omni.train.data.shards import Shard
from omni.train.tasks.build import Choice, build_shards, read_choice
from omni.train.tasks.directions import direction, tasks_by
from omni.train.tasks.templates import TASKS

LANGUAGES = ("br", "en", "fr", "pt", "pt-br")


def test_a_direction_is_one_pair_of_an_item_and_takes_the_place_of_translate() -> None:
    texts = {"en": "A bell", "fr": "Une cloche", "pt-br": "Um sino"}
    item = Item("bell", "catalogues", "train", texts, {}, (), (), "", "")
    tasks = {task.name: task for task in tasks_by(["en-fr", "pt-br-en", "en-fr"], LANGUAGES)}
    assert list(tasks) == [
        name for task in TASKS
        for name in (("translate_en-fr", "translate_pt-br-en") if task.name == "translate" else (task.name,))
    ]  # fmt: skip
    found = {name: list(tasks[f"translate_{name}"].examples(item, LANGUAGES, 0)) for name in ("en-fr", "pt-br-en")}
    ways = {name: [(given.language, wanted.language) for given, wanted in pairs] for name, pairs in found.items()}
    assert ways == {"en-fr": [("en", "fr")], "pt-br-en": [("pt-br", "en")]}
    assert tasks_by((), LANGUAGES) == TASKS


@pytest.mark.parametrize(
    ("name", "languages"), [("en-pt-br", ("en", "pt-br")), ("pt-br", ("pt", "br")), ("pt-br-en", ("pt-br", "en"))]
)
def test_languages_may_have_hyphens(name: str, languages: tuple[str, str]) -> None:
    assert direction(name, LANGUAGES) == languages


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("enfr", "direction 'enfr': must be two different languages, such as en-fr"),
        ("en-", "direction 'en-': must be two different languages, such as en-fr"),
        ("en-en", "direction 'en-en': must be two different languages, such as en-fr"),
        ("en-is", "direction 'en-is': no language 'is'; there are br, en, fr, pt, pt-br"),
        ("xx-en", "direction 'xx-en': no language 'xx'; there are br, en, fr, pt, pt-br"),
    ],
)
def test_what_is_no_direction_is_named(name: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        direction(name, LANGUAGES)
    assert str(raised.value) == said


def built(messages: Path, tokenizers: Path, out: Path, **choice: object) -> dict[str, Shard]:
    """The shards of messages to train on and held out."""
    made = Choice(sources=("catalogues",), **choice)  # type: ignore[arg-type]
    build_shards(Manifest.load(messages), Tokenizers.load(tokenizers), out, made)
    assert read_choice(out) == Choice(**{**vars(made), "languages": read_choice(out).languages})
    folders = [path.parent for path in out.glob("*/*/shard.json")]
    return {f"{folder.parent.name}/{folder.name}": Shard.load(folder) for folder in folders}


def test_shards_by_direction_hold_each_pair_once(messages: Path, tokenizers: Path, tmp_path: Path) -> None:
    shards = built(messages, tokenizers, tmp_path, directions=("en-fr", "en-is"))
    assert {name: len(shard) for name, shard in shards.items()} == {
        "train/translate_en-fr": 40, "train/translate_en-is": 5, "valid/translate_en-fr": 8, "valid/translate_en-is": 1,
        "test/translate_en-fr": 8, "test/translate_en-is": 1,
    }  # fmt: skip
    text, span = Tokenizers.load(tokenizers).text, shards["train/translate_en-is"].vocab["text"]
    assert text is not None
    for name in ("en-fr", "en-is"):
        said = shards[f"train/translate_{name}"].sequence(0).ids[:, 0]
        words = text.decode([int(code) - span.start for code in said if span.start <= code < span.stop])
        assert words == "en 0 " * 20 + f"{name[-2:]} 0 " * 20


@pytest.mark.parametrize("name", ["nope", ""])
def test_a_folder_without_shards_is_told_with_what_makes_them(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    with pytest.raises(InputError) as raised:
        read_choice(folder)
    told = f"{folder}: no token shards there, or not all of them; run `omni data tokenize --out {folder}`"
    assert str(raised.value) == told


def test_by_default_nothing_is_new(messages: Path, tokenizers: Path, tmp_path: Path) -> None:
    """One task for all languages, and a choice by which shards of an omni without directions are still known."""
    shards = built(messages, tokenizers, tmp_path)
    assert {name: len(shard) for name, shard in shards.items()} == {
        "train/translate": 35 * 2 + 5 * 6, "valid/translate": 7 * 2 + 6, "test/translate": 7 * 2 + 6
    }  # fmt: skip
    old = {"languages", "sources", "max_steps", "seed", "draws", "layout"}
    assert set(read_json(tmp_path / "choice.json")) == old
    assert set(read_json(tmp_path / "train" / "translate" / "built.json")) == old | {"data", "vocab", "tasks"}
    with pytest.raises(InputError, match=r"has translate already, by other directions; name another --out"):
        built(messages, tokenizers, tmp_path, directions=("en-fr",))


def test_fewer_items_are_some_of_more_and_held_out_ones_stay(
    messages: Path, tokenizers: Path, tmp_path: Path
) -> None:
    found = {}
    for most in (3, 7, 0):
        shards = built(messages, tokenizers, tmp_path / str(most), directions=("en-fr", "en-is"), items=most)
        names = {task: set(json.loads((shards[f"train/{task}"].folder / "items.json").read_text()))
                 for task in ("translate_en-fr", "translate_en-is")}  # fmt: skip
        held = {name: shard.fingerprint for name, shard in shards.items() if not name.startswith("train/")}
        found[most] = names, held
    few, more, whole = (found[most][0] for most in (3, 7, 0))
    for task, there in (("translate_en-fr", 40), ("translate_en-is", 5)):
        assert few[task] < more[task] <= whole[task] and len(whole[task]) == there
        assert (len(few[task]), len(more[task])) == (3, min(7, there))  # of those that have such a pair
    assert found[3][1] == found[7][1] == found[0][1] and len(found[0][1]) == 4
    assert few["translate_en-fr"] != {f"catalogues/{number}" for number in range(3)}  # drawn, not the first ones


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--items", "0"], "--items 0: must be 1 or more; leave it out for all"),
        (["--directions", "en-xx"], "direction 'en-xx': no language 'xx'; there are ca, de, en,"),
        (["--languages", "en", "fr", "--directions", "en-is"], "direction 'en-is': no language 'is'; there are en, fr"),
        (["--directions", "de-is"], "direction 'de-is': no item to train on has a text in both"),
    ],
)
def test_the_command_refuses_in_one_line(
    flags: list[str], said: str, messages: Path, tokenizers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(messages), "--tokenizers", str(tokenizers), "--out", str(tmp_path / "out")]
    assert main(["data", "tokenize", *words, "--workers", "1", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"omni: {said}") and not (tmp_path / "out").exists()
