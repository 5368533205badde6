from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import omni
from omni.decode.conversation import Conversation
from omni.decode.pieces import FRAMES
from omni.decode.pipeline import Pipeline
from omni.vocab import LAYOUTS


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("frames", [1, 2, 5, 17, 30])
def test_sound_comes_by_the_frame_at_first_and_is_that_of_all_its_codes(
    models: Callable[..., Path], layout: str, frames: int
) -> None:
    pipeline = Pipeline.load(models(layout))
    codec = pipeline.tokenizers.audio
    assert codec is not None
    conversation = Conversation(pipeline, ["audio"], max_seconds=frames / codec.frame_rate)
    pieces = [piece for piece in conversation.say([omni.Text("say something")]) if piece.audio is not None]
    (said,) = [segment for segment in conversation.turns[-1] if segment.role == "assistant"]
    lengths = [piece.codes // codec.codebooks for piece in pieces]
    assert sum(lengths) == len(said.codes)
    assert set(lengths[:FRAMES]) <= {1} and max(lengths) <= FRAMES      # whoever waits hears the first at once
    assert len(said.codes) < 25 or FRAMES in lengths
    whole, _ = codec.decode_stream(torch.from_numpy(said.codes)[None], codec.start(1))
    sound = np.concatenate([piece.audio for piece in pieces if piece.audio is not None])
    np.testing.assert_allclose(sound, whole[0].numpy(), rtol=1e-4, atol=1e-5)
