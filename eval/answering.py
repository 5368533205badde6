"""The code that answers depend on: what is kept of other answers is stale."""

from pathlib import Path

ROOT = Path(__file__).parents[1]                                        # of the package
_PARTS = (
    "decode", "model", "tokenizers", "sequence.py", "spelling.py", "vocab.py", "layout.py", "native.py", "native.h",
)  # fmt: skip
ANSWERS = tuple(ROOT / part for part in _PARTS)
