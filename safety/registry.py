"""What Inspect finds of ours by name (entry point `omni` of group inspect_ai): the providers and all tasks."""

from omni.eval.inspected.provider import OmniModel
from omni.eval.tasks.hearing import sounds, transcribe, translate_speech
from omni.eval.tasks.questions import spoken_qa, text_qa
from omni.eval.tasks.reading import perplexity, translate
from omni.eval.tasks.seeing import draw, name_emoji, name_picture, video
from omni.eval.tasks.speaking import speak

PROVIDERS = (OmniModel,)
CAPABILITY = (
    transcribe, translate_speech, sounds, speak, name_picture, name_emoji, draw, video, translate, text_qa, spoken_qa,
    perplexity,
)  # fmt: skip
