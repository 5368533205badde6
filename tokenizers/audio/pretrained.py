"""Mimi, EnCodec and DAC from a local folder, behind the face of our own codec."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from omni.errors import InputError
from omni.files import atomic_path, read_json, write_json
from omni.tokenizers.weights import fingerprint

KEPT = "codebooks"                                                      # our key in config.json
MODELS = {"mimi": "MimiModel", "encodec": "EncodecModel", "dac": "DacModel"}


@dataclass(frozen=True)
class PretrainedState:
    """What a stream has heard and said: these models are run on all of it, see `PretrainedCodec`."""

    samples: Tensor                                                     # [batch, n]
    codes: Tensor                                                       # [batch, frames, codebooks]


class PretrainedCodec(nn.Module):
    """A transformers audio codec with the face of `Codec`. Nothing is downloaded.

    Streams are a fallback: `encode_stream` gives nothing until `encode_finish` encodes the whole, and `decode_stream`
    decodes all codes so far again and returns the new samples. That is exact for causal models (Mimi, EnCodec) and
    differs at the seams for DAC, and its cost grows with the length: use our own codec for live speech.
    """

    def __init__(self, model: Any, codebooks: int | None = None) -> None:
        super().__init__()
        config = model.config
        self.model, self.kind = model.eval(), config.model_type
        self.sample_rate, self.codebook_size = int(config.sampling_rate), int(config.codebook_size)
        hop = config.frame_size if self.kind == "mimi" else config.hop_length
        self.samples_per_frame = int(hop)
        self.frame_rate = self.sample_rate / self.samples_per_frame
        self.causal = bool(getattr(config, "use_causal_conv", False))   # DAC's config has no such key, nor is it
        most = int(config.n_codebooks if self.kind == "dac" else config.num_quantizers)
        self.codebooks = most if codebooks is None else codebooks
        if not isinstance(self.codebooks, int) or not 1 <= self.codebooks <= most:
            raise InputError(f"codebooks={codebooks}: the {self.kind} model has {most}; use 1 to {most}")
        if self.kind == "encodec":
            self._bandwidth = _bandwidth(config, self.codebooks)
        self.fingerprint = fingerprint({"kind": self.kind, KEPT: self.codebooks}, model)

    @classmethod
    def load(cls, folder: Path | str, codebooks: int | None = None) -> "PretrainedCodec":
        """Read config.json and safetensors from `folder`. Only the first `codebooks` are used, by default as many as
        config.json says under that key, which is ours; without it all.

        Raises InputError when something is missing, damaged, or no codec that we know.
        """
        import transformers

        folder = Path(folder)
        config = read_json(folder / "config.json")
        kind = config.get("model_type")
        if kind not in MODELS:
            raise InputError(f"{folder}: a model of type {kind!r} is no known codec; use {', '.join(MODELS)}")
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise InputError(f"{folder}: config.json has no weights beside it; put model.safetensors of {kind} there")
        try:
            model, info = getattr(transformers, MODELS[kind]).from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (SafetensorError, OSError, RuntimeError, ValueError, KeyError):
            raise InputError(f"{folder}: the {kind} weights are damaged or of another shape; copy them again") from None
        if info["missing_keys"]:
            raise InputError(f"{folder}: the {kind} weights lack {len(info['missing_keys'])} tensors; copy them again")
        return cls(model, config.get(KEPT) if codebooks is None else codebooks)

    def save(self, folder: Path | str) -> None:
        """Write the folder as transformers does, with the number of codebooks, whole or not at all."""
        with atomic_path(folder) as scratch:
            self.model.save_pretrained(scratch)
            write_json(scratch / "config.json", {**read_json(scratch / "config.json"), KEPT: self.codebooks})

    @torch.no_grad()
    def encode(self, wave: Tensor) -> Tensor:
        """wave: float [batch, samples]. Returns codes, long [batch, ceil(samples/samples_per_frame), codebooks]."""
        if wave.ndim != 2 or not wave.shape[1]:
            raise InputError(f"a wave must be [batch, samples] with at least one sample, got {list(wave.shape)}")
        frames = -(-wave.shape[1] // self.samples_per_frame)
        padded = F.pad(wave, (0, frames * self.samples_per_frame - wave.shape[1])).unsqueeze(1)  # [batch, 1, samples]
        if self.kind == "mimi":
            codes = self.model.encode(padded, num_quantizers=self.codebooks).audio_codes
        elif self.kind == "encodec":
            codes = self.model.encode(padded, bandwidth=self._bandwidth).audio_codes[0]
        else:
            codes = self.model.encode(padded, n_quantizers=self.codebooks).audio_codes
        codes = codes[:, : self.codebooks]                              # [batch, codebooks, frames]
        return codes.transpose(1, 2)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """codes: long [batch, frames, codebooks]. Returns float [batch, frames * samples_per_frame]."""
        if codes.ndim != 3 or codes.shape[2] != self.codebooks:
            raise ValueError(f"codes must be [batch, frames, {self.codebooks}], got {list(codes.shape)}")
        rows = codes.transpose(1, 2)                                    # [batch, codebooks, frames]
        if self.kind == "mimi":
            wave = self.model.decode(rows).audio_values
        elif self.kind == "encodec":
            wave = self.model.decode(rows.unsqueeze(0), [None]).audio_values
        else:
            wave = self.model.decode(audio_codes=rows).audio_values
        wave = wave.reshape(codes.shape[0], -1)                         # [batch, about frames * samples_per_frame]
        wanted = codes.shape[1] * self.samples_per_frame
        return F.pad(wave, (0, max(0, wanted - wave.shape[1])))[:, :wanted]

    def start(self, batch: int) -> PretrainedState:
        return PretrainedState(torch.zeros(batch, 0), torch.zeros(batch, 0, self.codebooks, dtype=torch.long))

    def encode_stream(self, chunk: Tensor, state: PretrainedState) -> tuple[Tensor, PretrainedState]:
        """Keeps the chunk; the codes come from `encode_finish`."""
        none = torch.zeros(chunk.shape[0], 0, self.codebooks, dtype=torch.long)
        return none, replace(state, samples=torch.cat((state.samples, chunk), dim=1))

    def encode_finish(self, state: PretrainedState) -> tuple[Tensor, PretrainedState]:
        """The codes of all that was heard."""
        if not state.samples.shape[1]:
            return torch.zeros(state.samples.shape[0], 0, self.codebooks, dtype=torch.long), state
        return self.encode(state.samples), replace(state, samples=state.samples[:, :0])

    def decode_stream(self, codes: Tensor, state: PretrainedState) -> tuple[Tensor, PretrainedState]:
        """The samples that `codes` [batch, frames, codebooks] add to what was said."""
        said = torch.cat((state.codes, codes), dim=1)
        if not codes.shape[1]:
            return torch.zeros(codes.shape[0], 0), state
        return self.decode(said)[:, state.codes.shape[1] * self.samples_per_frame :], replace(state, codes=said)


def _bandwidth(config: Any, codebooks: int) -> float:
    """The smallest bandwidth, kbit/s, at which EnCodec uses as many codebooks. Refuses its stereo and chunked forms."""
    if config.audio_channels != 1 or config.chunk_length_s is not None:
        raise InputError("this EnCodec model is stereo or works in chunks; use the 24 kHz mono one")
    each = config.frame_rate * config.codebook_nbits / 1000
    fitting = [width for width in config.target_bandwidths if width + 1e-9 >= codebooks * each]
    if not fitting:
        raise InputError(f"EnCodec has no bandwidth for {codebooks} codebooks; use fewer")
    return float(min(fitting))
