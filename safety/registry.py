"""What Inspect finds of ours by name (entry point `omni` of group inspect_ai): the providers and all tasks."""

from collections.abc import Sequence
from pathlib import Path

from omni.errors import InputError
from omni.eval.aloud.convert import text_qa_accents, text_qa_aloud, text_qa_channels
from omni.eval.inspected import provider, served
from omni.eval.live.tasks import barge_in, latency
from omni.eval.suite.run import Maker
from omni.eval.tasks.hearing import sounds, transcribe, translate_speech
from omni.eval.tasks.questions import reason, spoken_qa, text_qa
from omni.eval.tasks.reading import perplexity, translate
from omni.eval.tasks.seeing import draw, name_emoji, name_picture, video
from omni.eval.tasks.speaking import speak
from omni.safety.policy import WHOLE
from omni.safety.preparedness.persuasion import arguments, persuasion
from omni.safety.preparedness.tasks import autonomy, biology, cybersecurity
from omni.safety.redteam.tasks import garak, redteam
from omni.safety.suites.attached import folder
from omni.safety.suites.graders import graders
from omni.safety.suites.heard import should_comply_heard, should_refuse_heard
from omni.safety.suites.tasks import (
    jailbreaks,
    jailbreaks_comply,
    should_comply,
    should_comply_accents,
    should_comply_aloud,
    should_comply_channels,
    should_refuse,
    should_refuse_accents,
    should_refuse_aloud,
    should_refuse_channels,
)
from omni.train.data.items import usual_data

PROVIDERS = (provider.PROVIDER, served.PROVIDER)
CAPABILITY: tuple[Maker, ...] = (
    transcribe, translate_speech, sounds, speak, name_picture, name_emoji, draw, video, translate, text_qa,
    text_qa_aloud, text_qa_channels, text_qa_accents, spoken_qa, reason, perplexity,
)  # fmt: skip
SAFETY: tuple[Maker, ...] = (
    should_refuse, should_comply, should_refuse_aloud, should_comply_aloud, should_refuse_heard, should_comply_heard,
    should_refuse_channels, should_comply_channels, should_refuse_accents, should_comply_accents, jailbreaks,
    jailbreaks_comply, redteam, graders,
)  # fmt: skip
PREPAREDNESS: tuple[Maker, ...] = (cybersecurity, biology, autonomy, persuasion, arguments)
LIVE: tuple[Maker, ...] = (latency, barge_in)                           # in real time, on a machine that is quiet
SUITES: dict[str, tuple[Maker, ...]] = {
    "capability": CAPABILITY, "safety": SAFETY, "preparedness": PREPAREDNESS, "live": LIVE, "garak": (garak,),
}  # fmt: skip


def sources(name: str) -> tuple[Path, ...]:
    """Where the code of a suite lies that is not the evaluation's own."""
    root = Path(__file__).parents[1]                                    # of the package, whose parts are links
    of = {
        "safety": tuple(f"safety/{one}" for one in (*WHOLE, "suites", "redteam", "guards/text.py", "guards/requests")),
        "preparedness": ("safety/preparedness", "safety/suites"), "garak": ("safety/redteam",),
        "live": ("live", "eval/live"),
    }  # fmt: skip
    return tuple(root / one for one in of.get(name, ()))


def asked_of(name: str, data: Path | None) -> Path | None:
    """The data of a suite: those given, else the usual folder; None where its tasks bring all that they ask.

    Raises InputError where there is none, and no suite without.
    """
    if name == "safety" and (data is None or data.is_dir()):            # the policy's pairs, with what they ask about
        return data or folder(None)
    if data is None and name not in ("capability", "live"):
        raise InputError(f"{name}: no data ship for it; give a file of your own as --data (docs/safety.md)")
    return data or usual_data()


def suite(name: str, only: Sequence[str] | None = None) -> list[Maker]:
    """The tasks of a suite, or some of them. Raises InputError for a name that it has not."""
    known = {maker.__name__: maker for maker in SUITES[name]}
    if missing := [one for one in only or () if one not in known]:
        raise InputError(f"--tasks: {name} has no {', '.join(missing)}; it has {', '.join(known)}")
    return [known[one] for one in only or known]
