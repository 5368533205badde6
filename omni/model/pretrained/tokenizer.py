"""The tokenizer of an exported model, as `transformers.AutoTokenizer` loads it: texts, and control tokens by name."""

import json
from pathlib import Path
from typing import Any

from omni.tokenizers.text import TextTokenizer
from omni.vocab import Vocabulary

# omni.sequence in Jinja, for conversations of text in which the roles alternate.
CHAT = (
    "<bos>{% for message in messages %}<{{ message['role'] }}><text>{{ message['content'] }}</text><turn>{% endfor %}"
    "{% if add_generation_prompt %}<assistant><text>{% else %}<eos>{% endif %}"
)


def write_tokenizer(text: TextTokenizer, vocab: Vocabulary, folder: Path) -> bool:
    """Write tokenizer.json and its like over the ids of the shared space, with a chat template.

    False, and nothing is written, where a piece of text is spelt like a control token: one table cannot hold both.
    """
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    values: dict[str, Any] = json.loads(text.definition)
    pieces: dict[str, int] = values["model"]["vocab"]
    if set(pieces) & set(vocab.controls):
        return False
    controls = {name: number for number, name in enumerate(vocab.controls)}
    start = vocab["text"].start
    values["model"]["vocab"] = controls | {piece: start + number for piece, number in pieces.items()}
    core = Tokenizer.from_str(json.dumps(values))
    core.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in controls])
    theirs = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    theirs.chat_template = CHAT
    theirs.save_pretrained(folder)
    return True
