"""A checkpoint folder of transformers becomes a model folder of omni, and the other way round."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Generator, Tensor

from omni.errors import InputError
from omni.files import atomic_path
from omni.model.config import ModelConfig
from omni.model.folder import WEIGHTS, load_model, save_model, save_packed
from omni.model.interop import from_hugging_face, hugging_face_config, to_hugging_face
from omni.model.pretrained.shape import read_shape
from omni.model.pretrained.tokenizer import write_tokenizer
from omni.model.pretrained.weights import Weights
from omni.tokenizers.bundle import Tokenizers, load_audio, load_image
from omni.tokenizers.foreign import adopt
from omni.tokenizers.text import TextTokenizer
from omni.vocab import Vocabulary

NOISE = 0.1                                                             # of the old rows' deviation: ids differ
TABLES = ("embedding.weight", "output.weight")


@dataclass(frozen=True)
class Source:
    """What is imported: a checkpoint and the tokenizers of the modalities that it lacks.

    audio, image: folders of one tokenizer each, or None; languages: get a tag each; max_steps: the longest stream
    """

    folder: Path
    audio: Path | None = None
    image: Path | None = None
    languages: Collection[str] = ()
    max_steps: int | None = None


def import_model(source: Source, out: Path | str) -> tuple[ModelConfig, Vocabulary]:
    """Write the model folder `out`, with tokenizers; the checkpoint's ids are the text span, its rows are unchanged.

    Returns the shape and the vocabulary. Raises InputError, before anything is written, for what cannot be imported.
    """
    folder, out = source.folder, free(out)
    weights = Weights(folder)
    theirs = read_shape(folder, source.max_steps)
    weights.check(theirs)
    tokenizers = _tokenizers(source, theirs.vocab_size)
    vocab = Vocabulary.of(tokenizers, source.languages)
    ours = from_hugging_face(weights, theirs)
    for name in TABLES:
        if name in ours:
            ours[name] = extended(ours[name], vocab)
    config = theirs.for_vocabulary(vocab)
    with atomic_path(out) as scratch:
        save_model(scratch, ours, config, vocab)
        assert tokenizers.text is not None
        tokenizers.text.save(scratch / "tokenizers" / "text")
        for name, given in (("audio", source.audio), ("image", source.image)):
            if given is not None:
                shutil.copytree(given, scratch / "tokenizers" / name)
    return config, vocab


def export_model(folder: Path | str, out: Path | str) -> str:
    """Write a model folder of omni as one that `transformers.AutoModelForCausalLM` loads, with equal logits.

    Ids are those of the shared space, which vocab.json in the new folder describes; `AutoTokenizer` loads a tokenizer
    for them, unless a piece of text is spelt like a control token. Returns the name of the class.
    Raises InputError for a model that no class of transformers computes.
    """
    from transformers import GenerationConfig

    folder, out = Path(folder), free(out)
    model, vocab = load_model(folder)
    if model.config.prefix:
        raise InputError(f"{folder}: its prompts see each other whole (prefix), which no class of transformers does")
    theirs = hugging_face_config(model.config)
    bos, turn, eos, pad = (vocab.control(name) for name in ("<bos>", "<turn>", "<eos>", "<pad>"))
    theirs.update({"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad})
    weights = to_hugging_face(model.state_dict(), model.config)
    if model.config.tie_embeddings:
        del weights["lm_head.weight"]                                   # the embedding under another name
    text = folder / "tokenizers" / "text"
    with atomic_path(out) as scratch:
        scratch.mkdir()
        theirs.save_pretrained(scratch)
        GenerationConfig(bos_token_id=bos, eos_token_id=[turn, eos], pad_token_id=pad).save_pretrained(scratch)
        whole = {name: tensor.contiguous() for name, tensor in weights.items()}
        save_file(whole, scratch / "model.safetensors", metadata={"format": "pt"})
        vocab.save(scratch / "vocab.json")
        if text.is_dir():
            write_tokenizer(TextTokenizer.load(text), vocab, scratch)
    return str(theirs.architectures[0])


def pack_model(folder: Path | str, out: Path | str) -> tuple[int, int]:
    """Write a model folder of one-bit matrices as one with eight weights a byte, its tokenizers beside it.

    Returns the bytes of the weights before and after. Raises InputError for a model of floats.
    """
    folder, out = Path(folder), free(out)
    model, vocab = load_model(folder)
    tokenizers = folder / "tokenizers"
    with atomic_path(out) as scratch:
        save_packed(scratch, model, vocab)
        if tokenizers.is_dir():
            shutil.copytree(tokenizers, scratch / "tokenizers")
    before, after = ((one / WEIGHTS).stat().st_size for one in (folder, out))
    return before, after


def extended(table: Tensor, vocab: Vocabulary) -> Tensor:
    """A checkpoint's table [text, d_model] over all ids of `vocab`: [vocab, d_model].

    New rows are the mean of the old ones and a little noise: at first every new id is as likely as an average one, so
    the probabilities of the old ones hardly change, whereas a row of zeros or of unusual length may outweigh them all
    (Hewitt 2021, "Initializing new word embeddings for pretrained language models").
    """
    text = vocab["text"]
    noise = torch.randn(len(vocab) - text.size, table.shape[1], generator=Generator().manual_seed(0))
    mean, deviation = table.float().mean(dim=0), table.float().std(dim=0)  # [d_model]
    new = (mean + NOISE * deviation * noise).to(table.dtype)            # [vocab - text, d_model]
    return torch.cat((new[: text.start], table, new[text.start :]))


def free(path: Path | str) -> Path:
    """A path where nothing is yet. Raises InputError: neither a model nor a checkpoint is overwritten by mistake."""
    path = Path(path)
    if path.exists():
        raise InputError(f"--out {path}: is there already; remove it or name another folder")
    return path


def _tokenizers(source: Source, rows: int) -> Tokenizers:
    path = source.folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"{path}: missing; only tokenizers in this form of Hugging Face's are imported")
    return Tokenizers(
        text=adopt(path, rows),
        audio=None if source.audio is None else load_audio(source.audio),
        image=None if source.image is None else load_image(source.image),
    )
