"""The sections of a card, in the order of GPT-4o's: what is said and which tables stand there, for every rendering."""

from itertools import takewhile
from pathlib import Path

from omni.figures import machine
from omni.safety.card.collect import Card, Number, beside_model, has_interval, trained
from omni.safety.card.telling import theirs
from omni.safety.card.telling.aloud import text_and_speech
from omni.safety.card.telling.data import trained_on
from omni.safety.card.telling.languages import languages, odd
from omni.safety.card.telling.pieces import (
    Cell,
    Section,
    Table,
    by_group,
    figure_table,
    published_table,
    source,
    value,
)
from omni.safety.policy import LANGUAGES as GRADED
from omni.safety.policy import policy
from omni.safety.published import published

WATTS_A_CORE = 15.0                                                     # assumed, of a server's core under load
NOTHING = ["Nothing was measured."]


def sections(card: Card, model: Path, drawn: dict[str, str]) -> list[Section]:
    """The whole card but for its samples. drawn: plots of the figures, by title."""
    return [
        _introduction(card, model), trained_on(card, model), _risks(card), _mitigations(card),
        _evaluation(card, drawn), _method(), languages(card), _speakers(card), text_and_speech(card),
        _preparedness(card), _third_party(card), _beside(card), _latency(card), _societal(), _cost(card, model),
    ]  # fmt: skip


def _introduction(card: Card, model: Path) -> Section:
    readme = beside_model(model, "README.md")
    lines = readme.read_text(encoding="utf-8").splitlines() if readme.is_file() else []
    prose = takewhile(lambda line: not line.startswith(("-", "|")), lines)
    about = " ".join(line for line in prose if line.strip() and not line.startswith("#")).replace("**", "")
    return Section("Introduction", [
        f"{card.model}: a model of the framework omni, one autoregressive Transformer over text, audio and images.",
        about or "The model's folder has no README.md that describes it.",
        "Every figure of this card comes from a log beside it, which `inspect view --log-dir logs` opens, and from a"
        " command that can be run again.",
    ])  # fmt: skip


def _risks(card: Card) -> Section:
    rows: list[tuple[Cell, ...]] = [
        (one.name, one.means, one.action, one.instead, one.guard or "text") for one in policy()
    ]
    text = ["What the policy refuses (refuse) or answers with care (hedge), and the guard that stands behind it."]
    policies = Table(("category", "what", "action", "instead", "guard"), rows)
    text.append("OpenAI's figures are of its own requests and graders: ours, of the policy's pairs, do not compare.")
    found = [table for by, head in (("categories", "category"), ("disguises", "disguise"))
             if (table := by_group(card, by, head)).rows]  # fmt: skip
    if found:
        text.append("Rates of the suite safety by category and disguise, of each that was asked five times at least.")
    return Section("Risk identification", text, [policies, *found, published_table(theirs.violative())])


def _mitigations(card: Card) -> Section:
    """Before and after each mitigation."""
    section = Section("Mitigations, before and after")
    found = card.numbers
    rows: list[tuple[Cell, ...]] = []
    for figure, what, without, shown in (
        ("recall_en", "voice guard, other speakers (en) that are heard", 1.0, _left),
        ("false_alarms_en", "voice guard, preset conversations (en) that are stopped", 0.0, value),
        ("recall_other", "voice guard, other speakers (other) that are heard", 1.0, _left),
        ("false_alarms_other", "voice guard, preset conversations (other) that are stopped", 0.0, value),
        ("music_recall", "music guard, recordings of instruments and tones that are heard", 1.0, _left),
        ("music_recall_tones", "music guard, made tones that are heard", 1.0, _left),
        ("music_recall_sung", "music guard, made singing that is heard", 1.0, _left),
        ("music_false_alarms_people", "music guard, people's conversations that are stopped", 0.0, value),
    ):
        if one := found.get(f"guards_{figure}"):
            rows.append((what, f"{without:.2f}, by definition", shown(one), source(one)))
    for task, what in (("should_refuse", "refused or hedged"), ("should_comply", "complied with")):
        if one := found.get(f"{task}_right_guarded"):
            rows.append((f"text guard, requests {what}", value(found[f"{task}_right"]), value(one), source(one)))
    if rows:
        section.tables.append(Table(("what", "without", "with", "log"), rows))
    else:
        section.text += NOTHING
    return section


def _evaluation(card: Card, drawn: dict[str, str]) -> Section:
    counts = ", ".join(f"{count} {name}" for name, count in card.counts.items())
    return Section("Figures", [f"Samples that the model was asked: {counts or 'none'}."], [figure_table(card.numbers)],
                   drawn)  # fmt: skip


def _method() -> Section:
    return Section("How it was evaluated, and the limits of that", [
        "Held-out items, never trained on; Wilson intervals for shares, bootstraps over samples for the rest. Chance or"
        " a baseline stands beside what has one. Answers that cannot be parsed are wrong and counted.",
        f"Refusals are graded by rules in {', '.join(GRADED)}; graders_error is how often they give labelled answers"
        " another label, beside it by label and language. The same people wrote answers and rules, which flatters."
        " An answer that refuses and then does it without a word that says so passes for a refusal"
        " (graders_error_refuse_then_do).",
        "Refusal is shown beside compliance and coherence, since babble is no refusal.",
        "Spoken questions are read by synthesizers: their mistakes count as the model's (asked_wer measures them by a"
        " weak recogniser), mathematics and code do not suit them, and no synthetic voice has a person's noise,"
        " hesitation or intonation.",
        "pocketsphinx judges speech, and is weak: read wer_heard against its baseline, the voice's own recording.",
    ])  # fmt: skip


def _speakers(card: Card) -> Section:
    """GPT-4o's card asks whether accents and voices fare alike: the extremes of each figure, by speaker."""
    section = Section("Speakers")
    rows: list[tuple[Cell, ...]] = []
    for name, measures in card.groups.get("speakers", {}).items():
        if len(measures) > 1:
            order = sorted(measures, key=lambda who: measures[who].value)
            ends = [f"{measures[who].value:.2f} [{measures[who].low:.2f}, {measures[who].high:.2f}], "
                    f"n={measures[who].n}: {who}" for who in (order[0], order[-1])]  # fmt: skip
            rows.append((name, str(len(measures)), *ends, source(card.numbers[name]) if name in card.numbers else ""))
    if not rows:
        section.text += NOTHING
    else:
        section.tables.append(Table(("figure", "speakers", "lowest", "highest", "log"), rows))
        section.text.append("Of speakers with at least five samples. They say different things in different languages:"
                            " a difference is of the voice only where the intervals part and the texts are the same.")
    return section


def _preparedness(card: Card) -> Section:
    said = published()["preparedness"]
    rows: list[tuple[Cell, ...]] = [
        (one.category, one.means, one.level, one.v2, one.level_v2, str(said.get(one.category, "")))
        for one in card.verdicts
    ]
    rows.append(("overall", "the highest", card.overall, "", "", str(said["overall"])))
    head = ("category", "measured by", "level (version 1)", "category (version 2)", "level (version 2)", "GPT-4o")
    text = [
        "Questions are the user's own: none ship. What was not asked is not evaluated, which is not the same as low.",
        "Research categories of version 2 (long-range autonomy, sandbagging, autonomous replication, undermining"
        " safeguards, nuclear and radiological): not evaluated.",
    ]
    return Section("Preparedness", text, [Table(head, rows), published_table(theirs.preparedness())])


def _third_party(card: Card) -> Section:
    rows: list[tuple[Cell, ...]] = [tuple(str(row[key]) for key in ("who", "what", "result", "date"))
                                    for row in card.third_party]  # fmt: skip
    ours = [Table(("who", "what", "result", "date"), rows)] if rows else []
    text = [] if rows else [f"None of {card.model} was imported (`--third-party FILE`)."]
    return Section("Third-party assessments", text, [*ours, published_table(theirs.third_party())])


def _beside(card: Card) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for one in theirs.beside():
        ours = card.numbers.get(one.ours)
        rows.append((one.what, "not measured" if ours is None else value(ours), "" if ours is None else source(ours),
                     one.theirs, "comparable" if one.comparable else "not comparable", one.why))  # fmt: skip
    return Section("Beside GPT-4o's published figures", [
        "GPT-4o's figures are OpenAI's (System Card, August 2024), not measured here.", *odd("speaker"),
    ], [Table(("what", card.model, "log", "GPT-4o", "", "why"), rows), published_table(theirs.medical())])  # fmt: skip


def _latency(card: Card) -> Section:
    found = {name: one for name, one in card.numbers.items() if name.startswith("latency_")}
    nothing = ["Not measured; the suite's task `latency`, or `omni bench latency --json`, gives the figures."]
    return Section("Latency", [] if found else nothing, [figure_table(found)] if found else [])


def _societal() -> Section:
    return Section("Societal impact", [
        "Not studied with people. A voice invites trust that a model does not deserve: this one says false things"
        " fluently where it says anything, and must not be relied on for health, law, money or safety.",
        "Generated sound and pictures can carry signed provenance (`omni generate --sign`, `omni card verify`).",
    ])  # fmt: skip


def _cost(card: Card, model: Path) -> Section:
    hours = card.seconds / 3600
    text = [
        f"Evaluation: {hours:.2f} hours on the clock; at an assumed {WATTS_A_CORE:.0f} W for one core that is"
        f" {hours * WATTS_A_CORE / 1000:.4f} kWh (estimated, not metered). Answers that were kept from an earlier"
        " run took their time then, which is not in it.",
    ]
    if (known := trained(model)) is None:
        text.append("Training: how long it took is not known, since the run's log.jsonl is not beside the model.")
    else:
        hours, cores, source = known
        text.append(
            f"Training: {hours:.2f} hours on the clock on {cores} cores ({source}); at {WATTS_A_CORE:.0f} W a core that"
            f" is {hours * cores * WATTS_A_CORE / 1000:.3f} kWh (estimated, not metered). Tokenizers, runs that were"
            " thrown away and the rest of the machine are not in it."
        )
    return Section("Environmental cost", [*text, f"Card made on {machine()['cpu']}, {machine()['cores']} cores."])


def _left(one: Number) -> str:
    """What a guard with this recall lets through."""
    measure = one.measure
    ends = f"[{1 - measure.high:.2f}, {1 - measure.low:.2f}]" if has_interval(measure) else "(no interval)"
    return f"{1 - measure.value:.2f} {ends}, n={measure.n}"
