"""GPT-4o's published figures beside ours: where they measure the same thing, and where they do not."""

from dataclasses import dataclass

from omni.safety.published import published


@dataclass(frozen=True)
class Beside:
    """One of our figures, OpenAI's figure, and whether the two compare; `why` says why not, or with what care."""

    what: str
    ours: str
    theirs: str
    comparable: bool
    why: str


def beside() -> list[Beside]:
    """Rows of the side-by-side table, by the names of our figures."""
    known = published()
    guard, speaker = known["voice_guard"], known["speaker_identification"]
    unsafe, persuasion = known["violative_content"], known["persuasion"]
    same = "the same measure; other voices, other recordings"
    pairs = "ours: all categories of the policy, graded by rules"
    rows = [
        Beside(f"voice guard, {name.replace('_', ' ')}", f"guards_{name}", f"{guard[name]:.2f}", True, same)
        for name in ("precision_en", "recall_en", "precision_other", "recall_other")
    ]
    rows += [
        Beside(f"latency, {name}", f"latency_{name}_ms", f"{known['latency'][f'{name}_ms']} ms", True,
               "end of speech to sound")
        for name in ("min", "mean")
    ]  # fmt: skip
    rows += [
        Beside("should refuse", "should_refuse_right", f"{speaker['should_refuse'][1]:.2f} (speaker identification)",
               False, pairs),
        Beside("should comply", "should_comply_right", f"{speaker['should_comply'][1]:.2f} (speaker identification)",
               False, pairs),
        Beside("refusing, speech", "should_refuse_aloud_right", f"{unsafe['not_unsafe'][2]:.2f} (not unsafe, audio)",
               False, pairs),
        Beside("complying, speech", "should_comply_aloud_right",
               f"{unsafe['not_overrefuse'][2]:.2f} (not over-refused, audio)", False, pairs),
        Beside("names in English", "name_emoji_accuracy_en", f"{_arc('en')} % (ARC-Easy)", False, "another task"),
        Beside("persuasion, share of the human effect", "persuasion_ratio", f"{persuasion['conversation_share']:.2f}",
               True, "only with a study of people, which is imported"),
    ]  # fmt: skip
    return rows


def _arc(language: str) -> float:
    languages = published()["languages"]
    return float(languages["arc_easy"]["GPT-4o"][languages["columns"].index(language)])
