"""The sections of a card, in the order of GPT-4o's: what is said and which tables stand there, for every rendering."""

from itertools import takewhile
from pathlib import Path

from omni.safety.card.collect import Card, beside_model
from omni.safety.card.telling import theirs
from omni.safety.card.telling.aloud import text_and_speech
from omni.safety.card.telling.cost import cost
from omni.safety.card.telling.data import trained_on
from omni.safety.card.telling.languages import languages, odd
from omni.safety.card.telling.mitigations import mitigations
from omni.safety.card.telling.pieces import (
    Cell,
    Section,
    Table,
    by_group,
    figure_table,
    published_table,
    shown,
    source,
)
from omni.safety.policy import LANGUAGES as GRADED
from omni.safety.policy import Category, policy
from omni.safety.published import published

NOTHING = ["Nothing was measured."]


def sections(card: Card, model: Path, drawn: dict[str, str]) -> list[Section]:
    """The whole card but for its samples. drawn: plots of the figures, by title."""
    return [
        _introduction(card, model), trained_on(card, model), _risks(card), mitigations(card),
        _evaluation(card, drawn), _method(), languages(card), _speakers(card), text_and_speech(card),
        _preparedness(card), _third_party(card), _beside(card), _latency(card), _societal(), cost(card, model),
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
        (one.name, one.means, one.action, one.instead, _guard(one)) for one in policy()
    ]
    text = ["What the policy refuses (refuse) or answers with care (hedge), and the guard that stands behind it."
            " The text guard looks for whatever is refused, and lets pass what is hedged."]
    policies = Table(("category", "what", "action", "instead", "guard"), rows)
    text.append("OpenAI's figures are of its own requests and graders: ours, of the policy's pairs, do not compare.")
    names = {one.key: one.name for one in policy()}
    found = [table for by, head in (("categories", "category"), ("disguises", "disguise"))
             if (table := by_group(card, by, head, lambda name: name.endswith("_right"), names)).rows]  # fmt: skip
    if found:
        text.append("Rates of the suite safety by category and disguise, of each that was asked five times at least:"
                    " the share that was refused or hedged where the policy wants that (should_refuse, jailbreaks),"
                    " beside the share that was complied with where it wants that (should_comply, jailbreaks_comply).")
    return Section("Risk identification", text, [policies, *found, published_table(theirs.violative())])


def _guard(one: Category) -> str:
    """What is behind a category at run time."""
    behind = [*([one.guard] if one.guard else []), *(["text"] if one.action == "refuse" else [])]
    return " and ".join(behind) or "none: let pass"


def _evaluation(card: Card, drawn: dict[str, str]) -> Section:
    counts = ", ".join(f"{count} {name}" for name, count in card.counts.items())
    return Section("Figures", [f"Samples that the model was asked: {counts or 'none'}."], [figure_table(card.numbers)],
                   drawn)  # fmt: skip


def _method() -> Section:
    return Section("How it was evaluated, and the limits of that", [
        "Held-out items, never trained on; Wilson intervals for shares, bootstraps over samples for the rest. Chance or"
        " a baseline stands beside what has one. Answers that cannot be parsed are wrong and counted.",
        f"Refusals are graded in {', '.join(GRADED)} by rules, and by a network where rules find nothing; graders_error"
        " is how often they give labelled answers, in unusual words, another label, beside it by label and language."
        " The same people wrote these answers and what the grader learned from, which flatters."
        " Some refusals and hedges still pass for compliance (graders_error_refuse, graders_error_hedge), and some"
        " compliance for a refusal (graders_error_comply): what a model refuses in its own words is counted too low.",
        "Refusal is shown beside compliance and coherence, since babble is no refusal.",
        "Spoken questions are read by synthesizers: their mistakes count as the model's. asked_wer measures them by a"
        " weak recogniser that chooses among the task's English questions, which flatters, the more the fewer are"
        " asked; other languages have none. Mathematics and code do not suit this method, and no synthetic voice has a"
        " person's noise, hesitation or intonation.",
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
        whole = card.numbers.get(one.ours)
        measured = card.groups.get("categories", {}).get(one.ours, {})
        ours = measured.get(one.category) if one.category else whole.measure if whole else None
        rows.append((one.what, shown(ours) or "not measured", source(whole) if ours and whole else "",
                     one.theirs, "comparable" if one.comparable else "not comparable", one.why))  # fmt: skip
    return Section("Beside GPT-4o's published figures", [
        "GPT-4o's figures are OpenAI's (System Card, August 2024), not measured here.", *odd("speaker"),
    ], [Table(("what", card.model, "log", "GPT-4o", "do they compare?", "why"), rows)])  # fmt: skip


def _latency(card: Card) -> Section:
    found = {name: one for name, one in card.numbers.items() if name.startswith("latency_")}
    nothing = ["Not measured; the suite's task `latency`, or `omni bench latency --json`, gives the figures."]
    return Section("Latency", [] if found else nothing, [figure_table(found)] if found else [])


def _societal() -> Section:
    """In the order of GPT-4o's card, whose table of medical examinations stands here."""
    return Section("Societal impact", [
        "None of this was studied with people.",
        "Anthropomorphization and emotional reliance: a voice invites trust that a model may not deserve, since what"
        " is false is said as fluently as what is true. Not to be relied on for health, law, money or safety.",
        "Health: not evaluated. No medical questions ship; those of a user are asked by the task `text_qa` (`--data`).",
        "Scientific capabilities: not evaluated.",
        "Underrepresented languages: as far as there are figures, they are under Languages.",
        "Generated sound and pictures can carry signed provenance (`omni generate --sign`, `omni card verify`); it is"
        " lost where somebody strips it.",
    ], [published_table(theirs.medical())])  # fmt: skip
