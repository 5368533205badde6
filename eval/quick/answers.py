"""Free answers: what the model says on held-out prompts, scored against the reference, a neighbour and a copy."""

from collections.abc import Sequence
from dataclasses import dataclass

import sacrebleu

from omni.decode.generate import Want, generate_batch
from omni.decode.samplers import Sampler
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


def answer_texts(
    model: OmniTransformer, vocab: Vocabulary, codes: Codes, examples: Sequence[Example], neighbours: Neighbours
) -> list[Answer]:
    """Greedy text answers to examples that want text."""
    answers = []
    for language in sorted({str(example.wanted.language) for example in examples}):
        asked = [example for example in examples if example.wanted.language == language]
        given = [[codes.segment(example.item, example.given, "user")] for example in asked]
        said = generate_batch(model, vocab, given, [Want("text", language, None, TEXT_LIMIT)], GREEDY)
        for example, segments in zip(asked, said, strict=True):
            answers.append(_answer(example, codes.tokenizers.text.decode(segments[0].codes.tolist()), neighbours))
    return answers


def answer_codes(
    model: OmniTransformer,
    vocab: Vocabulary,
    codes: Codes,
    examples: Sequence[Example],
    want: Want,
    sampler: Sampler,
) -> list[Segment]:
    """Answers in pictures or sound, one a held-out example; `want.language` is replaced by the example's own."""
    made = []
    for example in examples:
        asked = Want(want.modality, example.wanted.language, None, want.limit)
        given = [codes.segment(example.item, example.given, "user")]
        made.append(generate_batch(model, vocab, [given], [asked], sampler)[0][0])
    return made


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
