"""A trained model behind one call: any mix of text, audio, pictures and video in; text, audio and pictures out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from omni.decode import generate
from omni.decode.aloud import READINGS, clearest, joined
from omni.decode.answer import Answer
from omni.decode.heard import Ear, last_sound
from omni.decode.parts import Part, coded_parts
from omni.decode.pieces import Piece, tell
from omni.decode.samplers import Sampler, Samplers, divided, seeded
from omni.decode.say import answer, begin
from omni.decode.score import log_likelihoods
from omni.decode.sentences import Sentences
from omni.decode.step import fast_step, settle
from omni.decode.together import Step
from omni.decode.want import Want, check_room
from omni.errors import InputError
from omni.model.folder import load_model
from omni.model.transformer import OmniTransformer
from omni.sequence import Segment, prompt
from omni.sequence import Sequence as Laid
from omni.shipped import named_model, shipped_model
from omni.tokenizers.bundle import Tokenizers
from omni.tokenizers.image.pixels import to_levels
from omni.vocab import Vocabulary

if TYPE_CHECKING:
    from omni.decode.mbr.speech import Speech
    from omni.decode.mbr.utilities import Utility

WANTED = ("text", "audio", "image")
BEAMS = 4                                                               # texts that may have been heard, side by side


class How(TypedDict, total=False):
    """How an answer is to be given; what is left out is at its default.

    language:    of text and audio, such as "fr" (default: the model's choice); voice: whose voice
    sampler:     how ids are drawn (default: Sampler(), the model's own distribution), or how by modality; seed: 0
    max_seconds: longest audio (10); max_tokens: longest text (256)
    verbatim:    the text is what is heard, written down and not answered (False)
    """

    language: str | None
    voice: str | None
    sampler: Samplers | None
    seed: int
    max_seconds: float
    max_tokens: int
    verbatim: bool


class Pipeline:
    """A model with its tokenizers; get one with `omni.load(folder)`."""

    def __init__(
        self, model: OmniTransformer, vocab: Vocabulary, tokenizers: Tokenizers, step: Step | None = None
    ) -> None:
        """step: how single steps are fed (omni.decode.step). Raises InputError for tokenizers of another model."""
        if vocab.tokenizers != tokenizers.fingerprint:
            raise InputError(
                f"the model speaks the codes of tokenizers {vocab.tokenizers or '(none)'}, but these are"
                f" {tokenizers.fingerprint}; use the tokenizers folder that was saved with the model"
            )
        self.model, self.vocab, self.tokenizers, self.step = model, vocab, tokenizers, step

    @classmethod
    def load(
        cls, folder: Path | str | None = None, device: torch.device | str = "cpu", int8: bool = False
    ) -> "Pipeline":
        """The model in `folder` with the tokenizers in `folder/tokenizers`; without one that which comes with omni.

        int8: answer from 8-bit weights, faster and a little less exact (docs/generate.md has the figures).
        Raises InputError when something is missing, damaged or made for something else.
        """
        folder = shipped_model() if folder is None else named_model(folder)
        model, vocab = load_model(folder, device)
        settle(model)
        return cls(model, vocab, Tokenizers.load(Path(folder) / "tokenizers"), fast_step(model, int8))

    def __call__(self, parts: Sequence[Part], want: Sequence[str] = ("text",), **how: Unpack[How]) -> Answer:
        """The assistant's answer to `parts`: one segment for every modality of `want`, in that order.

        Raises InputError for a file that cannot be read, for what this model does not know, and for a prompt too long.
        """
        wants, sampler, generator = self.asked(want, **how)
        heard = self.segments(parts)
        if chosen := self._chosen([heard], wants, sampler, generator):
            return chosen[0]
        wants = self._with_thought(wants, [heard])
        stream = begin(self.model, self.vocab, heard, wants, self.step)
        segments = answer(stream, self.vocab, wants, sampler, generator, last_sound(heard))
        return self.render(segments[-len(want) :])

    def stream(
        self, parts: Sequence[Part], want: Sequence[str] = ("text",), **how: Unpack[How]
    ) -> Iterator[Piece]:
        """The same answer, piece by piece while it is made: text by the letter, audio by the codec's frame."""
        wants, sampler, generator = self.asked(want, **how)
        heard = self.segments(parts)
        wants = self._with_thought(wants, [heard])
        stream = begin(self.model, self.vocab, heard, wants, self.step)
        for piece in tell(stream, wants, self.tokenizers, self.vocab, sampler, generator, [], last_sound(heard)):
            if piece.modality in want:
                yield piece

    def best_of(
        self, parts: Sequence[Part], want: Sequence[str] = ("text",), draws: int = 64,
        utility: "str | Utility[Speech]" = "chrf", prune: bool = False, coarse: int = 0, aggregate: bool = False,
        **how: Unpack[How],
    ) -> Answer:  # fmt: skip
        """Of many drawn answers the one that agrees best with all of them (omni.decode.mbr): text as it is, English
        speech by what a recognizer hears in it.

        utility: chrf, bleu, words, or the folder of a sentence encoder; or a utility of speech, in any language
        (omni.decode.mbr.speech). prune, coarse, aggregate: compare less (omni.decode.mbr.answers.Way). Raises
        InputError, before anything is drawn, for another utility, for a picture, for speech known to be in another
        language, where fewer than 2 are to be drawn, and where all draws would be the same (temperature 0).
        """
        from omni.decode.mbr.answers import Way, utility_named

        wants, sampler, generator = self.asked(want, **how)
        if draws < 2:
            raise InputError(f"draws={draws}: must be 2 or more answers to choose from")
        compare = utility_named(utility) if isinstance(utility, str) else utility
        way = Way(compare, not isinstance(utility, str), prune, coarse, aggregate)
        way.check(wants, sampler)
        heard = self.segments(parts)
        drawn: list[list[Segment]]
        if len(wants) == 1:
            every = generate.draw_many(self.model, self.vocab, heard, wants[0], draws, sampler, generator)
            drawn = [[segment] for segment in every]
        else:
            drawn = generate.generate_batch(self.model, self.vocab, [heard] * draws, wants, sampler, generator)
        return way.choose(drawn, wants, self.render)

    def most_probable(
        self, parts: Sequence[Part], beams: int = 4, penalty: float = 1.0, best: int | None = None, **how: Unpack[How]
    ) -> list[Answer]:
        """The texts that beam search finds, best first: [best, by default beams, or fewer] (omni.decode.beam)."""
        wants, _, _ = self.asked(("text",), **how)
        best = beams if best is None else best
        return self._most_probable([self.segments(parts)], wants[0], beams, penalty, best)[0]

    def batch(
        self, conversations: Sequence[Sequence[Part]], want: Sequence[str] = ("text",), **how: Unpack[How]
    ) -> list[Answer]:
        """The answers to many conversations, generated side by side."""
        wants, sampler, generator = self.asked(want, **how)
        heard = [self.segments(parts) for parts in conversations]
        if chosen := self._chosen(heard, wants, sampler, generator):
            return chosen
        wants = self._with_thought(wants, heard)
        answers = generate.generate_batch(self.model, self.vocab, heard, wants, sampler, generator)
        return [self.render(segments[-len(want) :]) for segments in answers]

    def _chosen(
        self, conversations: Sequence[Sequence[Segment]], wants: Sequence[Want], sampler: Sampler,
        generator: torch.Generator,
    ) -> list[Answer] | None:  # fmt: skip
        """What is found by comparing several answers, where a codec with words makes them comparable: the most
        probable transcript, for one wrong letter misleads those after it, and the clearest reading of a text.
        """
        if len(wants) > 1:
            return None
        (want,), ends = wants, {segments[-1].modality for segments in conversations}
        greedy = (want.sampler or sampler).greedy
        if want.ear is not None and greedy and ends == {"audio"}:
            return [answers[0] for answers in self._most_probable(conversations, want, BEAMS, penalty=0, best=1)]
        if not greedy and (want.modality, ends) == ("audio", {"text"}) and self._ear is not None:
            return self._read_aloud(conversations, want, sampler, generator)
        return None

    def _read_aloud(
        self, conversations: Sequence[Sequence[Segment]], want: Want, sampler: Sampler, generator: torch.Generator
    ) -> list[Answer]:
        """Of some readings of each sentence, drawn side by side, the clearest (omni.decode.aloud), in a row."""
        ear, text, audio = self._ear, self.tokenizers.text, self.tokenizers.audio
        assert ear is not None and text is not None and audio is not None and want.sentences is not None
        for segments in conversations:
            check_room(len(prompt(segments, self.vocab)), [want], self.model, self.vocab)
        split = [want.sentences.split(segments[-1].codes.tolist()) for segments in conversations]
        read: list[list[Segment]] = [[] for _ in conversations]
        for number in range(max(map(len, split))):
            rows = [
                row for row, sentences in enumerate(split)
                if number < len(sentences) and sum(len(one.codes) for one in read[row]) < want.limit
            ]  # fmt: skip
            texts = [np.array(split[row][number], np.int64) for row in rows]
            asked = [
                [*conversations[row][:-1], replace(conversations[row][-1], codes=codes)]
                for row, codes in zip(rows, texts, strict=True)
            ]  # fmt: skip
            readings = [segments for segments in asked for _ in range(READINGS)]
            drawn = generate.generate_batch(self.model, self.vocab, readings, [want], sampler, generator)
            made = [self.render(segments) for segments in drawn]
            kept = clearest(made, [text.decode(codes.tolist()) for codes in texts], audio, ear)
            for row, sentence in zip(rows, kept, strict=True):
                read[row] += sentence.segments
        return [self.render([joined(segments, want.limit)]) for segments in read]

    def _most_probable(
        self, conversations: Sequence[Sequence[Segment]], want: Want, beams: int, penalty: float, best: int
    ) -> list[list[Answer]]:
        from omni.decode.beam import most_probable

        found = most_probable(self.model, self.vocab, conversations, want, beams, penalty, best)
        return [[self.render([one.segment]) for one in several] for several in found]

    def score(
        self, parts: Sequence[Part], answers: Sequence[Part], language: str | None = None, voice: str | None = None
    ) -> NDArray[np.float64]:
        """Log-likelihood, in nats, of each of several answers to the same parts: [answers].

        Raises InputError for what cannot be read.
        """
        heard = self.segments(parts)
        streams = []
        for plain in coded_parts(answers, self.tokenizers, self.vocab):
            want = self._want(plain.modality, language, voice, limit=0)
            segment = Segment(plain.modality, plain.codes, "assistant", want.language, want.voice)
            streams.append(Laid.of([*heard, segment], self.vocab))
        return log_likelihoods(self.model, streams)

    def segments(self, parts: Sequence[Part]) -> list[Segment]:
        """What is handed to the model, as codes. Raises InputError when there is nothing or it cannot be read."""
        if not parts:
            raise InputError("nothing to answer; give a text, a recording, a picture or a video")
        return coded_parts(parts, self.tokenizers, self.vocab)

    def asked(
        self,
        want: Sequence[str],
        language: str | None = None,
        voice: str | None = None,
        sampler: Samplers | None = None,
        seed: int = 0,
        max_seconds: float = 10.0,
        max_tokens: int = 256,
        verbatim: bool = False,
    ) -> tuple[list[Want], Sampler, torch.Generator]:
        """What is asked for, checked against what this model can give."""
        if not want or len(set(want)) < len(want) or set(want) - set(WANTED):
            given = want if isinstance(want, str) else ",".join(want)
            raise InputError(f"want={given}: must be a list of one or more of {', '.join(WANTED)}, each once")
        if not 0 < max_seconds < float("inf") or max_tokens <= 0:
            raise InputError(f"max_seconds={max_seconds}, max_tokens={max_tokens}: both must be positive")
        audio = self.tokenizers.audio
        frames = max(1, int(max_seconds * audio.frame_rate)) if audio else 0
        limits = {"text": max_tokens, "audio": frames, "image": self.vocab.picture_tokens}
        shared, own = divided(sampler)
        wants = [
            self._want(modality, language, voice, limits[modality], own.get(modality), verbatim) for modality in want
        ]
        for wanted in [*wants, *([self._want("audio", language, voice, 0)] if voice else [])]:
            wanted.opening(self.vocab)                                  # raises for an unknown language or voice
            if getattr(self.tokenizers, wanted.modality) is None:
                raise InputError(f"this model has no {wanted.modality} tokenizer; leave {wanted.modality} out of want")
        return wants, shared, seeded(seed, self.model.table.device)

    def _with_thought(self, wants: list[Want], conversations: Sequence[Sequence[Segment]]) -> list[Want]:
        """What is wanted, after a text that nobody is given where speech alone is wanted that no text is there for: a
        model whose speech is spelt (omni.sequence) must know what it is going to say.
        """
        reads = any(heard[-1].modality == "text" for heard in conversations)
        writes = wants[0].modality != "audio" or "text" in [want.modality for want in wants]
        if self.vocab.spelling is None or reads or writes:
            return wants
        return [self._want("text", wants[0].language, None, Want.limit), *wants]

    def _want(
        self, modality: str, language: str | None, voice: str | None, limit: int, sampler: Sampler | None = None,
        verbatim: bool = False,
    ) -> Want:  # fmt: skip
        """Pictures have no language, and only audio has a voice."""
        spoken, text = language if modality != "image" else None, self.tokenizers.text
        voice = voice if modality == "audio" else None
        ear = self._ear if modality == "audio" or (verbatim and modality == "text") else None
        said = modality == "audio" or (modality == "text" and not verbatim)
        sentences = Sentences(text) if text is not None and said else None
        return Want(modality, spoken, voice, limit, sampler, verbatim, ear, sentences)

    @cached_property
    def _ear(self) -> Ear | None:
        return Ear.of(self.tokenizers)

    @torch.inference_mode()
    def render(self, segments: Sequence[Segment]) -> Answer:
        """Codes of the assistant's segments as text, sound and pixels."""
        codes = {segment.modality: segment.codes for segment in segments}
        text, audio, image = self.tokenizers.text, self.tokenizers.audio, self.tokenizers.image
        batches = {modality: torch.from_numpy(array)[None] for modality, array in codes.items()}
        return Answer(
            text=text.decode(codes["text"].tolist()) if text and "text" in codes else None,
            audio=audio.decode(batches["audio"])[0].cpu().numpy() if audio and "audio" in codes else None,
            image=to_levels(image.decode(batches["image"])[0]) if image and "image" in codes else None,
            sample_rate=audio.sample_rate if audio else 0,
            segments=tuple(segments),
        )
