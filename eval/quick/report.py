"""The page at the end of a quickstart: what was learnt, against which baselines, to look at and to listen to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omni.eval.quick.answers import Answer, AnswerScore
from omni.eval.quick.choices import ChoiceScore
from omni.eval.quick.evaluate import Drawing, Evaluation, Subject
from omni.eval.quick.examples import Example
from omni.page import Content, Markup, Page, picture, plot, render, sound, verdict
from omni.train.data.loader import Dataset
from omni.train.monitor.log import read_log
from omni.train.monitor.tally import unigram_losses
from omni.train.tasks.templates import Face

WELL_BELOW = 0.95                                                       # of the unigram loss
FALL_SHORT = "A quarter of an hour on two cores is little; what is not above its baselines is marked in orange."


@dataclass(frozen=True)
class TaskLoss:
    """Validation loss of the model and of guessing by training frequency, both in nats a trained step."""

    loss: float
    unigram: float


def write_report(
    path: Path,
    subject: Subject,
    evaluation: Evaluation,
    losses: Mapping[str, TaskLoss],
    facts: Sequence[tuple[str, Content]],
    loss_plot: Path,
) -> None:
    """Write the page; everything it shows is inside it. `loss_plot` is a PNG file."""
    page = Page("omni quickstart: what a quarter of an hour taught")
    page.facts(facts)
    page.heading("Training")
    page.paragraph(plot(loss_plot, "loss curves"))
    page.table(["task", "validation loss", "unigram loss", "loss / unigram", ""], _loss_rows(losses))
    page.heading("Held-out items: forced choice")
    page.paragraph(
        "The model picks the answer of a held-out prompt among eight held-out answers of the same kind and language. "
        "Accuracy with its 95 % interval; the neighbour is a nearest-neighbour lookup in the training items. "
        + FALL_SHORT
    )
    page.table(["task", "accuracy", "95 %", "chance", "neighbour", "n", ""], _choice_rows(evaluation))
    page.heading("Held-out items: free answers")
    page.paragraph("Mean sentence chrF (0 to 100) of greedy answers, the nearest neighbour's answer, a copied source.")
    page.table(["task", "chrF", "95 %", "neighbour", "copy", "n", ""], _answer_rows(evaluation))
    for task, answers in evaluation.texts.items():
        page.heading(f"{task}: in words")
        page.cards(_answer_card(subject, answer) for answer in answers)
    for task, drawings in evaluation.drawn.items():
        page.heading(f"{task}: made by the model")
        page.cards(_drawing_card(subject, drawing) for drawing in drawings)
    page.heading("Data")
    page.paragraph(_attribution(subject), small=True)
    page.write(path)


def read_losses(run: Path, shards: Path, row_steps: int) -> dict[str, TaskLoss]:
    """The last validation of a training run beside the unigram losses of the same tasks."""
    valid = [record for record in read_log(run) if record["kind"] == "valid"]
    if not valid:
        return {}
    data, held_out = (Dataset.load([shards / split], row_steps) for split in ("train", "valid"))
    unigram = unigram_losses(data, held_out)
    return {task: TaskLoss(loss, unigram[task]) for task, loss in sorted(valid[-1]["tasks"].items())}


def _loss_rows(losses: Mapping[str, TaskLoss]) -> list[list[Content]]:
    rows: list[list[Content]] = []
    for task, measured in losses.items():
        ratio = measured.loss / measured.unigram if measured.unigram else float("nan")
        good = ratio < WELL_BELOW
        word = verdict("well below" if good else "not well below", good)
        rows.append([task, f"{measured.loss:.3f}", f"{measured.unigram:.3f}", f"{ratio:.2f}", word])
    return rows


def _choice_rows(evaluation: Evaluation) -> list[list[Content]]:
    rows: list[list[Content]] = []
    for result in evaluation.results:
        choice = result.choice
        if choice is None:
            rows.append([result.task, "-", "", "", "", "0", "too few held-out items for a group"])
            continue
        neighbour = "-" if choice.neighbour is None else f"{choice.neighbour:.2f}"
        interval = f"{choice.low:.2f}..{choice.high:.2f}"
        row = [result.task, f"{choice.accuracy:.2f}", interval, f"{choice.chance:.2f}", neighbour, str(choice.n)]
        rows.append([*row, _choice_verdict(choice)])
    return rows


def _choice_verdict(choice: ChoiceScore) -> Markup:
    if choice.above_chance and choice.above_neighbour:
        return verdict("above chance and neighbour", good=True)
    if choice.above_chance:
        return verdict("above chance, not above the neighbour", good=False)
    return verdict("not above chance", good=False)


def _answer_rows(evaluation: Evaluation) -> list[list[Content]]:
    rows: list[list[Content]] = []
    for result in evaluation.results:
        if result.answers is not None:
            rows.append([result.task, *_answer_cells(result.answers)])
    return rows


def _answer_cells(answers: AnswerScore) -> list[Content]:
    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    good = answers.above_baselines
    word = verdict("above its baselines" if good else "not above its baselines", good)
    interval = f"{answers.low:.1f}..{answers.high:.1f}"
    return [f"{answers.chrf:.1f}", interval, cell(answers.neighbour), cell(answers.copy), str(answers.n), word]


def _answer_card(subject: Subject, answer: Answer) -> list[Content]:
    lines = [_show(subject, answer.example, answer.example.given)]
    lines.append(Markup(f"<b>{render(answer.text or '(nothing)')}</b>"))
    lines.append(Markup(f'<span class="small">reference: {render(answer.reference)}</span>'))
    return lines


def _drawing_card(subject: Subject, drawing: Drawing) -> list[Content]:
    example = drawing.example
    made: Content
    if example.wanted.kind == "picture":
        real = subject.manifest.picture(example.item.pictures[example.wanted.index])
        made = Markup(picture(drawing.made, "drawn").text + picture(real, "the real one").text)
        note = "left: drawn; right: the real one"
    else:
        made = sound(drawing.made, subject.codes.tokenizers.audio.sample_rate)
        note = f"should say ({example.wanted.language}): {_words(example)}"
    return [_show(subject, example, example.given), made, Markup(f'<span class="small">{render(note)}</span>')]


def _words(example: Example) -> str:
    return example.item.texts.get(example.wanted.language or "", "(no transcript)")


def _show(subject: Subject, example: Example, face: Face) -> Content:
    """A face of an item as a person sees or hears it."""
    item = example.item
    if face.kind == "text":
        return f"{face.language}: {item.texts[face.language or '']}"
    if face.kind == "picture":
        return picture(subject.manifest.picture(item.pictures[face.index]), item.id)
    wave = subject.manifest.wave(item.recordings[face.index])
    words = item.texts.get(face.language or "", item.id)
    label = f"{face.language}: {words}" if face.kind == "speech" else f"sound of {item.texts.get('en', item.id)}"
    return Markup(sound(wave, subject.manifest.sample_rate).text + f"<div>{render(label)}</div>")


def _attribution(subject: Subject) -> str:
    items = subject.items("train", "valid", "test")
    lines = sorted({f"{item.source}: {item.licence}" for item in items})
    return f"{len(items)} items. Licences, kept for each item in items.jsonl: " + "; ".join(lines)
