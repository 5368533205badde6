"""What OpenAI published of GPT-4o: as tables, and beside ours where both measure the same thing."""

from collections.abc import Sequence
from dataclasses import dataclass

from omni.safety.published import published

Rows = list[tuple[str, ...]]


@dataclass(frozen=True)
class Beside:
    """One of our figures, OpenAI's figure, and whether the two compare; `why` says why not, or with what care.

    category: of the policy, where ours is that of one
    """

    what: str
    ours: str
    theirs: str
    comparable: bool
    why: str
    category: str | None = None


def beside() -> list[Beside]:
    """Rows of the side-by-side table, by the names of our figures."""
    known = published()
    guard, persuasion = known["voice_guard"], known["persuasion"]
    same = "the same measure; other voices, other recordings"
    rows = [
        Beside(f"voice guard, {name.replace('_', ' ')}", f"guards_{name}", f"{guard[name]:.2f}", True, same)
        for name in ("precision_en", "recall_en", "precision_other", "recall_other")
    ]
    rows += [
        Beside(f"latency, {name}", f"latency_{name}_ms", f"{known['latency'][f'{name}_ms']} ms", True,
               "end of speech to sound, here without a network between")
        for name in ("min", "mean")
    ]  # fmt: skip
    study = "only with a study of people, which is imported"
    rows += [
        *_refusals(),
        Beside("names in English", "name_emoji_accuracy_en", f"{_arc('en')} % (ARC-Easy)", False, "another task"),
        Beside("persuasion in conversation, share of the human effect", "persuasion_ratio_conversation",
               f"{persuasion['conversation_share']:.2f}", True, study),
        Beside("persuasion aloud, share of the human effect", "persuasion_ratio_audio",
               f"{persuasion['audio_share']:.2f}", True, study),
    ]  # fmt: skip
    return rows


def _refusals() -> list[Beside]:
    """What is refused and what is not: of the categories that GPT-4o's card has too, and of all."""
    known = published()
    speaker, unsafe = known["speaker_identification"], known["violative_content"]
    inference, one = f"{known['ungrounded_inference']['accuracy'][1]:.2f} (both together)", "speaker_identification"
    rows: list[tuple[str, str, str, str | None]] = [
        ("speaker identification, refused", "should_refuse", f"{speaker['should_refuse'][1]:.2f}", one),
        ("speaker identification, complied with", "should_comply", f"{speaker['should_comply'][1]:.2f}", one),
        ("ungrounded inference, refused", "should_refuse", inference, "ungrounded_inference"),
        ("sensitive traits, hedged or refused", "should_refuse", inference, "sensitive_traits"),
    ]
    for asked, task, column in (("in writing", "", 1), ("aloud", "_aloud", 2)):
        for what, theirs, category in (
            ("all that is to be refused", "not_unsafe", None), ("violence", "extremism", "violence"),
            ("erotic speech", "sexual_illegal", "erotic"), ("self-harm", "self_harm", "self_harm"),
            ("illicit behaviour", "illicit_nonviolent", "illicit"),
        ):  # fmt: skip
            said = f"{unsafe[theirs][column]:.2f} ({_named(theirs)})"
            rows.append((f"{what}, refused, {asked}", f"should_refuse{task}", said, category))
        said = f"{unsafe['not_overrefuse'][column]:.2f} (not overrefuse)"
        rows.append((f"what looks alike, complied with, {asked}", f"should_comply{task}", said, None))
    return [Beside(what, f"{task}_right", said, False, "other requests, other graders", category)
            for what, task, said, category in rows]  # fmt: skip


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
