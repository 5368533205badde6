"""Free answers: what the model says on held-out prompts, scored against the reference, a neighbour and a copy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sacrebleu

from omni.decode.generate import generate_batch
from omni.decode.samplers import Sampler
from omni.decode.want import Want
from omni.eval.quick.examples import Example, Neighbours
from omni.eval.statistics import bootstrap
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment
from omni.train.tasks.codes import Codes
from omni.vocab import Vocabulary

TEXT_LIMIT = 60
GREEDY = Sampler(temperature=0)


@dataclass(frozen=True)
class Answer:
    """One answer in words, with what it should have been and what the baselines say."""

    example: Example
    text: str
    reference: str
    neighbour: str | None
    copy: str | None


@dataclass(frozen=True)
class AnswerScore:
    """Mean sentence chrF (0..100, Popovic 2015) of model, nearest neighbour and copied source over `n` answers."""

    chrf: float
    low: float
    high: float
    neighbour: float | None
    copy: float | None
    n: int

    @property
    def above_baselines(self) -> bool:
        return self.low > max(self.neighbour or 0.0, self.copy or 0.0)


def answers_of(
    model: OmniTransformer, vocab: Vocabulary, codes: Codes, examples: Sequence[Example], want: Want, sampler: Sampler
) -> list[Segment]:
    """One answer to each example, generated side by side; `want.language` is replaced by the example's own."""
    said: dict[int, Segment] = {}
    for language in sorted({example.wanted.language for example in examples}, key=str):
        rows = [row for row, example in enumerate(examples) if example.wanted.language == language]
        given = [[codes.segment(examples[row].item, examples[row].given, "user")] for row in rows]
        made = generate_batch(model, vocab, given, [replace(want, language=language)], sampler)
        said |= {row: segments[0] for row, segments in zip(rows, made, strict=True)}
    return [said[row] for row in range(len(examples))]


def answer_texts(
    model: OmniTransformer, vocab: Vocabulary, codes: Codes, examples: Sequence[Example], neighbours: Neighbours
) -> list[Answer]:
    """Greedy text answers to examples that want text."""
    said = answers_of(model, vocab, codes, examples, Want("text", limit=TEXT_LIMIT), GREEDY)
    texts = [codes.tokenizers.text.decode(segment.codes.tolist()) for segment in said]
    return [_answer(example, text, neighbours) for example, text in zip(examples, texts, strict=True)]


def score(answers: Sequence[Answer]) -> AnswerScore:
    """Mean chrF with its bootstrap interval, beside the baselines' on the same examples."""
    ours = [chrf(answer.text, answer.reference) for answer in answers]
    low, high = bootstrap(ours)
    neighbour = _mean([chrf(answer.neighbour, answer.reference) for answer in answers if answer.neighbour is not None])
    copy = _mean([chrf(answer.copy, answer.reference) for answer in answers if answer.copy is not None])
    return AnswerScore(sum(ours) / len(ours), low, high, neighbour, copy, len(ours))


def chrf(text: str, reference: str) -> float:
    """Sentence chrF, 0..100."""
    return float(sacrebleu.sentence_chrf(text, [reference]).score)


def _answer(example: Example, text: str, neighbours: Neighbours) -> Answer:
    neighbour = neighbours.nearest(example)
    return Answer(
        example,
        text,
        example.text(example.wanted),
        neighbour.text(neighbour.wanted) if neighbour else None,
        example.text(example.given) if example.given.kind == "text" else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
