import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspect_ai.model import (
    ChatMessageUser,
    Content,
    ContentAudio,
    ContentImage,
    ContentText,
    GenerateConfig,
    ModelOutput,
)
from inspect_ai.tool import ToolInfo

from omni.decode.parts import Audio, Picture, Text
from omni.decode.pipeline import Pipeline
from omni.errors import InputError
from omni.eval.inspected.messages import animation, instruction, parts, picture, read_picture, read_sound, sound
from omni.eval.inspected.provider import OmniModel
from omni.eval.inspected.wishes import body, wish

NOISE = np.random.default_rng(0).normal(0, 0.1, 3200).astype(np.float32)
PIXELS = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def provider(model: Path) -> OmniModel:
    return OmniModel(str(model))


def answers(provider: OmniModel, asked: list[list[Content]], config: GenerateConfig) -> list[ModelOutput]:
    async def together() -> list[ModelOutput]:
        return await asyncio.gather(
            *(provider.generate([ChatMessageUser(content=one)], [], "none", config) for one in asked)
        )

    return asyncio.run(together())


def settings(seed: int = 0, **wanted: Any) -> GenerateConfig:
    return GenerateConfig(extra_body={**body(**wanted), "max_seconds": 0.2}, max_tokens=4, seed=seed)


def test_text_sound_and_pictures_come_back_with_their_codes(provider: OmniModel) -> None:
    config = settings(want=("text", "audio", "image"), language="en", voice="clara")
    (output,) = answers(provider, [[ContentText(text="an owl"), picture(PIXELS)]], config)
    text, audio, image = output.message.content
    ours = Pipeline.load(provider.model_name)([Text("an owl"), Picture(PIXELS)], **_how(config))
    assert isinstance(text, ContentText) and isinstance(audio, ContentAudio) and isinstance(image, ContentImage)
    assert output.completion == text.text == ours.text
    assert [one.internal["codes"] for one in (text, audio, image)] == [one.codes.tolist() for one in ours.segments]
    wave, rate = read_sound(audio)
    assert rate == ours.sample_rate and np.allclose(wave, np.clip(ours.audio, -1, 1), atol=1e-4)
    assert np.array_equal(read_picture(image), ours.image)
    assert output.usage and output.usage.output_tokens >= sum(one.codes.size for one in ours.segments)


def _how(config: GenerateConfig) -> dict[str, Any]:
    asked = wish(config)
    return {"want": asked.want, **asked.how}


def test_a_batch_gives_the_answers_that_each_would_get_alone(provider: OmniModel) -> None:
    asked: list[list[Content]] = [[ContentText(text="owl" * number)] for number in range(1, 6)]
    for config in (settings(language="en"), settings(want=("audio",), language="en")):
        alone = [answers(provider, [one], config)[0] for one in asked]
        assert [one.message.content for one in answers(provider, asked, config)] == _equal(alone)


def _equal(outputs: list[ModelOutput]) -> list[Any]:
    """Contents but for the seconds that they took."""

    class Same(list):  # type: ignore[type-arg]
        def __eq__(self, other: object) -> bool:
            assert isinstance(other, list)
            pairs = zip(self, other, strict=True)
            return all(a.internal["codes"] == b.internal["codes"] for a, b in pairs)

    return [Same(output.message.content) for output in outputs]


def test_another_seed_draws_another_answer(provider: OmniModel) -> None:
    said = [
        answers(provider, [[ContentText(text="owl")]], settings(seed, want=("image",)))[0].message.content[0].internal
        for seed in (0, 0, 1)
    ]
    assert said[0]["codes"] == said[1]["codes"] != said[2]["codes"]


def test_the_likeliest_choice_answers_and_a_score_is_the_models_own(provider: OmniModel) -> None:
    given: list[Content] = [picture(PIXELS)]
    (chosen,) = answers(provider, [given], settings(language="en", choices=["owl", "a bell"]))
    sums = provider.pipeline.score([Picture(PIXELS)], [Text("owl"), Text("a bell")], "en")
    means = sums / [len(provider.pipeline.tokenizers.text.encode(text)) + 2 for text in ("owl", "a bell")]
    assert chosen.metadata == {"log_likelihoods": pytest.approx(means.tolist())}
    assert chosen.completion == ("owl", "a bell")[int(means.argmax())]
    (scored,) = answers(provider, [given], settings(language="en", score="owl"))
    assert scored.metadata == {"log_likelihood": pytest.approx(sums[0])} and scored.completion == ""


def test_what_is_to_be_written_down_is_asked_for_verbatim(provider: OmniModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(provider.pipeline, "asked", lambda *want, **how: asked.append(how) or _asked(*want, **how))
    _asked = type(provider.pipeline).asked.__get__(provider.pipeline)
    for verbatim in (False, True):
        answers(provider, [[ContentText(text="owl")]], settings(verbatim=verbatim))
    assert [how["verbatim"] for how in asked] == [False, True]


def test_what_our_tags_say_is_not_said_again_in_words(provider: OmniModel) -> None:
    told = [ContentText(text="owl"), instruction("Translate this.")]
    silent, loud = answers(provider, [[told[0]], told], settings(language="fr"))
    assert silent.message.content[0].internal["codes"] == loud.message.content[0].internal["codes"]


def test_messages_keep_sounds_pictures_and_motion(tmp_path: Path) -> None:
    frames = [np.full((16, 16, 3), level, np.uint8) for level in (0, 80, 160)]
    asked = ChatMessageUser(content=[sound(NOISE, 16000), picture(PIXELS), animation(frames, 2.0)])
    audio, image, video = parts([asked], tmp_path)
    assert isinstance(audio, Audio) and audio.sample_rate == 16000 and np.allclose(audio.source, NOISE, atol=1e-4)
    assert isinstance(image, Picture) and np.array_equal(image.source, PIXELS)
    from omni.tokenizers.video import read_frames

    levels = read_frames(video.source, 16, 2.0, 16)                     # [frames, 3, 16, 16]
    assert [round(float(frame.mean()) * 255) for frame in levels] == [0, 80, 160]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ContentAudio(audio="nowhere.wav", format="wav"), "nowhere.wav: cannot be read"),
        (ContentAudio(audio="data:audio/wav;base64,AAAA", format="wav"), "not audio that can be read"),
        (ContentImage(image="data:image/png;base64,AAAA"), "not a picture that can be read"),
        (ContentImage(image="data:image/png;base64,!"), "not base64"),
        (ContentImage(image="http://example.org/owl.png"), "addresses are not followed"),
    ],
)
def test_what_cannot_be_read_is_refused(content: Content, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        parts([ChatMessageUser(content=[content])], tmp_path)


def test_tools_and_unknown_models_are_refused(provider: OmniModel) -> None:
    tool = ToolInfo(name="search", description="")
    with pytest.raises(InputError, match="cannot use tools; leave search out"):
        asyncio.run(provider.generate([ChatMessageUser(content="owl")], [tool], "auto", GenerateConfig()))
    with pytest.raises(InputError, match="no such model folder"):
        OmniModel("nowhere")
    with pytest.raises(InputError, match=r"modalities=.'smell'.: must be of"):
        wish(GenerateConfig(extra_body={"modalities": ["smell"]}))
