"""What a user said, while it is being written down."""

from collections.abc import Iterator

from omni.decode.conversation import Window
from omni.decode.heard import last_sound
from omni.decode.pieces import tell
from omni.decode.pipeline import How, Pipeline
from omni.decode.samplers import GREEDY
from omni.decode.stream import Stream
from omni.errors import InputError
from omni.live.model.memory import Memory
from omni.live.transcript import CUT, most_tokens
from omni.sequence import Segment


class Writing:
    """The transcript of some segments of sound: `letters`, one by one as they are taken.

    heard: codes that are written down; stream: what hears them, once the first letter was asked for
    """

    def __init__(self, pipeline: Pipeline, memory: Memory, sound: list[Segment], language: str | None) -> None:
        self.stream: Stream | None = None
        self.heard = sum(int(segment.codes.size) for segment in sound)
        self.letters = self._written(pipeline, memory, sound, language) if sound else iter(())

    def _written(
        self, pipeline: Pipeline, memory: Memory, sound: list[Segment], language: str | None
    ) -> Iterator[str]:
        """The letters, or none where others may go first. Raises InputError where they end for want of room."""
        assert pipeline.tokenizers.audio is not None
        most = most_tokens(sum(len(segment.codes) for segment in sound) / pipeline.tokenizers.audio.frame_rate)
        how = How(language=language, sampler=GREEDY, max_tokens=most, verbatim=True)
        wants, sampler, generator = pipeline.asked(("text",), **how)
        seen = Window(pipeline.model, pipeline.vocab).fit([sound], wants)
        self.stream = memory.aside(len(seen.ids) + sum(want.most(pipeline.vocab) for want in wants))
        self.stream.hear(seen.ids[None], seen.prefix)
        yield ""
        said, cut, drawn = list[Segment](), set[str](), (sampler, generator)
        spoken, known = last_sound(sound), (pipeline.tokenizers, pipeline.vocab)
        for piece in tell(self.stream, wants, *known, *drawn, said, spoken, cut):
            yield piece.text or ""
        if cut and len(said[0].codes) < most:
            raise InputError(CUT)
