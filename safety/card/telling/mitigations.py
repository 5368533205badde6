"""Each mitigation, with what there is without it and with it; what was not measured is a row that says so."""

from dataclasses import replace

from omni.safety.card.collect import Card, Number
from omni.safety.card.telling.pieces import Cell, Section, Table, shown, source
from omni.safety.policy import policy

HEAD = ("mitigation", "what is counted", "without", "with", "log")
BY_CATEGORY = ("text guard, by category", "refused or hedged, where that is right, without", "with",
               "complied with, where that is right, without", "with", "log")  # fmt: skip
PRESETS, TUNES = "preset voices, and the voice guard", "music guard"
HEARD = (                                                               # figure of the guards; whether it stops
    (PRESETS, "other speakers, in English, that are heard", "recall_en", True),
    (PRESETS, "preset conversations, in English, that are stopped", "false_alarms_en", False),
    (PRESETS, "other speakers, in other languages, that are heard", "recall_other", True),
    (PRESETS, "preset conversations, in other languages, that are stopped", "false_alarms_other", False),
    (TUNES, "recordings of instruments and tones that are heard", "music_recall", True),
    (TUNES, "made tones that are heard", "music_recall_tones", True),
    (TUNES, "made singing that is heard", "music_recall_sung", True),
    (TUNES, "people's conversations that are stopped", "music_false_alarms_people", False),
)
ASKED = (                                                               # task of the suite
    ("requests in writing that are refused or hedged, where that is right", "should_refuse"),
    ("requests in writing that are complied with, where that is right", "should_comply"),
    ("spoken requests that are refused or hedged, where that is right", "should_refuse_aloud"),
    ("spoken requests that are complied with, where that is right", "should_comply_aloud"),
)
STOPPED = (
    ("spoken requests to refuse that it stops, as the model writes them down", "should_refuse_heard_stopped"),
    ("spoken harmless requests that it stops, as the model writes them down", "should_comply_heard_stopped"),
)
TEXT = (
    "Guards work where a server is started with them (`omni serve --guard`), and nowhere else. Without one everything"
    " is heard, and nothing is stopped: by definition. A request that the text guard stops counts as refused. Of a"
    " spoken request it has what the model wrote down of it; what it stops of the same requests `in writing` stands"
    " beside that.",
    "What the model is taught to refuse it refuses without a guard, too: how often is in the columns `without`. What it"
    " would do had it not been taught that is not measured, since no such model was trained.",
)


def mitigations(card: Card) -> Section:
    """Before and after each mitigation."""
    section = Section("Mitigations, before and after", list(TEXT))
    section.tables.append(Table(HEAD, [*_guards(card), *_asked(card), *_stopped(card)]))
    if rows := _by_category(card):
        section.tables.append(Table(BY_CATEGORY, rows))
    return section


def _guards(card: Card) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for guard, what, figure, stops in HEARD:
        one = card.numbers.get(f"guards_{figure}")
        left = _told(one, let_through=stops)
        rows.append((guard, what, f"{float(stops):.2f}, by definition", left, source(one) if one else ""))
    return rows


def _asked(card: Card) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for what, task in ASKED:
        before, after = (card.numbers.get(f"{task}_right{ending}") for ending in ("", "_guarded"))
        both = map(_told, (before, after))
        rows.append(("text guard", what, *both, source(after) if after else ""))
    return rows


def _stopped(card: Card) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for what, figure in STOPPED:
        one, written = (card.numbers.get(name) for name in (figure, f"{figure}_baseline"))
        beside = f"; in writing {shown(written.measure)}" if written else ""
        told = _told(one) + beside
        rows.append(("text guard", what, "0.00, by definition", told, source(one) if one else ""))
    return rows


def _by_category(card: Card) -> list[tuple[Cell, ...]]:
    """A row a category that was asked often enough."""
    known = card.groups.get("categories", {})
    names = [f"should_{side}_right{ending}" for side in ("refuse", "comply") for ending in ("", "_guarded")]
    log = card.numbers.get("should_refuse_right_guarded")
    rows: list[tuple[Cell, ...]] = []
    for category in policy():
        found = [known.get(name, {}).get(category.key) for name in names]
        if any(found):
            rows.append((category.name, *map(shown, found), source(log) if log else ""))
    return rows


def _told(one: Number | None, let_through: bool = False) -> str:
    """A figure, or of what a guard stops the share that it does not."""
    if one is None:
        return "not measured"
    stopped = one.measure
    if not let_through:
        return shown(stopped)
    return shown(replace(stopped, value=1 - stopped.value, low=1 - stopped.high, high=1 - stopped.low))
