"""A model with its tokenizers after they were given words or tags, or learnt to hear words better.

    python scripts/widen.py runs/tiny/model --tokenizers runs/spelling --out runs/tiny-words

`omni tokenizer train words` gives a codec one more codebook, the first. The model's own codebooks move back by one:
what the backbone predicted by itself is predicted through the first of the head's maps, which begins as the identity.
`omni tokenizer train tags` gives pictures names, whose ids come last. New rows begin near the letters that codes spell,
and near the names (omni.train.start.likeness). Training goes on from such a model. Codes of words that were there
already keep their meaning, so that a model of the same token space only takes the better encoder with it; one that was
trained without letters beside its speech (omni.spelling) gets them, and is to be trained with them.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from omni.errors import InputError
from omni.model.folder import load_model, save_model
from omni.model.transformer import OmniTransformer
from omni.tokenizers.bundle import Tokenizers
from omni.train.start.likeness import start_tags, start_words
from omni.vocab import Vocabulary

MAPS = "channel_head.maps.weight"
LEARNS = tuple(f"words.{part}." for part in ("hear", "stacks", "pair", "frame", "spell"))  # what hears; codes stay


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
    """Raises InputError unless the tokenizers are the model's own but for words, tags, or how well words are heard."""
    model, vocab = load_model(folder)
    bundle = Tokenizers.load(tokenizers)
    wide = Vocabulary.of(bundle, vocab.languages, vocab.layout, vocab.voices)
    words, tags = wide.codebooks - vocab.codebooks, wide.tags - vocab.tags
    if words not in (0, 1) or (tags and vocab.tags):
        raise InputError(f"{tokenizers}: fewer codes than {folder} knows, or other tags; name what its own were given")
    if words and vocab.layout != "delay":
        raise InputError(f"{folder}: words are added to models of the delay layout, this one is {vocab.layout}")
    narrow = replace(wide, codebooks=vocab.codebooks, image=wide.image - tags, tags=vocab.tags,
                     picture_tokens=wide.picture_tokens - (wide.picture_tags if tags else 0),
                     picture_tags=vocab.picture_tags, tokenizers=vocab.tokenizers,
                     spelling=wide.spelling if vocab.spelling else None)  # fmt: skip
    vocab.check_same(narrow, str(folder), str(tokenizers))
    _check_own(folder, bundle)
    torch.manual_seed(0)
    wider = OmniTransformer(model.config.for_vocabulary(wide))
    weights = wider.state_dict()
    for name, old in model.state_dict().items():
        weights[name] = _grown(name, old, weights[name], vocab, bool(words))
    wider.load_state_dict(weights)
    if words:
        start_words(wider, wide, bundle, torch.Generator().manual_seed(0))
    if tags:
        start_tags(wider, wide, bundle, torch.Generator().manual_seed(0))
    save_model(out, wider.state_dict(), wider.config, wide)
    shutil.copytree(tokenizers, out / "tokenizers", ignore=shutil.ignore_patterns("training.safetensors"))


def _check_own(folder: Path, bundle: Tokenizers) -> None:
    """The text and, where the model's tokenizers are beside it, what makes sounds and pictures are the model's own."""
    own = Tokenizers.load(folder / "tokenizers") if (folder / "tokenizers").is_dir() else bundle
    for name in ("text", "audio", "image"):
        mine, theirs = getattr(own, name), getattr(bundle, name)
        if isinstance(mine, nn.Module) and isinstance(theirs, nn.Module):
            given = theirs.state_dict()
            kept = {key: weight for key, weight in mine.state_dict().items() if not key.startswith(LEARNS)}
            same = all(key in given and torch.equal(weight, given[key]) for key, weight in kept.items())
        else:
            same = getattr(mine, "fingerprint", None) == getattr(theirs, "fingerprint", None)
        if not same:
            raise InputError(f"{folder}: its {name} tokenizer is another one; widen it by what its own was given")


def _grown(name: str, old: Tensor, new: Tensor, vocab: Vocabulary, words: bool) -> Tensor:
    """A weight with room for what is new: [vocab, d_model] tables, the head's maps [channels * d_model, d_model]."""
    if name == MAPS and words:
        return torch.cat((torch.eye(old.shape[1]), old))
    if name not in ("embedding.weight", "output.weight"):
        return old
    new = new.clone()
    first = vocab["audio"].start
    moved = first + vocab.codebook_size * words
    new[:first] = old[:first]
    new[moved : moved + len(old) - first] = old[first:]
    return new


if __name__ == "__main__":
    main()
