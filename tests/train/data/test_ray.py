"""A Ray cluster of two nodes on loopback: both work, and what they write has the checksums of one process here."""

import json
import math
from pathlib import Path

import pytest

from omni.errors import InputError
from omni.files import sha256
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.engines import open_engine

pytest.importorskip("ray", reason="Ray is not installed: pip install 'omni[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_nodes")]

WHICH_NODE = "__import__('time').sleep(0.05) or __import__('ray').get_runtime_context().get_node_id()"


def checksums(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_results_keep_their_order_and_come_from_both_nodes() -> None:
    with open_engine("ray") as engine:
        assert list(engine.map(math.sqrt, range(100))) == [math.sqrt(job) for job in range(100)]
        nodes: set[str] = set()
        for _ in range(30):                                             # the second node starts its worker late
            nodes |= set(engine.map(eval, [WHICH_NODE] * 40))
            if len(nodes) == 2:
                break
        assert len(nodes) == 2
        with pytest.raises(ValueError, match="invalid literal"):
            list(engine.map(int, ["1", "x"]))


def test_prepared_data_are_the_same(stamps_cache: Path, tmp_path: Path) -> None:
    from omni.train.data.fetch import read_specs
    from omni.train.data.prepare import prepare

    specs, made = read_specs(["stamps", "prompts"]), {}
    for engine, workers in (("local", 1), ("ray", 0)):
        folder = prepare(specs, stamps_cache, tmp_path / engine, 16, workers, engine).folder
        made[engine] = checksums(folder)
        for part in (stamps_cache / "parts").glob("*/part.json"):
            part.unlink()
    assert made["local"] == made["ray"] and "audio.npy" in made["ray"]


def test_token_shards_are_the_same(
    prepared: Path, tokenizers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways to them: prepared items, and somebody's conversations."""
    from omni.train.data.items import Manifest
    from omni.train.data.sources import imports
    from omni.train.tasks import build, directions
    from omni.train.tasks.build import Choice, build_shards

    monkeypatch.setattr(build, "ITEMS", 2)
    monkeypatch.setattr(directions, "TASKS", directions.TASKS[:3])      # caption, draw, say
    monkeypatch.setattr(imports, "RECORDS", 10)
    with (tmp_path / "chats.jsonl").open("w", encoding="utf-8") as lines:
        for number in range(60):
            turns = [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": "yes"}]
            lines.write(json.dumps({"messages": turns}) + "\n")
    made, bundle = {}, Tokenizers.load(tokenizers)
    for name, workers in (("local", 1), ("ray", 0)):
        out = tmp_path / name
        with open_engine(name, workers) as hands:
            imports.import_sources([tmp_path / "chats.jsonl"], out / "mine", bundle, "chat", hands=hands)
            build_shards(Manifest.load(prepared), bundle, out / "items", Choice(max_steps=1000), hands)
        made[name] = checksums(out)
    assert made["local"] == made["ray"] and len(made["ray"]) > 70


@pytest.mark.parametrize("address", ["127.0.0.1:1", "somewhere"])
def test_a_cluster_that_does_not_answer_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=rf"^RAY_ADDRESS={address}: no Ray cluster answers"), open_engine("ray"):
        pass
