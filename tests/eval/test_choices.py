"""Forced choice scores answers in the form in which the model was taught to give them."""

from pathlib import Path

import numpy as np
import pytest

from omni.eval.quick import choices
from omni.eval.quick.examples import examples
from omni.sequence import Sequence as Stream
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.spelling import with_words
from omni.tokenizers.bundle import Tokenizers
from omni.train.data.items import Manifest
from omni.train.data.shards import Shard
from omni.train.tasks.build import Choice, build_shards, languages_of
from omni.train.tasks.codes import Codes, opened
from omni.train.tasks.templates import TASKS


@pytest.mark.slow
@pytest.mark.parametrize("spelt", [False, True])
def test_what_is_scored_is_what_was_taught(
    prepared: Path, tokenizers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelt: bool
) -> None:
    bundle, manifest = Tokenizers.load(tokenizers), Manifest.load(prepared)
    assert isinstance(bundle.audio, Codec)
    if spelt:
        bundle.audio = with_words(bundle.audio, "abcdefghijklmnopqrstuvwxyz ")
    bundle.save(tmp_path / "tokenizers")
    vocab = build_shards(manifest, bundle, tmp_path / "shards", Choice(max_steps=1000))
    codes = Codes(tmp_path / "shards" / "codes", opened(prepared, tmp_path / "tokenizers")[1])
    scored: list[Stream] = []
    monkeypatch.setattr(choices, "log_likelihoods", lambda _, streams: np.zeros(len(scored.extend(streams) or streams)))
    held_out = [item for item in manifest.items if item.split == "valid"]
    for task in TASKS:
        if not (tmp_path / "shards" / "valid" / task.name).is_dir() or task.aloud:
            continue
        shard = Shard.load(tmp_path / "shards" / "valid" / task.name)
        taught = {shard.sequence(number).ids.tobytes() for number in range(len(shard))}
        for example in examples(task, held_out, languages_of(manifest), 0):
            choices.choose(None, vocab, codes, [example])  # type: ignore[arg-type]
        assert scored and {stream.ids.tobytes() for stream in scored} <= taught, task.name
        scored.clear()
