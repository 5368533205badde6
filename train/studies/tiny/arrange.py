"""The same documents laid out in different ways: layouts of the codes, and where a spoken answer has its text."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from omni.sequence import Segment
from omni.sequence import Sequence as Stream
from omni.tokenizers.text import TextTokenizer
from omni.train.data.shards import Shard, ShardWriter
from omni.train.tasks.build import TRAINED
from omni.vocab import LAYOUTS, Vocabulary

ROW = 512                                                               # steps: every document fits, however laid out
CHUNK = 3, 10                                                           # tokens of text, then frames of speech
LETTER, SECOND, PICTURE = "letter of text", "second of speech", "picture"
UNITS = {                                                               # of the tasks that are measured
    "transcribe": LETTER, "translate": LETTER, "caption": LETTER,
    "say": SECOND, "tell": SECOND, "see": SECOND, "mind": SECOND,
    "draw": PICTURE,
}  # fmt: skip


def text_first(text: Segment, speech: Segment) -> list[Segment]:
    return [text, speech]


def alone(text: Segment, speech: Segment) -> list[Segment]:
    """The speech without its text."""
    return [speech]


def interleaved(text: Segment, speech: Segment) -> list[Segment]:
    """Some tokens, then about as much speech as they take to say, in turns; the last ones take what is left.

    (A fixed ratio, as in GLM-4-Voice, Zeng et al. 2024: nobody knows which word is when.)
    """
    tokens, frames = CHUNK
    turns = max(1, min(math.ceil(len(text.codes) / tokens), math.ceil(len(speech.codes) / frames)))
    found = []
    for written, said in zip(_cut(text.codes, tokens, turns), _cut(speech.codes, frames, turns), strict=True):
        found += [replace(text, codes=written), replace(speech, codes=said)]
        text, speech = replace(text, language=None), replace(speech, language=None, voice=None)  # told once
    return found


def _cut(codes: np.ndarray, size: int, turns: int) -> list[np.ndarray]:
    return np.split(codes, [size * turn for turn in range(1, turns)])


@dataclass(frozen=True)
class Arrangement:
    """layout: of the audio codes; answer: what becomes of a spoken answer's text and speech"""

    layout: str
    answer: Callable[[Segment, Segment], list[Segment]] = text_first

    def segments(self, segments: list[Segment]) -> list[Segment]:
        """A conversation with its spoken answers as they are here."""
        found, rest = [], list(segments)
        while rest:
            one = rest.pop(0)
            if rest and (_kind(one), _kind(rest[0])) == (("assistant", "text"), ("assistant", "audio")):
                found += self.answer(one, rest.pop(0))
            else:
                found.append(one)
        return found


def _kind(segment: Segment) -> tuple[str, str]:
    return segment.role, segment.modality


ARRANGEMENTS = {
    "delay": Arrangement("delay"),
    "flat": Arrangement("flat"),
    "depth": Arrangement("depth"),
    "alone": Arrangement("delay", alone),
    "interleaved": Arrangement("delay", interleaved),
}


@dataclass(frozen=True)
class Choice:
    """Which documents of a shard are taken, in an order of chance.

    languages: that answers may have; steps, documents: where there are enough; measured: those alone that have an
    amount of the task's unit
    """

    languages: tuple[str, ...]
    steps: float = math.inf
    documents: float = math.inf
    measured: bool = False


def arrange(shard: Shard, out: Path, split: str, choice: Choice, amounts: "Amounts") -> list[tuple[str, float]]:
    """Write out/ARRANGEMENT/SPLIT/TASK, each with the same documents in the same order; their items and amounts.

    A document that is longer than ROW in one arrangement is left out of all. Writes nothing when none is left.
    """
    vocabs = {layout: replace(shard.vocab, layout=layout) for layout in LAYOUTS}
    taken = dict(sorted(_taken(shard, vocabs, choice, amounts)))        # items' documents must lie together
    if not taken:
        return []
    for name, arrangement in ARRANGEMENTS.items():
        with ShardWriter(out / name / split / shard.task, vocabs[arrangement.layout], shard.task) as writer:
            for number, (_, streams) in taken.items():
                writer.add(streams[name], _item(shard, number))
    return [(_item(shard, number), amount) for number, (amount, _) in taken.items()]


def _item(shard: Shard, number: int) -> str:
    return shard.items[int(shard.index[number]["item"])]


def _taken(
    shard: Shard, vocabs: Mapping[str, Vocabulary], choice: Choice, amounts: "Amounts"
) -> Iterator[tuple[int, tuple[float, dict[str, Stream]]]]:
    """Number of each document taken, its amount and what it is in every arrangement."""
    steps = documents = 0
    for number in np.random.default_rng(0).permutation(len(shard)).tolist():
        if steps >= choice.steps or documents >= choice.documents:
            return
        segments = shard.sequence(number).segments(shard.vocab)
        if any(one.language not in (None, *choice.languages) for one in segments):
            continue
        amount = amounts.of(shard.task, segments)
        if choice.measured and not amount:
            continue
        trained = TRAINED.get(shard.task, ("assistant",))
        streams = {
            name: Stream.of(one.segments(segments), vocabs[one.layout], trained) for name, one in ARRANGEMENTS.items()
        }
        if max(map(len, streams.values())) <= ROW:
            yield number, (amount, streams)
            steps, documents = steps + len(shard.sequence(number)), documents + 1


@dataclass(frozen=True)
class Amounts:
    """How much of its task's unit a document's trained segments hold, text first, whatever the arrangement."""

    text: TextTokenizer
    frame_rate: float
    units: Mapping[str, str]

    def of(self, task: str, segments: list[Segment]) -> float:
        unit, trained = self.units.get(task), TRAINED.get(task, ("assistant",))
        said = [one for one in segments if one.role in trained]
        if unit == LETTER:
            return sum(len(self.text.decode(one.codes.tolist())) for one in said if one.modality == "text")
        if unit == SECOND:
            return sum(len(one.codes) for one in said if one.modality == "audio") / self.frame_rate
        return sum(one.modality == "image" for one in said)
