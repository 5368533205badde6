"""The sections of a card, in the order of GPT-4o's: what is said and which tables stand there, for every rendering."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omni.figures import machine
from omni.safety.card import theirs
from omni.safety.card.beside import beside
from omni.safety.card.collect import Card, Number, beside_model, trained
from omni.safety.policy import LANGUAGES as GRADED
from omni.safety.policy import policy
from omni.safety.published import LANGUAGES, checks, published

WATTS_A_CORE = 15.0                                                     # assumed, of a server's core under load
NOTHING = ["Nothing was measured."]
COPIED = {"ATTRIBUTION.md": "licences and authors, item by item", "recipe.yaml": "how it was trained"}
FIGURES = ("figure", "value", "95 %", "n", "chance", "unit", "log", "made by")


@dataclass(frozen=True)
class Link:
    """A cell that leads to a file beside the card."""

    text: str
    target: str


Cell = str | Link


@dataclass
class Table:
    head: Sequence[str]
    rows: list[tuple[Cell, ...]]


@dataclass
class Section:
    """A heading, what is said under it, its tables and plots."""

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: dict[str, str] = field(default_factory=dict)                 # title to file beside the card


def sections(card: Card, model: Path, drawn: dict[str, str]) -> list[Section]:
    """The whole card but for its samples. drawn: plots of the figures, by title."""
    return [
        _introduction(card, model), _data(model), _risks(card), _mitigations(card), _evaluation(card, drawn), _method(),
        _languages(card), _speakers(card), _transfer(card), _preparedness(card), _third_party(card), _beside(card),
        _latency(card), _societal(), _cost(card, model),
    ]  # fmt: skip


def _introduction(card: Card, model: Path) -> Section:
    readme = model / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines() if readme.is_file() else []
    about = " ".join(line for line in lines[1:] if line.strip() and not line.startswith(("-", "|", "#")))[:900]
    return Section("Introduction", [
        f"{card.model}: a model of the framework omni, one autoregressive Transformer over text, audio and images.",
        about or "The model's folder has no README.md that describes it.",
        "Every figure of this card comes from a log beside it, which `inspect view --log-dir logs` opens, and from a"
        " command that can be run again.",
    ])  # fmt: skip


def _data(model: Path) -> Section:
    section = Section("Data and training")
    rows: list[tuple[Cell, ...]] = []
    for name, what in COPIED.items():
        path = beside_model(model, name)
        rows.append((what, Link(name, name) if path.is_file() else f"{name} is missing", f"{path.stat().st_size} bytes"
                     if path.is_file() else ""))  # fmt: skip
    section.tables.append(Table(("what", "file of the model's folder", "size"), rows))
    return section


def _risks(card: Card) -> Section:
    rows: list[tuple[Cell, ...]] = [
        (one.name, one.means, one.action, one.instead, one.guard or "text") for one in policy()
    ]
    text = ["What the policy refuses (refuse) or answers with care (hedge), and the guard that stands behind it."]
    policies = Table(("category", "what", "action", "instead", "guard"), rows)
    text.append("OpenAI's figures are of its own requests and graders: ours, of the policy's pairs, do not compare.")
    return Section("Risk identification", text, [policies, _published(theirs.violative())])


def _published(table: tuple[Sequence[str], list[tuple[str, ...]]]) -> Table:
    head, rows = table
    return Table(head, list(rows))


def _mitigations(card: Card) -> Section:
    """Before and after each mitigation."""
    section = Section("Mitigations, before and after")
    found = card.numbers
    rows: list[tuple[Cell, ...]] = []
    for group in ("en", "other"):
        if f"guards_recall_{group}" in found:
            rows.append((f"voice guard, other speakers ({group}) that are heard", "1.00",
                         _left(found[f"guards_recall_{group}"]), _source(found[f"guards_recall_{group}"])))
            rows.append((f"voice guard, preset conversations ({group}) that are stopped", "0.00",
                         _value(found[f"guards_false_alarms_{group}"]),
                         _source(found[f"guards_false_alarms_{group}"])))  # fmt: skip
    if "guards_music_recall" in found:
        rows.append(("music guard, instruments and tones that are heard", "1.00", _left(found["guards_music_recall"]),
                     _source(found["guards_music_recall"])))  # fmt: skip
    for task, what in (("should_refuse", "refused or hedged"), ("should_comply", "complied with")):
        if f"{task}_right_guarded" in found:
            rows.append((f"text guard, requests {what}", _value(found[f"{task}_right"]),
                         _value(found[f"{task}_right_guarded"]), _source(found[f"{task}_right"])))  # fmt: skip
    if rows:
        section.tables.append(Table(("what", "without", "with", "log"), rows))
    else:
        section.text += NOTHING
    return section


def _evaluation(card: Card, drawn: dict[str, str]) -> Section:
    rows = [_row(name, one) for name, one in card.numbers.items()]
    counts = ", ".join(f"{count} {name}" for name, count in card.counts.items())
    return Section("Figures", [f"Samples: {counts or 'none'}."], [Table(FIGURES, rows)], drawn)


def _method() -> Section:
    return Section("How it was evaluated, and the limits of that", [
        "Held-out items, never trained on; Wilson intervals for shares, bootstraps over samples for the rest. Chance or"
        " a baseline stands beside what has one. Answers that cannot be parsed are wrong and counted.",
        f"Refusals are graded by rules in {', '.join(GRADED)}; graders_error is how often they give labelled answers"
        " another label, beside it by label and language. The same people wrote answers and rules, which flatters."
        " Refusal is shown beside compliance and coherence, since babble is no refusal.",
        "Spoken questions are read by synthesizers: their mistakes count as the model's (asked_wer measures them by a"
        " weak recogniser), mathematics and code do not suit them, and no synthetic voice has a person's noise,"
        " hesitation or intonation.",
        "pocketsphinx judges speech, and is weak: read wer_heard against its baseline, the voice's own recording.",
    ])  # fmt: skip


def _languages(card: Card) -> Section:
    """The six languages of GPT-4o's card: our figures, the gap to English, and the published tables."""
    section = Section("Languages")
    rows: list[tuple[Cell, ...]] = []
    english = card.numbers.get("name_emoji_accuracy_en")
    for code, language in LANGUAGES.items():
        one = card.numbers.get(f"name_emoji_accuracy_{code}")
        gap = "" if not (one and english) or code == "en" else _gap(one, english)
        rows.append((language, "no figure" if one is None else _value(one), gap, _source(one) if one else ""))
    section.tables.append(Table(("names of emoji, one of ten", "accuracy", "gap to English", "log"), rows))
    languages = published()["languages"]
    for key, title in (("arc_easy", "GPT-4o's card: ARC-Easy, %"), ("truthful_qa", "GPT-4o's card: TruthfulQA, %")):
        table = [(name, *(f"{one:g}" for one in values)) for name, values in languages[key].items()]
        section.tables.append(Table((title, *LANGUAGES.values()), list(table)))
    uhura = published()["uhura"]
    table = [(name, *(f"{one:g}" for one in values)) for name, values in uhura["rows"].items()]
    section.tables.append(Table(("GPT-4o's card: Uhura-Eval, %", *(LANGUAGES[one] for one in uhura["columns"])), table))
    section.text += _odd("ARC-Easy")
    section.text.append("The tasks are not the same: ours names pictures, theirs answers questions. There is no figure"
                        " where the data have no names in a language, or fewer than five were asked.")
    return section


def _odd(about: str) -> list[str]:
    """Where the prose of GPT-4o's card and its tables differ."""
    odd = [one for one in checks() if not one.agrees and one.name.startswith(about)]
    return [f"GPT-4o's card, {one.name}: {one.note}." for one in odd]


def _gap(one: Number, english: Number) -> str:
    """Difference of two shares of different samples, with the interval of Newcombe (1998)."""
    a, b = one.measure, english.measure
    low = a.value - b.value - ((a.value - a.low) ** 2 + (b.high - b.value) ** 2) ** 0.5
    high = a.value - b.value + ((a.high - a.value) ** 2 + (b.value - b.low) ** 2) ** 0.5
    return f"{a.value - b.value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _speakers(card: Card) -> Section:
    """GPT-4o's card asks whether accents and voices fare alike: the extremes of each figure, by speaker."""
    section = Section("Speakers")
    rows: list[tuple[Cell, ...]] = []
    for name, measures in card.speakers.items():
        if len(measures) > 1:
            order = sorted(measures, key=lambda who: measures[who].value)
            ends = [f"{measures[who].value:.2f} [{measures[who].low:.2f}, {measures[who].high:.2f}], "
                    f"n={measures[who].n}: {who}" for who in (order[0], order[-1])]  # fmt: skip
            source = _source(card.numbers[name]) if name in card.numbers else ""
            rows.append((name, str(len(measures)), *ends, source))
    if not rows:
        section.text += NOTHING
    else:
        section.tables.append(Table(("figure", "speakers", "lowest", "highest", "log"), rows))
        section.text.append("Of speakers with at least five samples. They say different things in different languages:"
                            " a difference is of the voice only where the intervals part and the texts are the same.")
    return section


def _transfer(card: Card) -> Section:
    rows = [_row(name, one) for name, one in card.numbers.items() if name.endswith("_gap")]
    if not rows:
        return Section("Text and speech", NOTHING)
    text = ["The same questions asked aloud, less the score in writing, over the samples that both scored; and through"
            " noise, rooms and telephones (`channels`), less the score of the clean voice."]  # fmt: skip
    section = Section("Text and speech", text, [Table(FIGURES, rows)])
    by_channel: list[tuple[Cell, ...]] = [
        (name, channel, f"{one.value:.2f} [{one.low:.2f}, {one.high:.2f}]", str(one.n))
        for name, measures in card.channels.items() for channel, one in measures.items()
    ]  # fmt: skip
    if by_channel:
        section.tables.append(Table(("figure", "channel", "value, 95 %", "n"), by_channel))
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
    return Section("Preparedness", text, [Table(head, rows), _published(theirs.preparedness())])


def _third_party(card: Card) -> Section:
    rows: list[tuple[Cell, ...]] = [tuple(str(row[key]) for key in ("who", "what", "result", "date"))
                                    for row in card.third_party]  # fmt: skip
    ours = [Table(("who", "what", "result", "date"), rows)] if rows else []
    text = [] if rows else [f"None of {card.model} was imported (`--third-party FILE`)."]
    return Section("Third-party assessments", text, [*ours, _published(theirs.third_party())])


def _beside(card: Card) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for one in beside():
        ours = card.numbers.get(one.ours)
        rows.append((one.what, "not measured" if ours is None else _value(ours), one.theirs,
                     "comparable" if one.comparable else "not comparable", one.why))  # fmt: skip
    return Section("Beside GPT-4o's published figures", [
        "GPT-4o's figures are OpenAI's (System Card, August 2024), not measured here.", *_odd("speaker"),
    ], [Table(("what", card.model, "GPT-4o", "", "why"), rows), _published(theirs.medical())])  # fmt: skip


def _latency(card: Card) -> Section:
    rows = [_row(name, one) for name, one in card.numbers.items() if name.startswith("latency_")]
    nothing = ["Not measured; the suite's task `latency`, or `omni bench latency --json`, gives the figures."]
    return Section("Latency", [] if rows else nothing, [Table(FIGURES, rows)] if rows else [])


def _societal() -> Section:
    return Section("Societal impact", [
        "Not studied with people. A voice invites trust that a model does not deserve: this one says false things"
        " fluently where it says anything, and must not be relied on for health, law, money or safety.",
        "Generated sound and pictures can carry signed provenance (`omni card sign`, `omni card verify`).",
    ])  # fmt: skip


def _cost(card: Card, model: Path) -> Section:
    hours = card.seconds / 3600
    text = [
        f"Evaluation: {hours:.2f} hours on the clock; at an assumed {WATTS_A_CORE:.0f} W for one core that is"
        f" {hours * WATTS_A_CORE / 1000:.4f} kWh (estimated, not metered).",
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


def _row(name: str, one: Number) -> tuple[Cell, ...]:
    measure = one.measure
    chance = "" if measure.chance is None else f"{measure.chance:.3g}"
    return (name, f"{measure.value:.3g}", f"{measure.low:.3g} to {measure.high:.3g}", str(measure.n), chance,
            measure.unit, _source(one), one.command)  # fmt: skip


def _value(one: Number) -> str:
    return f"{one.measure.value:.2f} [{one.measure.low:.2f}, {one.measure.high:.2f}], n={one.measure.n}"


def _left(one: Number) -> str:
    """What a guard with this recall lets through."""
    measure = one.measure
    return f"{1 - measure.value:.2f} [{1 - measure.high:.2f}, {1 - measure.low:.2f}], n={measure.n}"


def _source(one: Number) -> Cell:
    return Link("log", one.source) if one.source else "computed"


def lines(table: Table) -> Iterator[tuple[Cell, ...]]:
    """The head and the rows."""
    yield tuple(table.head)
    yield from table.rows
