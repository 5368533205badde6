"""Pictures that clients send: the model is given what it would have been, without holding up others."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from talking import Talking, text

from omni.live.protocol.items import SIDE, picture, with_small_pictures
from omni.tokenizers.image.pixels import fit


def url(image: Image.Image, kind: str, **how: Any) -> str:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def photo(mode: str, kind: str) -> tuple[Image.Image, str]:
    """A large picture of soft spots, and its data URL."""
    spots = np.random.default_rng(0).integers(0, 255, (9, 12, 4), dtype=np.uint8)
    image = Image.fromarray(spots).resize((1600, 1200), Image.Resampling.BICUBIC).convert(mode)
    return image, url(image, kind)


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("L", "PNG"), ("1", "PNG")])
def test_a_large_picture_is_made_small_and_looks_the_same_to_the_model(mode: str, kind: str) -> None:
    image, given = photo(mode, kind)
    found = picture(given, "here")
    assert found.shape == (384, SIDE, 3)
    seen, wanted = (np.asarray(fit(each, 64), np.float32) for each in (Image.fromarray(found), image))
    assert np.abs(seen - wanted).mean() < (3 if kind == "JPEG" else 1)


def test_a_picture_that_was_held_upright_stays_so() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6                                                    # to be turned by 90 degrees
    assert picture(url(photo("RGB", "JPEG")[0], "JPEG", exif=exif), "here").shape == (SIDE, 384, 3)


def test_an_event_keeps_all_but_the_size_of_its_pictures() -> None:
    given = photo("RGB", "PNG")[1]
    content = [{"type": "input_image", "image_url": given, "detail": "low"}, {"type": "input_text", "text": "what?"}]
    event = {"type": "conversation.item.create", "event_id": "e", "item": {"role": "user", "content": content}}
    found = json.loads(with_small_pictures(json.dumps(event)))
    small = found["item"]["content"][0].pop("image_url")
    assert np.array_equal(picture(small, ""), picture(given, ""))
    del content[0]["image_url"]
    assert found == event


@pytest.mark.parametrize("address", ["https://x.example/a.png", "data:image/png;base64,AAAA", 7])
def test_what_is_wrong_is_left_for_the_session_to_tell(address: object) -> None:
    text = json.dumps({"type": "conversation.item.create", "item": {"type": "input_image", "image_url": address}})
    assert with_small_pictures(text) == text
    assert with_small_pictures(text[:-1]) == text[:-1]


def test_a_picture_is_not_sent_back(talking: Talking) -> None:
    """Twice a photo is more than may wait for a client, which would then be thrown out for reading too slowly."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    item = text("What is this?", id="photo")
    item["content"].insert(0, {"type": "input_image", "image_url": url, "detail": "low"})
    events = talking.say("conversation.item.create", item=item)
    events += talking.say("conversation.item.retrieve", item_id="photo")
    assert [event["type"].rpartition(".")[2] for event in events] == ["added", "done", "retrieved"]
    assert len(url) > 3_000_000 > 5000 > len(json.dumps(events))
    assert all(event["item"]["content"][0] == {"type": "input_image", "detail": "low"} for event in events)
