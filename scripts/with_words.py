"""A model of a codec without words as one of the same codec with words, which training goes on from.

    python scripts/with_words.py runs/tiny/model --tokenizers runs/spelling --out runs/tiny-words

`omni tokenizer train words` gives a codec one more codebook, the first. The model's own codebooks move back by one:
what the backbone predicted by itself is predicted through the first of the head's maps, which begins as the identity.
The rows of the new codebook begin near the letters that its codes spell (omni.train.start.likeness).
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from omni.errors import InputError
from omni.model.folder import load_model, save_model
from omni.model.transformer import OmniTransformer
from omni.tokenizers.audio.codec import Codec
from omni.tokenizers.bundle import Tokenizers
from omni.train.start.likeness import start_words
from omni.vocab import Vocabulary

MAPS = "channel_head.maps.weight"


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokenizers", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    widen(args.model, args.tokenizers, args.out)
    print(args.out)


def widen(folder: Path, tokenizers: Path, out: Path) -> None:
    """Raises InputError unless the tokenizers are those of the model with words, in the delay layout."""
    model, vocab = load_model(folder)
    bundle = Tokenizers.load(tokenizers)
    if not isinstance(bundle.audio, Codec) or not bundle.audio.config.words or vocab.layout != "delay":
        raise InputError(f"{tokenizers}: no codec with words, or {folder} is not of the delay layout")
    wide = replace(vocab, codebooks=vocab.codebooks + 1, tokenizers=bundle.fingerprint)
    wide.check_same(Vocabulary.of(bundle, wide.languages, wide.layout, wide.voices), str(folder), str(tokenizers))
    torch.manual_seed(0)
    wider = OmniTransformer(model.config.for_vocabulary(wide))
    weights = wider.state_dict() | {name: value for name, value in model.state_dict().items() if not _grows(name)}
    for name in filter(_grows, model.state_dict()):
        weights[name] = _grown(name, model.state_dict()[name], weights[name], vocab)
    wider.load_state_dict(weights)
    start_words(wider, wide, bundle, torch.Generator().manual_seed(0))
    save_model(out, wider.state_dict(), wider.config, wide)
    shutil.copytree(tokenizers, out / "tokenizers")


def _grows(name: str) -> bool:
    return name in (MAPS, "embedding.weight", "output.weight")


def _grown(name: str, old: Tensor, new: Tensor, vocab: Vocabulary) -> Tensor:
    """[vocab, d_model] tables, or the head's maps [channels * d_model, d_model], with room for the first codebook."""
    new = new.clone()
    if name == MAPS:
        new[: old.shape[1]] = torch.eye(old.shape[1])
        new[old.shape[1] :] = old
        return new
    first = vocab["audio"].start
    new[:first] = old[:first]
    new[first + vocab.codebook_size :] = old[first:]
    return new


if __name__ == "__main__":
    main()
