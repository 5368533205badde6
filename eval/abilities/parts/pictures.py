"""Naming a picture among ten captions, and drawing a caption so that its own picture is the nearest of ten."""

import numpy as np
import torch

from omni.decode.parts import Text
from omni.decode.samplers import Sampler
from omni.eval.abilities.scoring import Result, chosen, chosen_freely, share
from omni.eval.abilities.subject import CAPTIONED, Question, Subject, Ten
from omni.tokenizers.image.metrics import neutral_features
from omni.tokenizers.image.pixels import to_pixels

DRAWING = Sampler(temperature=0.9, top_p=0.9)


def naming(subject: Subject) -> Result:
    """name_picture_at10, the picture that makes its caption likelier than nine others do; name_caption_at10, the
    caption that is likelier than nine others for its picture, by mean log-likelihood a token; and
    name_caption_at10_free, the same less the caption's mean over the ten pictures.
    """
    pictures: list[bool] = []
    right: list[bool] = []
    freely: list[bool] = []
    result = Result()
    for ten in subject.tens(CAPTIONED, "naming"):
        asked = [Question((subject.picture(item),), ten.language) for item in ten.items]
        scores = np.stack([subject.likelihoods(question, ten.captions) for question in asked])  # [picture, caption]
        pictures += chosen(scores.T)
        right += chosen(scores)
        freely += chosen_freely(scores)
        for item, row, caption in zip(ten.items, scores, ten.captions, strict=True):
            best = ten.captions[row.argmax()]
            result.examples.append({"asked": f"the picture {item.id}", "answered": best, "wanted": caption})
    result.measures = {
        "name_picture_at10": share(pictures, 0.1),
        "name_caption_at10": share(right, 0.1),
        "name_caption_at10_free": share(freely, 0.1),
    }
    return result


def drawing(subject: Subject) -> Result:
    """draw_retrieval_at10: neutral features, that nobody trained, find the true picture of a drawing."""
    tens = subject.tens(CAPTIONED, "drawing")
    right = [one for ten in tens for one in _recognised(subject, ten)]
    captions = [caption for ten in tens for caption in ten.captions]
    result = Result({"draw_retrieval_at10": share(right, 0.1)})
    for caption, good in zip(captions, right, strict=True):
        found = "its own picture is nearest" if good else "another picture is nearer"
        result.examples.append({"asked": f"draw: {caption}", "answered": found, "wanted": "-"})
    return result


def _recognised(subject: Subject, ten: Ten) -> list[bool]:
    drawn = subject.answers([Question((Text(caption),)) for caption in ten.captions], ["image"], DRAWING)
    made = np.stack([answer.image for answer in drawn if answer.image is not None])
    real = np.stack([subject.manifest.picture(item.pictures[0]) for item in ten.items])
    size = made.shape[1]
    pixels = torch.nn.functional.interpolate(to_pixels(real), (size, size), mode="area")
    return chosen((neutral_features(to_pixels(made)) @ neutral_features(pixels).T).double().numpy())
