"""What the door and the model say to each other arrives as it was said."""

import numpy as np

from omni.decode.parts import Audio, Picture, Text
from omni.decode.samplers import Sampler
from omni.live.engine import messages, wire

WAVE = np.linspace(-1, 1, 101, dtype=np.float32)
PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
SAID = [
    messages.Open("a"),
    messages.Hear("a", WAVE),
    messages.Hear("a", WAVE[:0]),
    messages.Began("a", "b", {"text": 3, "audio": 0}),
    messages.Said("a", "b", text="h\u00e9 \U0001f989\ud800", audio=WAVE, image=PIXELS),
    messages.Put("a", "b", (Text("x", "system"), Audio(WAVE, 16_000), Picture(PIXELS)), ""),
    messages.Answer("a", "b", messages.Ask(("text",), {"sampler": Sampler(top_p=0.9), "seed": 2**62}), None, parts=()),
    messages.Ended("a", "b", {"text": 3}, {}, True),
]


def equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(equal, one, other))
    if type(one) is not type(other):
        return False
    if not hasattr(one, "__dict__"):
        return one == other
    return all(equal(value, vars(other)[name]) for name, value in vars(one).items())


def test_messages_arrive_in_order_however_the_bytes_are_cut() -> None:
    sent, data, got = b"".join(map(wire.pack, SAID)), bytearray(), []
    for start in range(0, len(sent), 97):
        data += sent[start : start + 97]
        got += wire.whole(data)
    assert not data and all(equal(a, b) for a, b in zip(SAID, got, strict=True))
