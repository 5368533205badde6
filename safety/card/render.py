"""A card as HTML to look at and listen to, as Markdown with Hugging Face's metadata, and as JSON."""

import html
import re
import shutil
from pathlib import Path

from omni.eval.suite.page import card as sample_card
from omni.eval.suite.page import examples
from omni.files import atomic_path, write_json, write_text
from omni.model.folder import learnt_languages
from omni.page import Content, Markup, Page, plot, verdict
from omni.safety.card.collect import Card, beside_model
from omni.safety.card.plots import plots
from omni.safety.card.sections import sections
from omni.safety.card.telling.data import COPIED
from omni.safety.card.telling.pieces import Cell, Link, Section, Table, lines
from omni.vocab import Vocabulary

ASKED = {                                                               # what suites ask that ask no file of the user's
    "capability": "held-out items of omni", "safety": "requests of omni", "live": "held-out questions of omni",
}  # fmt: skip
ANY = "any-to-any"                                                      # a task, where no narrower one fits
TASKS = {                                                               # how the names of figures begin
    "transcribe": "automatic-speech-recognition", "translate": "translation", "speak": "text-to-speech",
    "draw": "text-to-image", "sounds": "audio-classification", "name_": "zero-shot-image-classification",
    "video": "video-classification", "text_qa": "question-answering", "spoken_qa": "question-answering",
    "perplexity": "text-generation",
}  # fmt: skip
SHOWN = 4                                                               # samples of a task


def write_card(card: Card, model: Path, out: Path) -> list[Path]:
    """Write card.html, README.md and card.json into `out`; returns them."""
    for name in COPIED:
        if (path := beside_model(model, name)).is_file():
            with atomic_path(out / name) as scratch:
                shutil.copyfile(path, scratch)
    found = sections(card, model, plots(card, out))
    write_json(out / "card.json", card.as_dict())
    write_text(out / "README.md", markdown(card, found, model))
    _page(card, found, out).write(out / "card.html")
    return [out / name for name in ("card.html", "README.md", "card.json")]


def markdown(card: Card, found: list[Section], model: Path) -> str:
    """The card as a model card of Hugging Face, whose metadata hold the figures."""
    parts = [_metadata(card, model), f"# System Card: {card.model}", *_face(card)]
    for section in found:
        parts += [f"## {section.title}", *section.text, *map(_table, section.tables)]
        parts += [f"![{title}]({file})" for title, file in section.plots.items()]
    return "\n\n".join(parts) + "\n"


def _metadata(card: Card, model: Path) -> str:
    """What Hugging Face indexes. The licence is that of the data, author by author: no single name covers it."""
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    for whole, one in card.numbers.items():
        name = whole.rpartition("/")[2]                                 # before it a user's file, where it was asked
        if _of_model(name):
            results.append(EvalResult(
                task_type=_task(name), dataset_type=one.asked, dataset_name=ASKED.get(one.asked, one.asked),
                metric_type=whole, metric_value=round(one.measure.value, 4), verified=False,
            ))  # fmt: skip
    attributed = beside_model(model, "ATTRIBUTION.md").is_file()
    data = ModelCardData(
        model_name=card.model, library_name="omni", pipeline_tag=ANY, eval_results=results or None,
        tags=["omni", "speech", "multimodal"], language=_languages(model), license="other",
        license_name="see-attribution" if attributed else "unknown",
        license_link="ATTRIBUTION.md" if attributed else None,
    )  # fmt: skip
    return f"---\n{data.to_yaml()}\n---"


def _task(figure: str) -> str:
    """What Hugging Face calls the task of a figure."""
    return next((task for start, task in TASKS.items() if figure.startswith(start)), ANY)


def _of_model(figure: str) -> bool:
    """Whether a figure is a result of the model, and not of a baseline, a guard, a grader or a recogniser."""
    return not (figure.endswith(("_baseline", "_guarded")) or "_asked_wer" in figure
                or figure.startswith(("guards_", "graders_")))  # fmt: skip


def _languages(model: Path) -> list[str]:
    """The languages that a model learnt, else, where nobody knows, those that it has tags for."""
    learnt = learnt_languages(model)
    known = Vocabulary.load(model / "vocab.json").languages if learnt is None else learnt
    return sorted({language.split("-")[0] for language in known})   # as far as Hugging Face knows codes of their kind


def _face(card: Card) -> list[str]:
    if not card.problems:
        return ["Every log is there, whole, and of these weights."]
    return ["**This card is not whole:**\n\n" + "\n".join(f"- {problem}" for problem in card.problems)]


def _table(table: Table) -> str:
    rows = ["| " + " | ".join(map(_written, row)) + " |" for row in lines(table)]
    return "\n".join([rows[0], "|" + "---|" * len(table.head), *rows[1:]])


def _written(cell: Cell) -> str:
    if isinstance(cell, Link):
        return f"[{cell.text}]({cell.target})"
    return " ".join(cell.split()).replace("|", "\\|")


def _page(card: Card, found: list[Section], out: Path) -> Page:
    page = Page(f"System Card: {card.model}")
    if card.problems:
        page.paragraph(verdict("This card is not whole:", good=False))
        rows = [(_coded(verdict(problem, good=False)),) for problem in card.problems]
        page.table(("what is missing, stale or partial",), rows)
    else:
        page.paragraph(verdict(_face(card)[0], good=True))
    for section in found:
        page.heading(section.title)
        for text in section.text:
            page.paragraph(_coded(Markup(html.escape(text))))
        for table in section.tables:
            page.table(table.head, [tuple(map(_shown, row)) for row in table.rows])
        for title, file in section.plots.items():
            page.paragraph(plot(out / file, title))
    for task, samples in card.samples.items():
        page.heading(f"Samples: {task}")
        page.cards(map(sample_card, examples(samples, SHOWN)))
    return page


def _coded(written: Markup) -> Markup:
    """What stands between backticks, as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", written.text))


def _shown(cell: Cell) -> Content:
    if isinstance(cell, Link):
        return Markup(f'<a href="{html.escape(cell.target)}">{html.escape(cell.text)}</a>')
    return cell
