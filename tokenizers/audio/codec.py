"""The audio codec: 16 kHz speech and sounds to a few integers a frame and back, whole or chunk by chunk."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omni.errors import InputError
from omni.tokenizers import weights
from omni.tokenizers.audio.blocks import CausalStack
from omni.tokenizers.audio.config import CodecConfig
from omni.tokenizers.audio.pitch import PitchHead
from omni.tokenizers.audio.quantizer import FSQ
from omni.tokenizers.audio.synthesis import Synthesis, SynthesisState
from omni.tokenizers.audio.words import States, Words

KIND = "omni-codec"
LONGEST_STRETCH = 30                                                    # seconds encoded at once, which bounds memory


class AudioCodec(Protocol):
    """What the rest of the system knows of a codec; `Codec` and the pretrained adapters have this face.

    sample_rate: Hz; frame_rate: frames a second, sample_rate / samples_per_frame; codes are 0..codebook_size - 1;
    causal: silence put behind a wave changes none of its codes, so that waves of any length are encoded side by side.
    A state is whatever the codec keeps of a stream; it is handed in and back, and one handed in stays as it was.
    """

    sample_rate: int
    frame_rate: float
    codebooks: int
    codebook_size: int
    samples_per_frame: int
    causal: bool

    @property
    def fingerprint(self) -> str:
        """Checksum of all that codes depend on: equal codecs speak the same codes."""

    def encode(self, wave: Tensor) -> Tensor:
        """Wave, float [batch, samples], to codes, long [batch, ceil(samples/samples_per_frame), codebooks]."""

    def decode(self, codes: Tensor) -> Tensor:
        """Codes, long [batch, frames, codebooks], to a wave, float [batch, frames * samples_per_frame]."""

    def start(self, batch: int) -> Any:
        """The state before the first sample or code of `batch` streams."""

    def encode_stream(self, chunk: Tensor, state: Any) -> tuple[Tensor, Any]:
        """chunk: [batch, any samples]. Returns the codes that are certain now, perhaps none, and the state after it."""

    def encode_finish(self, state: Any) -> tuple[Tensor, Any]:
        """The codes of what was heard but not yet certain: with those before, the codes that `encode` gives."""

    def decode_stream(self, codes: Tensor, state: Any) -> tuple[Tensor, Any]:
        """codes: [batch, any frames, codebooks]. Returns all of their samples and the state after them."""

    def save(self, folder: Path | str) -> None:
        """Write what `load` reads again."""


@dataclass(frozen=True)
class CodecState:
    """Where a stream stands, both directions; one object a session, handed in and back, never inside the module."""

    samples: Tensor                                                     # [batch, n]: heard, not yet encoded
    seen: int                                                           # samples heard
    frames: int                                                         # frames encoded
    encoder_hops: tuple[Tensor, ...]
    encoder_frames: tuple[Tensor, ...]
    words: States
    pitch: Tensor
    decoder_frames: tuple[Tensor, ...]
    decoder_hops: tuple[Tensor, ...]
    synthesis: SynthesisState


class Reconstruction(NamedTuple):
    """What training looks at.

    wave: [batch, samples]; codes: [batch, frames, codebooks of sound]; vectors: their FSQ values [batch, frames, dims];
    pitch: Hz [batch, hops].
    """

    wave: Tensor
    codes: Tensor
    vectors: Tensor
    pitch: Tensor


class Codec(nn.Module):
    """Causal ConvNeXt autoencoder around finite scalar quantization, with a source-filter inverse STFT at its end.

    Encoding needs `lookahead` samples beyond a frame's end (26 ms at the presets); decoding needs none.
    """

    analysis_window: Tensor
    causal = True

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        c = self.config = config
        self.sample_rate, self.frame_rate, self.codebooks = c.sample_rate, c.frame_rate, c.codebooks
        self.samples_per_frame = int(c.sample_rate / c.frame_rate)
        self.hops = self.samples_per_frame // c.hop                     # spectra in a frame
        self.past = (c.analysis - c.window) // 2                        # analysis and synthesis windows share centres
        self.lookahead = c.analysis - self.past - c.hop
        self.quantizer = FSQ(c.levels)
        self.codebook_size = self.quantizer.codebook_size
        dims = c.sounds * len(c.levels)
        bins = c.analysis // 2 + 1
        self.hear = nn.Linear(bins, c.d_hop)
        self.encoder_hops = CausalStack(c.hop_layers, c.d_hop, c.kernel)
        self.merge = nn.Linear(self.hops * c.d_hop, c.d_model)
        self.encoder_frames = CausalStack(c.encoder_layers, c.d_model, c.kernel)
        self.squeeze = nn.Sequential(nn.LayerNorm(c.d_model), nn.Linear(c.d_model, dims))
        self.words = Words(c.sample_rate, bins, self.hops, self.codebook_size, c.words) if c.words else None
        self.pitch = PitchHead(dims, self.hops)
        self.unsqueeze = nn.Linear(dims, c.d_model)
        self.decoder_frames = CausalStack(c.decoder_layers, c.d_model, c.kernel)
        self.split = nn.Linear(c.d_model, self.hops * c.d_hop)
        self.decoder_hops = CausalStack(c.hop_layers, c.d_hop, c.kernel)
        self.synthesis = Synthesis(c.sample_rate, c.hop, c.window)
        envelopes = nn.Linear(c.d_hop, 3 * self.synthesis.bins)
        nn.init.normal_(envelopes.weight, std=0.02)
        self.shape = nn.Sequential(nn.LayerNorm(c.d_hop), envelopes)
        self.register_buffer("analysis_window", torch.hann_window(c.analysis), persistent=False)

    @property
    def fingerprint(self) -> str:
        """Checksum of config and weights, 64 hex digits: equal codecs speak the same codes."""
        return weights.fingerprint(self.config.to_dict(), self)

    def forward(self, wave: Tensor, noise_hop: int = 0) -> Reconstruction:
        """Encode and decode with gradients. wave: [batch, frames * samples_per_frame]; noise_hop: where noise is."""
        state = self.start(wave.shape[0])
        heard = torch.cat((state.samples, F.pad(wave, (0, self.lookahead))), dim=1)
        vectors, codes, state = self._sounds(self.power(heard), state)
        synthesis = replace(state.synthesis, hop=noise_hop)
        wave, pitch, _ = self._decode(vectors, replace(state, synthesis=synthesis))
        return Reconstruction(wave, codes, vectors, pitch)

    @torch.no_grad()
    def encode(self, wave: Tensor) -> Tensor:
        """Wave, float [batch, samples] in -1..1, to codes, long [batch, ceil(samples/samples_per_frame), codebooks].

        Raises InputError for an empty wave or one with NaN or infinite samples, ValueError for another shape.
        """
        _check_wave(wave)
        state, parts = self.start(wave.shape[0]), []
        for stretch in wave.split(LONGEST_STRETCH * self.sample_rate, dim=1):
            codes, state = self.encode_stream(stretch, state)
            parts.append(codes)
        parts.append(self.encode_finish(state)[0])
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """codes: long [batch, frames, codebooks]. Returns float [batch, frames * samples_per_frame].

        Raises ValueError for codes outside the codebook or of another shape.
        """
        state, parts = self.start(codes.shape[0]), []
        for stretch in codes.split(int(LONGEST_STRETCH * self.frame_rate), dim=1):
            wave, state = self.decode_stream(stretch, state)
            parts.append(wave)
        return torch.cat(parts, dim=1)

    def start(self, batch: int) -> CodecState:
        """The state before the first sample or code of `batch` streams."""
        return CodecState(
            samples=self.hear.weight.new_zeros(batch, self.past),
            seen=0,
            frames=0,
            encoder_hops=self.encoder_hops.start(batch),
            encoder_frames=self.encoder_frames.start(batch),
            words=self.words.start(batch) if self.words is not None else (),
            pitch=self.pitch.start(batch),
            decoder_frames=self.decoder_frames.start(batch),
            decoder_hops=self.decoder_hops.start(batch),
            synthesis=self.synthesis.start(batch),
        )

    @torch.no_grad()
    def encode_stream(self, chunk: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """chunk: [batch, any samples]. Returns the codes that are certain now, perhaps none, and the state after it.

        A frame is certain `lookahead` samples after its end; `encode_finish` gives the rest.
        """
        samples = torch.cat((state.samples, chunk), dim=1)
        state = replace(state, samples=samples, seen=state.seen + chunk.shape[1])
        return self._encode(samples, state)

    @torch.no_grad()
    def encode_finish(self, state: CodecState) -> tuple[Tensor, CodecState]:
        """The codes of what was heard but not yet certain; silence is assumed to follow."""
        missing = math.ceil(state.seen / self.samples_per_frame) - state.frames
        needed = self.past + missing * self.samples_per_frame + self.lookahead
        padded = F.pad(state.samples, (0, max(0, needed - state.samples.shape[1])))
        return self._encode(padded[:, :needed], state)

    @torch.no_grad()
    def decode_stream(self, codes: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """codes: long [batch, any frames, codebooks]. Returns all of their samples and the state after them."""
        if codes.ndim != 3 or codes.shape[2] != self.codebooks:
            raise ValueError(f"codes must be [batch, frames, {self.codebooks}], got {list(codes.shape)}")
        sounds = codes[..., self.codebooks - self.config.sounds :]
        wave, _, state = self._decode(self.quantizer.vectors(sounds).flatten(2), state)
        return wave, state

    def power(self, samples: Tensor) -> Tensor:
        """Power spectra of all whole frames in `samples` [batch, n]: [batch, frames * hops, bins]."""
        frames = max(0, samples.shape[1] - self.past - self.lookahead) // self.samples_per_frame
        if not frames:
            return samples.new_zeros(samples.shape[0], 0, self.config.analysis // 2 + 1)
        windows = samples.unfold(1, self.config.analysis, self.config.hop)[:, : frames * self.hops]
        spectrum = torch.view_as_real(torch.fft.rfft(windows * self.analysis_window))  # [batch, hops, bins, 2]
        return spectrum.square().sum(-1)

    def _encode(self, samples: Tensor, state: CodecState) -> tuple[Tensor, CodecState]:
        """Codes, long [batch, frames, codebooks], of all whole frames in `samples` [batch, n]; the state after them."""
        power = self.power(samples)
        frames = power.shape[1] // self.hops
        if not frames:
            return torch.zeros(samples.shape[0], 0, self.codebooks, dtype=torch.long, device=samples.device), state
        _, codes, state = self._sounds(power, state)
        if self.words is not None:
            said, words = self.words(power, state.words)                # [batch, frames]
            codes, state = torch.cat((said[..., None], codes), dim=2), replace(state, words=words)
        rest = samples[:, frames * self.samples_per_frame :]
        return codes, replace(state, samples=rest, frames=state.frames + frames)

    def _sounds(self, power: Tensor, state: CodecState) -> tuple[Tensor, Tensor, CodecState]:
        """Power spectra to vectors of the sound [batch, frames, dims] and their codes [batch, frames, sounds]."""
        x = self.hear((power + 1e-5).log() / 4 + 1)                     # [batch, hops, d_hop]
        x, hop_states = self.encoder_hops(x, state.encoder_hops)
        x = self.merge(x.unflatten(1, (-1, self.hops)).flatten(2))      # [batch, frames, d_model]
        x, frame_states = self.encoder_frames(x, state.encoder_frames)
        z = self.squeeze(x).unflatten(2, (self.config.sounds, -1))      # [batch, frames, codebooks, levels]
        vectors, codes = self.quantizer(z)
        return vectors.flatten(2), codes, replace(state, encoder_hops=hop_states, encoder_frames=frame_states)

    def _decode(self, vectors: Tensor, state: CodecState) -> tuple[Tensor, Tensor, CodecState]:
        """Vectors [batch, frames, dims] to samples [batch, n], pitch [batch, hops], and the state after them."""
        batch, frames = vectors.shape[:2]
        if not frames:
            return vectors.new_zeros(batch, 0), vectors.new_zeros(batch, 0), state
        pitch, pitch_state = self.pitch(vectors, state.pitch)           # [batch, hops]
        x = self.unsqueeze(vectors)                                     # [batch, frames, d_model]
        x, frame_states = self.decoder_frames(x, state.decoder_frames)
        x = self.split(x).reshape(batch, frames * self.hops, -1)        # [batch, hops, d_hop]
        x, hop_states = self.decoder_hops(x, state.decoder_hops)
        loud, bend, hiss = self.shape(x).chunk(3, dim=-1)               # each [batch, hops, bins]
        pulse = torch.polar((2 * loud - 4).clamp_max(6).exp(), bend)
        noise = (2 * hiss - 4).clamp_max(6).exp()
        wave, synthesis = self.synthesis(pitch.detach(), pulse, noise, state.synthesis)
        state = replace(
            state,
            pitch=pitch_state,
            decoder_frames=frame_states,
            decoder_hops=hop_states,
            synthesis=synthesis,
        )
        return wave, pitch, state

    def save(self, folder: Path | str) -> None:
        """Write `model.safetensors`, then `config.json` with the fingerprint of both."""
        weights.save_weights(folder, KIND, self.config.to_dict(), self)

    @classmethod
    def load(cls, folder: Path | str) -> "Codec":
        """Read a saved codec. Raises InputError when it is missing, damaged or of another kind."""
        folder = Path(folder)
        values, expected = weights.read_config(folder, KIND, "audio codec", "audio")
        codec = cls(CodecConfig.from_dict(values, str(folder / weights.CONFIG)))
        weights.load_weights(folder, codec, codec.config.to_dict(), expected, "codec")
        return codec.eval()


def _check_wave(wave: Tensor) -> None:
    if wave.ndim != 2:
        raise ValueError(f"a wave must be [batch, samples], got {list(wave.shape)}")
    if not wave.shape[1]:
        raise InputError("the audio is empty; give at least one sample")
    if not torch.isfinite(wave).all():
        raise InputError("the audio holds NaN or infinite samples; write it again from its source")
