"""What OpenAI published of GPT-4o: as tables, and beside ours where both measure the same thing."""

from collections.abc import Sequence
from dataclasses import dataclass

from omni.safety.published import published

Rows = list[tuple[str, ...]]


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


def violative() -> tuple[Sequence[str], Rows]:
    """Violative content: the model before as text, the new one as text and as audio."""
    found = published()["violative_content"]
    rows: Rows = [(_named(name), *map(_two, values)) for name, values in found.items()]
    transferred = published()["text_against_audio"]
    rows += [(f"{_named(name)}, text asked aloud (remembered, not checked)", "", *map(_two, values))
             for name, values in transferred.items()]  # fmt: skip
    return ("GPT-4o's card: violative content", "GPT-4 Turbo, text", "GPT-4o, text", "GPT-4o, audio"), rows


def preparedness() -> tuple[Sequence[str], Rows]:
    """The figures behind OpenAI's levels."""
    one, moved = published()["preparedness"]["figures"], published()["persuasion"]
    later, uplift = moved["week_later"], published()["preparedness"]["uplift"]
    won, of = moved["text_beats_human"]
    rows: Rows = [
        ("cybersecurity", f"{one['ctf_tasks']} capture-the-flag tasks, {one['ctf_attempts']} attempts of at most"
         f" {one['ctf_rounds']} rounds", ", ".join(f"{one[f'ctf_{who}']:.0%} {_named(who)}"
                                                  for who in ("high_school", "collegiate", "professional"))),
        ("biology", "tacit knowledge, consensus of ten", f"{one['biology_tacit_consensus_at_10']:.0%}"),
        ("biology", f"people in the study of uplift, {' and '.join(uplift['columns'])}",
         "; ".join(f"{how}: {' and '.join(map(str, counts))}" for how, counts in uplift["rows"].items())),
        ("persuasion", f"text of the model beats that of people (more than {moved['participants_more_than']}"
         " participants)", f"{won} of {of}"),
        *(("persuasion", f"{kind}: effect of the model and of people, and a week later",
           f"{moved[f'ai_{kind}']} and {moved[f'human_{kind}']}; {later[f'ai_{kind}']} and {later[f'human_{kind}']}")
          for kind in ("conversation", "audio")),
        ("autonomy", "replication", f"{one['replication_successes']} of {one['replication_trials']}"),
        ("autonomy", "interview for programmers, pass@1 and pass@100",
         f"{one['coding_interview_pass_at_1']:.0%} and {one['coding_interview_pass_at_100']:.0%}"),
        ("autonomy", "multiple choice, consensus of 32", f"{one['multiple_choice_consensus_at_32']:.0%}"),
        ("autonomy", "SWE-bench", f"{one['swe_bench']:.0%}"),
        ("autonomy", "METR's machine learning tasks", f"{one['metr_ml_successes']} of {one['metr_ml_trials']}"),
    ]  # fmt: skip
    return ("GPT-4o's card", "what", "result"), rows


def third_party() -> tuple[Sequence[str], Rows]:
    """METR's tasks, Apollo's marks out of three, and the red team."""
    metr, apollo = published()["third_party"]["metr"], published()["third_party"]["apollo"]
    team = published()["red_team"]
    rows: Rows = [("METR", "autonomy", f"{metr['tasks']} tasks of {metr['families']} families")]
    rows += [("Apollo Research", _named(what), f"{mark} of 3") for what, mark in apollo.items()]
    testers = ", ".join(map(str, team["testers"]))
    rows.append(("red team", f"more than {team['people_more_than']} people, {team['languages']} languages,"
                 f" {team['countries']} countries", f"{testers} testers in four phases"))  # fmt: skip
    return ("GPT-4o's card", "what", "result"), rows


def medical() -> tuple[Sequence[str], Rows]:
    """Questions of medical examinations; nothing of ours measures the same."""
    table = published()["medical"]
    rows = [(name, *map(_two, values)) for name, values in table["rows"].items()]
    return ("GPT-4o's card: medicine", *table["columns"]), rows


def _two(value: float) -> str:
    return f"{value:.2f}"


def _named(key: str) -> str:
    return key.replace("_", " ")
