"""An image tokenizer that others trained, behind our face: the VQ model of Janus (Wu et al. 2024) in transformers."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import JanusVQVAE

from omni.errors import InputError
from omni.files import atomic_path, read_json

MODEL_TYPE = "janus_vqgan"
WEIGHTS = "model.safetensors"
MEND = "save one there with `JanusForConditionalGeneration.from_pretrained(...).model.vqmodel.save_pretrained(DIR)`"


class PretrainedImage(nn.Module):
    """The face of `ImageTokenizer` over transformers' `JanusVQVAE`, read from a local folder; nothing is downloaded."""

    def __init__(self, model: JanusVQVAE) -> None:
        super().__init__()
        self.model = model.eval()
        config = model.config
        self.picture_size = int(config.num_patches * 2 ** (len(config.channel_multiplier) - 1))
        self.tokens = int(config.num_patches**2)
        self.codebook_size = int(config.num_embeddings)
        self.tags = self.picture_tags = 0
        self.fingerprint = _fingerprint(model)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """pixels: float [batch, 3, size, size] in 0..1. Returns codes, long [batch, tokens], row by row."""
        shape = (3, self.picture_size, self.picture_size)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != shape:
            raise ValueError(f"pixels must be [batch, {', '.join(map(str, shape))}], got {list(pixels.shape)}")
        return self.model.encode(2 * pixels - 1).image_tokens.view(len(pixels), self.tokens)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """codes: long [batch, tokens]. Returns pixels, float [batch, 3, size, size] in 0..1."""
        if codes.ndim != 2 or codes.shape[1] != self.tokens:
            raise ValueError(f"codes must be [batch, {self.tokens}], got {list(codes.shape)}")
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= self.codebook_size):
            raise ValueError(f"codes must lie in 0..{self.codebook_size - 1}")
        return ((self.model.decode(codes) + 1) / 2).clamp(0, 1)

    def save(self, folder: Path | str) -> None:
        """Write the folder as transformers does, whole or not at all."""
        with atomic_path(folder) as scratch:
            self.model.save_pretrained(scratch)

    @classmethod
    def load(cls, folder: Path | str) -> "PretrainedImage":
        """Read what `JanusVQVAE.save_pretrained` wrote. Raises InputError when weights are missing or broken."""
        folder = Path(folder)
        values = read_json(folder / "config.json")
        if not isinstance(values, dict) or values.get("model_type") != MODEL_TYPE:
            raise InputError(f"{folder}/config.json: not a {MODEL_TYPE} model; {MEND}")
        if not (folder / WEIGHTS).is_file():
            raise InputError(f"{folder / WEIGHTS}: the weights are missing; {MEND}")
        try:
            loaded: Any = JanusVQVAE.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
            model, report = loaded
        except Exception as error:                                      # transformers has no one type for a bad folder
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{folder}: cannot be loaded ({reason}); copy the model again") from None
        if report["missing_keys"] or report["mismatched_keys"]:
            raise InputError(f"{folder / WEIGHTS}: not the weights of this config; copy the model again")
        return cls(model)


def _fingerprint(model: nn.Module) -> str:
    """Checksum of the weights, 64 hex digits."""
    digest = hashlib.sha256(MODEL_TYPE.encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
