"""The HTML page of a suite: figures, what was left out, and answers to read, hear and look at."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from inspect_ai.log import EvalSample
from inspect_ai.model import ChatMessage, ContentAudio, ContentImage, ContentText

from omni.errors import InputError
from omni.eval.abilities.scoring import Measure
from omni.eval.inspected.messages import INSTRUCTION, read_picture, read_sound
from omni.eval.suite.outcome import Outcome
from omni.page import Content, Page, picture, sound, verdict

SHOWN = 8                                                               # examples of a task
HEAD = ("figure", "value", "95 %", "n", "chance", "unit")


def write_page(path: Path, title: str, facts: Sequence[tuple[str, str]], outcomes: Sequence[Outcome]) -> None:
    """Write the page atomically."""
    page = Page(title)
    page.facts(facts)
    page.heading("Figures")
    page.table(HEAD, [row(name, one) for result in outcomes for name, one in result.figures.items()
                      if _main(name, result.figures)])  # fmt: skip
    page.heading("Samples")
    page.paragraph("Every sample that went in is scored, or is an error, or was not reached.", small=True)
    page.table(("task", "given", "scored", "errors", "not reached", "log", "note"), map(_counts, outcomes))
    for result in outcomes:
        if result.samples:
            page.heading(result.task)
            rows = [row(name, one) for name, one in result.figures.items() if not _main(name, result.figures)]
            rows += [row(f"{name}, {by} {who}", one) for by, some in result.groups.items()
                     for name, of in some.items() for who, one in of.items()]  # fmt: skip
            if rows:
                page.table(HEAD, rows)
            page.cards(map(card, examples(result.samples)))
    page.write(path)


def row(name: str, one: Measure) -> tuple[Content, ...]:
    chance = "" if one.chance is None else f"{one.chance:.3g}"
    return name, f"{one.value:.3g}", f"{one.low:.3g} to {one.high:.3g}", str(one.n), chance, one.unit


def examples(samples: Sequence[EvalSample], most: int = SHOWN) -> list[EvalSample]:
    """Evenly taken from all."""
    return list(samples[:: max(1, len(samples) // most)][:most])


def card(sample: EvalSample) -> list[Content]:
    """What was asked, what was answered, what was wanted, and the scores."""
    lines: list[Content] = [f"#{sample.id}"]
    asked = sample.input if isinstance(sample.input, list) else []
    lines += [line for message in asked for line in _shown(message)]
    lines.append("answer:")
    if sample.output.choices:
        lines += list(_shown(sample.output.message)) or ["(nothing)"]
    if isinstance(sample.target, str) and sample.target:
        lines.append(f"wanted: {sample.target}")
    if sample.error:
        lines.append(verdict(sample.error.message, good=False))
    lines += [f"{name}: {_short(score.value)}" for name, score in (sample.scores or {}).items()]
    return lines


def _shown(message: ChatMessage) -> Iterator[Content]:
    contents = [ContentText(text=message.content)] if isinstance(message.content, str) else message.content
    for content in contents:
        try:
            if isinstance(content, ContentText) and content.internal != INSTRUCTION:
                yield content.text or "(no text)"
            elif isinstance(content, ContentAudio):
                yield sound(*read_sound(content))
            elif isinstance(content, ContentImage):
                yield picture(read_picture(content), "picture")
        except InputError as error:
            yield verdict(str(error), good=False)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _counts(result: Outcome) -> tuple[Content, ...]:
    note = verdict(result.note, good=False) if result.note else "whole"
    counts = (result.given, result.scored, result.errored, result.missing)
    return result.task, *map(str, counts), result.log, note


def _main(name: str, known: Collection[str]) -> bool:
    """Whether a figure is a task's own, or stands beside it, and is not that of one language."""
    return name.removesuffix("_baseline").removesuffix("_unparsable").rpartition("_")[0] not in known
