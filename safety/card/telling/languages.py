"""Languages: our figures, the gap to English, and the tables of GPT-4o's card."""

import re

from omni.eval.abilities.scoring import Measure
from omni.safety.card.collect import Card, Number, has_interval
from omni.safety.card.derived import unpaired_gap
from omni.safety.card.telling.pieces import Cell, Section, Table, shown, source
from omni.safety.published import LANGUAGES, checks, published

LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]{2})?")                        # a code, at the end of a figure's name


def languages(card: Card) -> Section:
    """The six languages of GPT-4o's card: our figures, the gap to English, and the published tables."""
    section = Section("Languages")
    rows: list[tuple[Cell, ...]] = []
    english = card.numbers.get("name_emoji_accuracy_en")
    for code, language in LANGUAGES.items():
        one = card.numbers.get(f"name_emoji_accuracy_{code}")
        gap = "" if not (one and english) or code == "en" else _from_english(one, english)
        rows.append((language, "no figure" if one is None else shown(one.measure), gap, source(one) if one else ""))
    section.tables.append(Table(("names of emoji, one of ten", "accuracy", "gap to English", "log"), rows))
    if (every := _every_language(card)).rows:
        section.tables.append(every)
    tables = published()["languages"]
    for key, title in (("arc_easy", "GPT-4o's card: ARC-Easy, %"), ("truthful_qa", "GPT-4o's card: TruthfulQA, %")):
        table = [(name, *(f"{one:g}" for one in values)) for name, values in tables[key].items()]
        section.tables.append(Table((title, *LANGUAGES.values()), list(table)))
    uhura = published()["uhura"]
    table = [(name, *(f"{one:g}" for one in values)) for name, values in uhura["rows"].items()]
    section.tables.append(Table(("GPT-4o's card: Uhura-Eval, %", *(LANGUAGES[one] for one in uhura["columns"])), table))
    section.text += odd("ARC-Easy")
    section.text.append("The tasks are not the same: ours names pictures, theirs answers questions. There is no figure"
                        " where the data have no names in a language, or fewer than five were asked.")
    return section


def odd(about: str) -> list[str]:
    """Where the prose of GPT-4o's card and its tables differ."""
    odd = [one for one in checks() if not one.agrees and one.name.startswith(about)]
    return [f"GPT-4o's card, {one.name}: {one.note}." for one in odd]


def _from_english(one: Number, english: Number) -> str:
    gap = unpaired_gap(one.measure, english.measure)
    return f"{gap.value:+.3g}" + (f" [{gap.low:+.3g}, {gap.high:+.3g}]" if has_interval(gap) else "")


def _with_ends(one: Measure) -> str:
    return f"{one.value:.3g}" + (f" [{one.low:.3g}, {one.high:.3g}]" if has_interval(one) else "")


def _every_language(card: Card) -> Table:
    """Every figure of the model that there is in English and in another language, with the gap between them."""
    rows: list[tuple[Cell, ...]] = []
    of_model = {name: one for name, one in card.numbers.items() if not name.startswith("graders_")}
    for name, one in of_model.items():
        whole, _, code = name.rpartition("_")
        english = card.numbers.get(f"{whole}_en")
        if english is not None and code != "en" and LANGUAGE.fullmatch(code):
            shown = (_with_ends(number.measure) for number in (one, english))
            rows.append((whole, code, *shown, _from_english(one, english), str(one.measure.n), source(one)))
    return Table(("figure", "language", "value, 95 %", "in English", "gap to English", "n", "log"), rows)
