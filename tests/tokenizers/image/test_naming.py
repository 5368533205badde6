from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from omni.errors import InputError
from omni.tokenizers.image import naming
from omni.tokenizers.image.autoencoder import ImageConfig, ImageTokenizer
from omni.tokenizers.image.naming import Lessons, Named, Plan, names_in, tags_of, train_tags, with_tags
from omni.tokenizers.image.pixels import to_pixels
from omni.tokenizers.image.tags import TAGS_A_PICTURE
from omni.tokenizers.image.training import train_image_tokenizer

CONFIG = ImageConfig(32, 8, (4, 4), width=16, fine_width=8, encoder_layers=1, decoder_layers=1, fine_layers=0)
COLOURS = {"red": (220, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 220), "black": (0, 0, 0)}
SHAPES = ("square", "bar", "post", "frame")
NAMES = tuple(f"name{number}" for number in range(16))
PLAN = Plan(batch=32, warmup=10, save_every=0.0)


def tokenizer() -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer(CONFIG).eval()


def shapes(count: int, seed: int) -> Named:
    """Coloured shapes on white, under both names and some that everything has."""
    chance = np.random.default_rng(seed)
    pictures, names = np.full((count, 32, 32, 3), 255, np.uint8), []
    for picture in pictures:
        colour, shape = chance.choice(list(COLOURS)), chance.choice(SHAPES)
        tall, wide = {"square": (20, 20), "bar": (6, 24), "post": (24, 6), "frame": (24, 24)}[shape]
        top, left = (32 - tall) // 2, (32 - wide) // 2
        picture[top : top + tall, left : left + wide] = COLOURS[colour]
        if shape == "frame":
            picture[top + 5 : top + tall - 5, left + 5 : left + wide - 5] = 255
        names.append(frozenset({colour, shape, *(f"thing{number}" for number in range(6))}))
    return Named(pictures, names)


def test_a_picture_begins_with_different_tags_and_is_painted_without_them() -> None:
    plain, tagged = tokenizer(), with_tags(tokenizer(), NAMES).eval()
    pixels = to_pixels(shapes(6, 0).pictures)
    codes = tagged.encode(pixels)
    assert codes.shape == (6, TAGS_A_PICTURE + 16) and tagged.tokens == TAGS_A_PICTURE + plain.tokens
    tags, painted = codes[:, :TAGS_A_PICTURE] - plain.codebook_size, codes[:, TAGS_A_PICTURE:]
    assert torch.equal(painted, plain.encode(pixels))
    assert int(tags.min()) >= 0 and int(tags.max()) < len(NAMES) == tagged.codebook_size - plain.codebook_size
    assert all(len(set(row.tolist())) == TAGS_A_PICTURE for row in tags)
    assert torch.equal(tagged.decode(codes), plain.decode(painted))
    with pytest.raises(ValueError, match="must be tags"):
        tagged.decode(codes.flip(1))                                    # something painted where a name should be


def test_what_is_shown_is_named_from_pictures_never_seen(tmp_path: Path) -> None:
    tagged = train_tags(tokenizer(), shapes(240, 1), tmp_path / "out", steps=90, plan=replace(PLAN, batch=64))
    again = ImageTokenizer.load(tmp_path / "out")
    assert again.fingerprint == tagged.fingerprint and again.tagger is not None
    fresh = shapes(60, 2)
    scores = again.tagger(to_pixels(fresh.pictures))
    number = {name: index for index, name in enumerate(again.tagger.names)}
    for group in (tuple(COLOURS), SHAPES):
        own = scores[:, [number[name] for name in group]].argmax(1).tolist()
        right = [group[index] in names for index, names in zip(own, fresh.names, strict=True)]
        assert np.mean(right) > 0.8
    said = again.names(again.encode(to_pixels(fresh.pictures[:1]))[0])
    assert len(set(said)) == TAGS_A_PICTURE and set(said) & fresh.names[0]


def test_a_training_that_was_cut_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "LOG_EVERY", 1)                         # saved after every step
    named = shapes(40, 3)
    whole = train_tags(tokenizer(), named, tmp_path / "whole", steps=4, plan=PLAN)
    steps = naming._step

    def cut(run: naming.Run, *rest: Any) -> dict[str, float]:
        if run.step == 2:
            raise KeyboardInterrupt
        return steps(run, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(naming, "_step", cut)
        with pytest.raises(KeyboardInterrupt):
            train_tags(tokenizer(), named, tmp_path / "cut", steps=4, plan=PLAN)
    assert train_tags(tokenizer(), named, tmp_path / "cut", steps=4, plan=PLAN).fingerprint == whole.fingerprint
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(InputError, match="another"):
        train_tags(tokenizer(), named, tmp_path / "cut", steps=5, plan=PLAN)


def test_sides_are_where_the_picture_went() -> None:
    named = shapes(256, 4)
    lessons = Lessons(named, tags_of(named.names), replace(PLAN, batch=256), seed=0)
    pixels, targets = lessons(0)
    dark = 1 - pixels.mean(1)                                           # [batch, height, width]
    dark = torch.where(dark > 0.4, dark, 0.0)
    across = (dark.sum(1) * torch.linspace(-1, 1, 32)).sum(1) / dark.sum((1, 2))  # the middle of what is dark
    left, right = targets[:, 0] > 0, targets[:, 1] > 0
    assert int(left.sum()) > 3 and int(right.sum()) > 3 and not bool((left & right).any())
    assert float(across[left].max()) < 0 < float(across[right].min())


def test_names_are_words_that_name_something_and_plurals_count_as_one() -> None:
    assert names_in(["A yellow hat, of 2 colours."]) == {"yellow", "hat", "colours"}
    tags = tags_of([frozenset({"hats", "red"})] * 3 + [frozenset({"hat", "rare"})])
    assert tags == ("left", "right", "top", "bottom", "hat")


def test_what_cannot_be_learnt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only"):
        train_tags(tokenizer(), Named(shapes(8, 0).pictures, [frozenset({"one"})] * 8), tmp_path, steps=1)
    with pytest.raises(InputError, match="already"):
        train_tags(with_tags(tokenizer(), NAMES), shapes(40, 0), tmp_path, steps=1)
    with pytest.raises(InputError, match="apart"):
        train_image_tokenizer(shapes(4, 0).pictures, replace(CONFIG, tags=NAMES), tmp_path, steps=1)
    with pytest.raises(InputError, match="different names"):
        replace(CONFIG, tags=("a",) * 20)
    assert not list(tmp_path.iterdir())
