"""Every task on held-out items: forced choice for all, free answers for those in text, things to look at and hear."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor

from omni.decode.samplers import Sampler
from omni.decode.want import Want
from omni.eval.quick.answers import Answer, AnswerScore, answer_texts, answers_of, score
from omni.eval.quick.choices import ChoiceScore, forced_choice
from omni.eval.quick.examples import Example, FaceFeatures, Neighbours, examples, groups
from omni.model.transformer import OmniTransformer
from omni.progress import progress
from omni.tokenizers.image.pixels import to_levels
from omni.train.data.items import Item, Manifest
from omni.train.tasks.codes import Codes
from omni.train.tasks.templates import TASKS, Task
from omni.vocab import Vocabulary

CHOICES = 8
GROUPS = 6
ANSWERS = 32
SHOWN = 8
PICTURE_SAMPLER = Sampler(temperature=0.9, top_p=0.9)
SOUND_SAMPLER = Sampler(temperature=0.8, top_p=0.9)
SOUND_SECONDS = 4.0


@dataclass
class TaskResult:
    """What was measured on one task."""

    task: str
    choice: ChoiceScore | None = None
    answers: AnswerScore | None = None


@dataclass
class Drawing:
    """A generated picture [size, size, 3] or wave [samples] beside the example it answers."""

    example: Example
    made: np.ndarray


@dataclass
class Evaluation:
    """All results, and what the report shows: answers in words, pictures and sounds by task."""

    results: list[TaskResult] = field(default_factory=list)
    texts: dict[str, list[Answer]] = field(default_factory=dict)
    drawn: dict[str, list[Drawing]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        return {"results": [asdict(result) for result in self.results]}


@dataclass(frozen=True)
class Subject:
    """The model under evaluation with the data it is asked about."""

    model: OmniTransformer
    vocab: Vocabulary
    codes: Codes
    manifest: Manifest
    languages: Sequence[str]
    sources: Sequence[str]
    seed: int = 0

    def items(self, *splits: str) -> list[Item]:
        return [item for item in self.manifest.items if item.split in splits and item.source in self.sources]


@torch.inference_mode()
def evaluate(subject: Subject) -> Evaluation:
    """Score every task whose held-out items (valid and test splits) give at least one group of choices."""
    evaluation = Evaluation()
    held_out, training = subject.items("valid", "test"), subject.items("train")
    features = FaceFeatures(subject.manifest)
    silent = [task for task in TASKS if not task.aloud]                 # the others ask the same and say it too
    for task in progress(silent, "evaluating", unit="task"):
        found = examples(task, held_out, subject.languages, subject.seed)
        if not found:
            continue
        neighbours = Neighbours(features, examples(task, training, subject.languages, subject.seed))
        result = TaskResult(task.name)
        grouped = groups(found, CHOICES, GROUPS)
        result.choice = forced_choice(subject.model, subject.vocab, subject.codes, grouped, neighbours)
        _answer_freely(subject, task, found, neighbours, result, evaluation)
        evaluation.results.append(result)
    return evaluation


def _answer_freely(
    subject: Subject,
    task: Task,
    found: Sequence[Example],
    neighbours: Neighbours,
    result: TaskResult,
    evaluation: Evaluation,
) -> None:
    texts = [example for example in found if example.wanted.kind == "text"][:ANSWERS]
    if texts:
        said = answer_texts(subject.model, subject.vocab, subject.codes, texts, neighbours)
        result.answers = score(said)
        evaluation.texts[task.name] = said[:SHOWN]
    others = _distinct_items([example for example in found if example.wanted.kind in ("picture", "speech")])[:SHOWN]
    if others:
        made = {**_draw(subject, others), **_speak(subject, others)}
        evaluation.drawn[task.name] = [Drawing(example, made[row]) for row, example in enumerate(others)]


def _distinct_items(found: Sequence[Example]) -> list[Example]:
    return list({example.item.id: example for example in found}.values())


def _draw(subject: Subject, shown: Sequence[Example]) -> dict[int, np.ndarray]:
    """Pictures uint8 [size, size, 3] by row of `shown`, for those that want one."""
    rows = [row for row, example in enumerate(shown) if example.wanted.kind == "picture"]
    said = _answers(subject, [shown[row] for row in rows], Want("image"), PICTURE_SAMPLER)
    image = subject.codes.tokenizers.image
    return {row: to_levels(image.decode(codes[None])[0]) for row, codes in zip(rows, said, strict=True)}


def _speak(subject: Subject, shown: Sequence[Example]) -> dict[int, np.ndarray]:
    """Waves float [samples] by row of `shown`, for those that want speech; one silent sample where nothing is said."""
    rows = [row for row, example in enumerate(shown) if example.wanted.kind == "speech"]
    audio = subject.codes.tokenizers.audio
    want = Want("audio", limit=int(SOUND_SECONDS * audio.frame_rate))
    said = _answers(subject, [shown[row] for row in rows], want, SOUND_SAMPLER)
    silence = np.zeros(1, np.float32)
    waves = [audio.decode(codes[None])[0].numpy() if len(codes) else silence for codes in said]
    return dict(zip(rows, waves, strict=True))


def _answers(subject: Subject, shown: Sequence[Example], want: Want, sampler: Sampler) -> list[Tensor]:
    """Codes of one answer to each example."""
    segments = answers_of(subject.model, subject.vocab, subject.codes, shown, want, sampler)
    return [torch.from_numpy(segment.codes) for segment in segments]
