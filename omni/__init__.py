"""omni: one autoregressive Transformer over one shared token space of text, audio and image tokens.

import omni

model = omni.load()                                                     # omni-tiny; or omni.load("runs/mine/model")
answer = model([omni.Picture("owl.png"), omni.Text("What is this?")], want=["text", "audio"], language="en")
print(answer.text)
answer.save("answer")
"""

import logging
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What torch says of enums of torchao's, which transformers and peft import where it is installed, is not for our users.
logging.getLogger("torch.utils._pytree").addFilter(lambda record: "Enum subclass" not in record.getMessage())

if TYPE_CHECKING:
    from omni.decode.parts import Audio, Picture, Text, Video
    from omni.decode.pipeline import Pipeline
    from omni.decode.samplers import Sampler

    load = Pipeline.load

__all__ = ["Audio", "Picture", "Pipeline", "Sampler", "Text", "Video", "load"]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used, so that `import omni` stays light."""
    if name in ("Audio", "Picture", "Text", "Video"):
        from omni.decode import parts

        return getattr(parts, name)
    if name == "Sampler":
        from omni.decode.samplers import Sampler

        return Sampler
    if name in ("Pipeline", "load"):
        from omni.decode.pipeline import Pipeline

        return Pipeline if name == "Pipeline" else Pipeline.load
    raise AttributeError(f"module 'omni' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, imported or not, so that they are completed."""
    return sorted({*globals(), *__all__})
