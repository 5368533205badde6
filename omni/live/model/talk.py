"""One conversation in the model's process: its items, what it is hearing, and the answers it is giving."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import takewhile

from omni.decode.conversation import Seen, Turn, Window
from omni.decode.heard import last_sound
from omni.decode.parts import Part, Text, in_pieces
from omni.decode.pieces import Piece, tell
from omni.decode.pipeline import Pipeline
from omni.decode.stream import Stream
from omni.decode.want import Want
from omni.errors import InputError
from omni.live.cut import Cuts
from omni.live.engine import messages
from omni.live.engine.messages import Wave
from omni.live.model.ending import Ending
from omni.live.model.limits import refuse_endless
from omni.live.model.listening import Listening
from omni.live.model.memory import Memory
from omni.live.model.writing import Writing
from omni.sequence import Segment, unsure

PIECE = 64                                                              # steps of a long past between two looks around


@dataclass
class Speech:
    """An answer that is being given.

    stream: whose past it goes on; pieces: the rest of it; said: its segments, filled as they end; heard: codes of the
    prompt by modality; cut: modalities of segments that ended for want of room
    """

    answer: str
    stream: Stream
    pieces: Generator[Piece, None, None]
    said: list[Segment]
    item: str | None
    draft: tuple[str, Segment] | None
    heard: dict[str, int]
    cut: set[str]
    seconds: float = 0.0                                                # of audio given so far
    held: list[Piece] = field(default_factory=list)                     # sound that is not given yet
    began: float = 0.0                                                  # when its first audio was given
    written: int = 0                                                    # codes of text given so far
    sounded: int = 0                                                    # those given before the latest sound
    over: bool = False                                                  # whether all pieces were taken
    truncated: float | None = None                                      # seconds that were heard, told while it is made


class Talk:
    """Items in order, what is being heard, and at most one answer at a time that the model's past is used for.

    The model hears the user while the user speaks, so that an answer never waits for the length of what was said.
    """

    def __init__(self, pipeline: Pipeline, memory: Memory, ending: Ending | None = None) -> None:
        codec = pipeline.tokenizers.audio
        assert codec is not None
        self.pipeline = pipeline
        self.items: dict[str, Turn] = {}
        self.system: Turn = []
        self.speech: Speech | None = None
        self.wants: list[Want] = []                                     # of the latest answer: room is left for another
        self._ending = None if pipeline.model.config.prefix else ending
        spelt = pipeline.vocab.spelling is not None                     # letters come on top of the frames
        self._listening = Listening(codec, pipeline.model.config.max_steps // (3 if spelt else 2))
        self._memory = memory
        self._past: Stream | None = None                                # questions over HTTP need none
        self._window = Window(pipeline.model, pipeline.vocab)
        self._draft: tuple[str, str] | None = None                      # one not kept or stopped yet; its question
        self._cuts = Cuts(pipeline.tokenizers.text, codec.frame_rate)
        self._forgotten: set[str] = set()                               # items that the model's past had no room for

    @property
    def past(self) -> Stream | None:
        """What has heard the conversation, once something has."""
        return self._past

    # ---- hearing

    def instruct(self, system: str) -> Generator[None, None, None]:
        """What goes before all that is said from now on. Raises InputError for more than the model can be given."""
        self.system = yield from self._segments((Text(system, "system"),) if system else ())

    def hear(self, samples: Wave) -> None:
        """The user goes on speaking. The model's past follows, unless an answer is using it."""
        self._listening.hear(samples)
        if self.speech is None:
            self._follow()

    def unhear(self) -> None:
        """Forget what the user is saying."""
        self._listening = Listening(self._listening.codec, self._listening.longest)

    def commit(self, item: str) -> None:
        """What the user said becomes an item. Raises InputError when nothing was heard."""
        segment = self._listening.segment()
        if segment is None:
            raise InputError("no audio was heard, so there is nothing to commit")
        self.items[item] = [segment]
        self.unhear()

    def judge(self) -> float | None:
        """How probable it is that the user has said all; None when this model cannot tell."""
        return None if self._ending is None else self._ending.judged(self.pipeline, self._listening.codes)

    # ---- items

    def put(self, item: str, parts: tuple[Part, ...], after: str | None) -> Generator[None, None, None]:
        """Add an item, with a pause wherever others may go first. Raises InputError for a part that cannot be read, and
        changes nothing then.
        """
        turn = yield from self._segments(parts)
        if after is None:
            self.items[item] = turn
            return
        names = list(self.items)
        at = names.index(after) + 1 if after in self.items else 0
        names.insert(at, item)
        self.items = {name: turn if name == item else self.items[name] for name in names}

    def delete(self, item: str) -> None:
        self.items.pop(item, None)
        self._forgotten.discard(item)

    def truncate(self, item: str, seconds: float) -> None:
        """Of an answer only `seconds` were heard: forget the rest. One that is still being made is shortened at its
        end, since only then it is known how long it is.
        """
        if self.speech is not None and self.speech.item == item:
            told = self.speech.truncated
            self.speech.truncated = seconds if told is None else min(seconds, told)
        elif item in self.items:
            self.items[item] = self._cuts.to(self.items[item], seconds)

    # ---- answering

    def answer(self, order: messages.Answer) -> Generator[None, None, Speech]:
        """Begin an answer, with pauses likewise; take its pieces. Raises InputError for what cannot be answered, and
        changes nothing then.
        """
        self._draft = (order.answer, order.draft) if order.draft is not None else self._draft
        system = yield from self._segments((Text(order.system, "system"),) if order.system else ())
        said = None if order.parts is None else (yield from self._segments(order.parts))
        apart = order.item is None                                      # leaves the conversation's past alone
        if not apart:
            self.stop()
        wants, sampler, generator = self.pipeline.asked(order.ask.want, **order.ask.how)
        wants = [_unless(order.mute, want) for want in wants] if order.mute else wants
        draft = self._drafted(order.draft)
        turns = {} if said is not None else self._known()
        last = said if said is not None else [draft[1]] if draft else []
        if not (system or turns or last):
            raise InputError("nothing to answer; say something, add an item to the conversation, or give instructions")
        if not apart:
            self.wants = wants
        model, vocab = self.pipeline.model, self.pipeline.vocab
        alone = apart or order.parts is not None or system != self.system  # others would change all of the past
        window = Window(model, vocab) if alone else self._window
        seen = self._seen(turns, last, system if alone else self.system, wants, window)
        room = len(seen.ids) + sum(want.most(vocab) for want in wants)
        stream = self._memory.aside(room) if alone else self._stream
        stream.hear(seen.ids[None], seen.prefix)
        told, cut, before = list[Segment](), set[str](), last_sound(seen.segments)
        said_so = tell(stream, wants, self.pipeline.tokenizers, vocab, sampler, generator, told, before, cut, PIECE)
        pieces = _muted(order.mute, said_so)
        speech = Speech(order.answer, stream, pieces, told, order.item, draft, _counted(seen.segments), cut)
        if not apart:
            self.speech = speech
            if order.item is not None and not draft:
                self.items[order.item] = told
        return speech

    def keep(self, answer: str) -> None:
        """The drafted answer is the answer, and what it answers was said, even if the answer has failed meanwhile."""
        speech, draft = self.speech, self._draft
        if draft is None or draft[0] != answer:
            return
        self._draft = None
        if speech is None or speech.answer != answer:
            self.commit(draft[1])
            return
        if speech.draft is None:
            return
        name, segment = speech.draft
        self.items[name] = [segment]
        if speech.item is not None:
            self.items[speech.item] = speech.said
        speech.draft = None
        self.unhear()
        if speech.over:
            self.speech = None

    def drop(self, answer: str) -> None:
        """The drafted answer will not be kept."""
        if self._draft is not None and self._draft[0] == answer:
            self._draft = None

    def stop(self) -> None:
        """Say no more; what was handed over has been said, but of its text only what its sound has come to."""
        speech, self.speech = self.speech, None
        if speech is None:
            return
        speech.pieces.close()
        if not speech.over and any(want.modality == "audio" for want in self.wants):
            if speech.began:
                self._cuts.to_its_sound(speech.said, speech.sounded)
            else:
                speech.said.clear()                                     # what is held back was not given
        self._forget_unheard(speech)

    def finished(self, speech: Speech) -> str | None:
        """All pieces were taken. A draft stays until it is kept or stopped. Returns what is left of the answer's text
        where there was no room for all of its sound.
        """
        speech.over = True
        kept = None
        if "audio" in speech.cut:
            self._cuts.to_its_sound(speech.said, speech.sounded)
            kept = self._cuts.text(speech.said)
        if self.speech is speech and speech.draft is None:
            self.speech = None
            self._forget_unheard(speech)
        return kept

    def transcription(self, item: str, language: str | None) -> Writing:
        """The text of what was said in an item."""
        sounds = (segment for segment in self.items.get(item, []) if segment.modality == "audio")
        heard = [replace(segment, letters_alone=False) for segment in sounds]  # 0.31 character errors, not 0.32
        return Writing(self.pipeline, self._memory, heard, language)

    # ----

    @property
    def _stream(self) -> Stream:
        """The conversation's past."""
        if self._past is None:
            self._past = self._memory.own()
        return self._past

    def _drafted(self, name: str | None) -> tuple[str, Segment] | None:
        segment = self._listening.segment() if name is not None else None
        return None if name is None or segment is None else (name, segment)

    def _forget_unheard(self, speech: Speech) -> None:
        """What the user did not hear of an answer that is not made any more."""
        if speech.item is not None and speech.truncated is not None:
            self.truncate(speech.item, speech.truncated)

    def _segments(self, parts: tuple[Part | str, ...]) -> Generator[None, None, Turn]:
        """Parts, and items that are named, as codes; with a pause before and in whatever takes long."""
        for part in parts:
            if not isinstance(part, str):
                refuse_endless(part, self.pipeline)
            elif part not in self.items:
                raise InputError(f"there is no item {part!r} in the conversation any more")
        found: Turn = []
        for part in parts:
            if isinstance(part, str):
                found += self.items[part]
                continue
            if found and not isinstance(part, Text):
                yield
            found.append((yield from in_pieces(part, self.pipeline.tokenizers, self.pipeline.vocab)))
        return found

    def _follow(self) -> None:
        """Let the model hear what is certain of what the user is saying."""
        certain, vocab = self._listening.certain(), self.pipeline.vocab
        if self.pipeline.model.config.prefix or not len(certain.codes):
            return
        if vocab.spelling is not None and not certain.is_letters(vocab):  # letters will take the place of its frames
            certain = replace(certain, codes=certain.codes[:0])
        seen = self._seen(self._known(), [certain], self.system, self.wants, self._window)
        self._stream.hear(seen.ids[None, : len(seen.ids) - unsure(seen.segments, vocab)], prefix=0)

    def _known(self) -> dict[str, Turn]:
        """Items that the model still knows and that say something, in order."""
        names = takewhile(lambda name: name not in self._forgotten, reversed(self.items))
        return {name: self.items[name] for name in reversed([*names]) if self.items[name]}

    def _seen(self, turns: dict[str, Turn], last: Turn, system: Turn, wants: list[Want], window: Window) -> Seen:
        """What the model is shown of these items, and then `last`. What has no room is forgotten for good, so that the
        past is computed afresh once in a while, and not with every frame.
        """
        seen = window.fit([*turns.values(), *([last] if last else [])], wants, system)
        if window is self._window:
            self._forgotten.update([*turns][: seen.forgotten])
        return seen


def _unless(mute: str, want: Want) -> Want:
    """The same, but no part of a text with `mute` in it is said."""
    return want if want.sentences is None else replace(want, sentences=replace(want.sentences, unless=mute))


def _muted(mute: str, pieces: Generator[Piece, None, None]) -> Generator[Piece, None, None]:
    """The pieces, but no sound once `mute` is in the text."""
    text = ""
    with closing(pieces):
        for piece in pieces:
            text += piece.text or ""
            if mute and piece.audio is not None and mute in text:
                return
            yield piece


def _counted(segments: list[Segment]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for segment in segments:
        counts[segment.modality] = counts.get(segment.modality, 0) + int(segment.codes.size)
    return counts
