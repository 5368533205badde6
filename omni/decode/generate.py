"""Answers to many conversations, or many to one, drawn side by side."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator

from omni.decode.heard import last_sound
from omni.decode.payload import longest
from omni.decode.samplers import Sampler
from omni.decode.say import answer, begin
from omni.decode.stream import Stream
from omni.decode.want import Want, check_room, fitting, payload_of, stacked
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, prompt
from omni.vocab import Vocabulary

BATCH_ROWS = 16
DRAWN_ROWS = 64                                                         # answers to one conversation, side by side


def generate_batch(
    model: OmniTransformer,
    vocab: Vocabulary,
    conversations: Sequence[Sequence[Segment]],
    wants: Sequence[Want],
    sampler: Sampler,
    generator: Generator | None = None,
) -> list[list[Segment]]:
    """The answers to many conversations, `BATCH_ROWS` at a time in order of length.

    Raises InputError when a conversation leaves no room for what is wanted.
    """
    prompts = [prompt(segments, vocab) for segments in conversations]
    for ids in prompts:
        check_room(len(ids), wants, model, vocab)
    answers: list[list[Segment]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    if model.config.prefix and len(wants) > 1:                          # a later prompt must not make an answer visible
        for index in order:
            stream = begin(model, vocab, conversations[index], wants)
            answers[index] = answer(stream, vocab, wants, sampler, generator, last_sound(conversations[index]))
        return answers
    for start in range(0, len(order), BATCH_ROWS):
        rows = order[start : start + BATCH_ROWS]
        said, before = [prompts[index] for index in rows], [last_sound(conversations[index]) for index in rows]
        for number, want in enumerate(wants):
            later = sum(want.least(vocab) for want in wants[number + 1 :])
            said, before = _extended(model, vocab, said, before, want, later, sampler, generator)
            for index, segment in zip(rows, before, strict=True):
                answers[index].append(segment)
    return answers


def draw_many(
    model: OmniTransformer,
    vocab: Vocabulary,
    segments: Sequence[Segment],
    want: Want,
    draws: int,
    sampler: Sampler,
    generator: Generator | None = None,
) -> list[Segment]:
    """Many answers of one segment to the same conversation, which is heard once: [draws].

    Raises InputError when the conversation leaves no room for what is wanted.
    """
    ids = prompt(segments, vocab)
    check_room(len(ids), [want], model, vocab)
    opening = want.opening(vocab, segments[-1], model.config.max_steps - len(ids))
    limit = fitting(want, vocab, model.config.max_steps - len(ids) - len(opening))
    room = len(opening) + longest(vocab, want.modality, limit)
    said: list[list[np.ndarray]] = [[] for _ in range(draws)]
    for start in range(0, draws, DRAWN_ROWS):
        rows = min(DRAWN_ROWS, draws - start)
        stream = Stream(model, max_steps=len(ids) + room)
        stream.feed(np.concatenate((ids, opening))[None])
        stream.state()                                                  # closes a visible prefix
        stream.keep(torch.zeros(rows, dtype=torch.long, device=model.table.device))
        for numbers, step in payload_of(stream, vocab, want, sampler, generator, limit, [last_sound(segments)] * rows):
            for number, one in zip(numbers.tolist(), step.cpu().numpy(), strict=True):
                said[start + number].append(one)
    return [want.segment(steps, vocab) for steps in said]


def _extended(
    model: OmniTransformer,
    vocab: Vocabulary,
    said: Sequence[np.ndarray],
    before: Sequence[Segment],
    want: Want,
    later: int,
    sampler: Sampler,
    generator: Generator | None,
) -> tuple[list[np.ndarray], list[Segment]]:
    """Let every row, which ends in the segment `before`, say one more: the longer prompts, and the segments."""
    most = model.config.max_steps - later
    openings = [want.opening(vocab, last, most - len(ids)) for ids, last in zip(said, before, strict=True)]
    said = [np.concatenate(pair) for pair in zip(said, openings, strict=True)]
    room = model.config.max_steps - max(map(len, said))
    limit = fitting(want, vocab, room - later)
    stream = Stream.of_prompts(model, said, min(room, longest(vocab, want.modality, limit)))
    steps: list[list[np.ndarray]] = [[] for _ in said]
    for numbers, ids in payload_of(stream, vocab, want, sampler, generator, limit, before):
        for number, step in zip(numbers.tolist(), ids.cpu().numpy(), strict=True):
            steps[number].append(step)
    closing = want.closing(vocab)
    longer = [np.concatenate((ids, stacked(row, vocab), closing)) for ids, row in zip(said, steps, strict=True)]
    return longer, [want.segment(row, vocab) for row in steps]
