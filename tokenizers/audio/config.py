"""The shape of an audio codec, and the presets."""

from dataclasses import asdict, dataclass
from typing import Any

from omni.errors import InputError


@dataclass(frozen=True)
class CodecConfig:
    """Shape of a codec. Raises InputError for a shape that cannot work.

    levels: FSQ levels of one codebook; codebooks: how many such codes a frame has; words: the letters that the first of
    them can spell (tokenizers.audio.words), so that the others alone carry the sound; '' where all do;
    hop, window, analysis: samples between spectra, in a synthesis window, in an analysis window.
    """

    sample_rate: int = 16000
    frame_rate: float = 50.0
    levels: tuple[int, ...] = (8, 8, 8, 8)
    codebooks: int = 1
    d_model: int = 192
    d_hop: int = 128
    encoder_layers: int = 3
    decoder_layers: int = 4
    hop_layers: int = 1
    kernel: int = 5
    hop: int = 160
    window: int = 512
    analysis: int = 640
    words: str = ""

    def __post_init__(self) -> None:
        samples = self.sample_rate / self.frame_rate
        if samples != int(samples) or int(samples) % self.hop:
            raise InputError(
                f"codec config: frame_rate={self.frame_rate:g} gives {samples:g} samples a frame, which is no multiple "
                f"of hop={self.hop}; use {self.sample_rate / self.hop:g} divided by 1, 2, 4 or 8"
            )
        if not self.levels or min(self.levels) < 2 or self.codebooks < 1:
            raise InputError("codec config: levels must be 2 or more, codebooks 1 or more; use (8, 8, 8, 8) and 1")
        if self.hop > self.window // 2 or self.window > self.analysis:
            raise InputError("codec config: needs hop <= window / 2 and window <= analysis; use 160, 512 and 640")
        if self.words and (self.codebooks < 2 or int(samples) // self.hop % 2):
            raise InputError("codec config: words need codebooks=2 or more and an even number of hops a frame")

    @property
    def sounds(self) -> int:
        """Codebooks that carry the sound."""
        return self.codebooks - bool(self.words)

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds; without `words` where there are none, as before there could be any."""
        values = asdict(self)
        return values if self.words else {name: value for name, value in values.items() if name != "words"}

    @classmethod
    def preset(cls, name: str) -> "CodecConfig":
        """`quick` learns in minutes on two cores, the others want hours. Raises InputError for another name.

        `tiny` is that of omni-tiny: 1 kbit/s in only 25 steps a second, for a model that reads four codes a step.
        """
        presets = {
            "quick": cls(),
            "tiny": cls(frame_rate=25.0, levels=(8, 5, 5, 5), codebooks=4, d_model=256),
            "base": cls(d_model=288, d_hop=160, encoder_layers=4, decoder_layers=5, hop_layers=2),
        }  # fmt: skip
        if name not in presets:
            raise InputError(f"codec preset {name!r}: no such preset; use {', '.join(presets)}")
        return presets[name]

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str) -> "CodecConfig":
        try:
            return cls(**{**values, "levels": tuple(values["levels"])})
        except (TypeError, KeyError):
            raise InputError(f"{source}: not the config of an omni audio codec; point to a folder it saved") from None
