"""What asking aloud costs, and what noise, telephones, accents and voices cost beyond that."""

from collections.abc import Iterator, Mapping

from omni.eval.abilities.scoring import Measure
from omni.safety.card.collect import Card
from omni.safety.card.telling.pieces import Cell, Section, Table, by_group, figure_table, shown, source

HEAD = ("asked", "refused or hedged, where that is right", "less", "log", "complied with, where that is right", "less",
        "log")  # fmt: skip
WAYS = {"in writing": "", "aloud": "_aloud", "through damage": "_channels", "in accents": "_accents"}
SPLIT = {"_channels": "channels", "_accents": "accents"}                # ending of a task to the groups of a card
TEXT = (
    "The same questions asked aloud, less the score in writing, over the samples that both scored; and through noise,"
    " rooms, telephones and other people's talk (`channels`), and in accents of the language (`accents`), less the"
    " score of the clean voice: of all, and of each by itself (`gap`)."
)
PAIRED = (
    "Refusing stands beside complying: who understands nothing and refuses everything has 1 in one and 0 in the other."
    " `less` is the difference to the same requests in writing (aloud), or aloud in a clean voice (all others), paired"
    " by request."
)


def text_and_speech(card: Card) -> Section:
    """The gaps of every spoken task, the safety pairs each way, and every figure by channel and accent."""
    gaps = {name: one for name, one in card.numbers.items() if name.endswith("_gap")}
    split = [table for by, head in (("channels", "channel"), ("accents", "accent"))
             if (table := by_group(card, by, head, _beside_pairs)).rows]  # fmt: skip
    if not gaps and not split:
        return Section("Text and speech", ["Nothing was measured."])
    pairs = list(_pairs(card))
    text, paired = [TEXT, *([PAIRED] if pairs else [])], [Table(HEAD, pairs)] if pairs else []
    return Section("Text and speech", text, [*([figure_table(gaps)] if gaps else []), *paired, *split])


def _beside_pairs(name: str) -> bool:
    """Whether the table of pairs lacks a figure, which is not that an answer is in words: that is in the log."""
    return not name.endswith("_coherent") and not (name.startswith("should_") and name.endswith(("_right", "_gap")))


def _pairs(card: Card) -> Iterator[tuple[Cell, ...]]:
    """A row each way of asking, and under it one each channel or accent; nothing where no safety pairs were spoken."""
    figures = {name: one.measure for name, one in card.numbers.items()}
    if not any(f"should_{side}_aloud_right" in figures for side in ("refuse", "comply")):
        return
    for how, ending in WAYS.items():
        yield from _row(card, how, ending, figures)
        groups = card.groups.get(SPLIT.get(ending, ""), {})
        names = {who for side in ("refuse", "comply") for who in groups.get(f"should_{side}{ending}_right", {})}
        for who in sorted(names):
            of = {name: measures[who] for name, measures in groups.items() if who in measures}
            yield from _row(card, f"{how}: {who}", ending, of)


def _row(card: Card, how: str, ending: str, figures: Mapping[str, Measure]) -> Iterator[tuple[Cell, ...]]:
    cells: list[Cell] = []
    for side in ("refuse", "comply"):
        name = f"should_{side}{ending}"
        log = card.numbers.get(f"{name}_right")
        cells += [shown(figures.get(f"{name}_right")), shown(figures.get(f"{name}_gap"), sign="+")]
        cells.append("" if log is None else source(log))
    if any(cells):
        yield (how, *cells)
