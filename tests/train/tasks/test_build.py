"""Token shards are the same whatever works on them, and taken up again where the work was stopped."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

from omni.errors import InputError
from omni.files import sha256
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.audio.pretrained import PretrainedCodec
from omni.tokenizers.audio.spelling import with_words
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.train.data.engines import Here, open_engine
from omni.train.data.items import Manifest
from omni.train.data.shards import Shard
from omni.train.tasks import build, codes
from omni.train.tasks.build import Choice, build_shards
from omni.train.tasks.codes import Codes, checked, encode_piece
from omni.vocab import Vocabulary

CHOICE = Choice(max_steps=1000)


@pytest.fixture(autouse=True)
def _many_small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "ITEMS", 2)
    monkeypatch.setattr(build, "CLIPPED_ITEMS", 2)
    monkeypatch.setattr(codes, "PICTURE_BATCH", 4)
    monkeypatch.setattr(codes, "AUDIO_BATCH_SECONDS", 5.0)


def checksums(out: Path) -> dict[str, str]:
    return {str(path.relative_to(out)): sha256(path) for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_shards_are_the_same_from_one_process_and_from_two(prepared: Path, tokenizers: Path, tmp_path: Path) -> None:
    made = {}
    for workers in (1, 2):
        with open_engine("local", workers) as hands:
            out = tmp_path / str(workers)
            build_shards(Manifest.load(prepared), Tokenizers.load(tokenizers), out, CHOICE, hands)
        made[workers] = checksums(out)
    assert made[1] == made[2] and "train/caption/tokens.npy" in made[1] and "codes/audio.npy" in made[1]
    assert not list(tmp_path.rglob(".tokenizers-*")) and not list(tmp_path.rglob("codes-*"))


@pytest.mark.slow
def test_what_is_heard_is_written_letter_by_letter_and_nothing_else_is(
    prepared: Path, tokenizers: Path, tmp_path: Path
) -> None:
    bundle, manifest = Tokenizers.load(tokenizers), Manifest.load(prepared)
    assert isinstance(bundle.audio, Codec) and bundle.text is not None
    for spelt in (False, True):
        if spelt:
            bundle.audio = with_words(bundle.audio, "abcdefghijklmnopqrstuvwxyz ")
        vocab = build_shards(manifest, bundle, out := tmp_path / str(spelt), CHOICE)
        for task in ("transcribe", "translate_speech"):
            shard = Shard.load(out / "train" / task)
            written = [text_of(shard.sequence(number).ids[:, 0], vocab) for number in range(len(shard))]
            pieces = bundle.text.encode if not spelt or task != "transcribe" else bundle.text.encode_letters
            assert written and all(codes == pieces(bundle.text.decode(codes)) for codes in written)


@pytest.mark.slow
def test_a_codec_that_others_trained_hears_recordings_at_its_own_rate(
    prepared: Path, tokenizers: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig(hidden_size=16, num_filters=4, codebook_size=32, target_bandwidths=[0.75, 1.5]))
    bundle, manifest = Tokenizers.load(tokenizers), Manifest.load(prepared)
    bundle.audio = PretrainedCodec(model)
    build_shards(manifest, bundle, tmp_path, CHOICE)
    kept = Codes(tmp_path / "codes", checked(bundle))
    for recording in manifest.items[0].recordings:
        heard = torch.from_numpy(soxr.resample(manifest.wave(recording), manifest.sample_rate, 24000))
        expected = bundle.audio.encode(heard[None])[0]                  # [75, codebooks]
        assert torch.equal(torch.tensor(kept.recording(recording)).long(), expected) and len(expected) == 75


@pytest.mark.slow
def test_a_codec_that_hears_what_comes_hears_each_recording_alone(
    prepared: Path, tokenizers: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    shape: Any = {"encoder_hidden_size": 4, "decoder_hidden_size": 64, "codebook_size": 256, "codebook_dim": 4}
    bundle, manifest = Tokenizers.load(tokenizers), Manifest.load(prepared)
    bundle.audio = PretrainedCodec(DacModel(DacConfig(**shape)))
    manifest.items = tuple(replace(item, recordings=tuple(
        replace(one, length=one.length - 700 * number) for one in item.recordings
    )) for number, item in enumerate(manifest))  # fmt: skip
    kept = Codes.of(manifest, bundle, ["stamps"], ["en", "fr"], tmp_path / "codes")
    for recording in (one for item in manifest for one in item.recordings):
        expected = bundle.audio.encode(torch.from_numpy(manifest.wave(recording))[None])[0]
        assert torch.equal(torch.tensor(kept.recording(recording)).long(), expected)


def test_pictures_of_another_size_than_the_tokenizer_wants_are_refused(
    prepared: Path, tokenizers: Path, tmp_path: Path
) -> None:
    bundle = Tokenizers.load(tokenizers)
    bundle.image = ImageTokenizer(replace(ImageConfig.preset("quick"), picture_size=32))
    with pytest.raises(InputError, match=r"pictures of 64 pixels, but the tokenizer wants 32; run .*--picture-size 32"):
        build_shards(Manifest.load(prepared), bundle, tmp_path / "out", CHOICE)


def text_of(first: np.ndarray, vocab: Vocabulary) -> list[int]:
    """Text codes that the assistant wrote."""
    opens, closes = (np.flatnonzero(first == vocab.control(name))[-1] for name in ("<text>", "</text>"))
    return (first[opens + 1 : closes] - vocab["text"].start).tolist()


@pytest.mark.slow
def test_encoded_pieces_are_not_encoded_again(prepared: Path, tokenizers: Path, tmp_path: Path) -> None:
    class Stopped(Here):
        """Ctrl-C in the second piece."""

        def map(self, work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
            yield work(next(iter(jobs)))
            raise KeyboardInterrupt

    manifest, bundle = Manifest.load(prepared), Tokenizers.load(tokenizers)
    with pytest.raises(KeyboardInterrupt):
        build_shards(manifest, bundle, tmp_path / "cut", CHOICE, Stopped())
    (piece,) = (tmp_path / "cut").glob("codes-*/pictures-*.npy")
    before = piece.stat().st_mtime_ns
    done: list[int] = []

    class Watching(Here):
        def map(self, work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
            for result in map(work, jobs):
                if work is encode_piece and result == piece:
                    done.append(piece.stat().st_mtime_ns)
                yield result

    build_shards(manifest, bundle, tmp_path / "cut", CHOICE, Watching())
    build_shards(manifest, bundle, tmp_path / "whole", CHOICE)
    assert done == [before]
    assert checksums(tmp_path / "cut") == checksums(tmp_path / "whole")
