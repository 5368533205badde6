"""Reading and writing: texts translated, and how many bits a held-out text costs."""

import math
from collections import Counter
from collections.abc import Iterator

from inspect_ai import Task, task
from inspect_ai.model import ContentText

from omni.eval.tasks.examine import examine, likely
from omni.eval.tasks.hearing import SPOKEN
from omni.eval.tasks.records import Record, drawn, held_out, records
from omni.eval.tasks.scorers import bits, translation, translation_by_words
from omni.train.data.items import Manifest

COSTED = (*SPOKEN, "am", "ha", "sw", "yo")


@task
def translate(data: str | None = None, n: int | None = 100, seed: int = 0) -> Task:
    """Held-out captions from one of ten languages into another; baseline: the source handed back."""
    found = records(data, lambda held: _pairs(held, seed), n, seed)
    return examine("translate", found, [translation(), translation_by_words()])


@task
def perplexity(data: str | None = None, n: int | None = 140, seed: int = 0) -> Task:
    """Bits a byte of held-out captions and names, given one in English; baseline: how often each byte occurs."""
    found = records(data, lambda held: _costed(held, n, seed), n, seed)
    return examine("perplexity", found, bits(), by=likely())


def _pairs(manifest: Manifest, seed: int) -> Iterator[Record]:
    for item in held_out(manifest, "stamps"):
        known = [language for language in SPOKEN if language in item.texts]
        pairs = [(source, target) for source in known for target in known if source != target]
        for source, target in drawn(pairs, 2, seed, item.id):
            text = item.texts[source]
            yield Record(
                f"{item.id}:{source}-{target}", item.texts[target], (ContentText(text=text),),
                f"Translate this from {source} into {target}; give the translation and nothing else.", target,
                baseline=text, groups={"language": target, "source": source},
            )  # fmt: skip


def _costed(manifest: Manifest, n: int | None, seed: int) -> Iterator[Record]:
    """Equally often of each language: stamps where they have it, emoji where not."""
    each = None if n is None else -(-n // len(COSTED))
    for language in COSTED:
        source = "stamps" if language in SPOKEN else "emoji"
        own = [item for item in held_out(manifest, source) if {language, "en"} <= set(item.texts)]
        costs = _byte_costs([item.texts[language] for item in manifest.of(split="train", source=source)
                             if language in item.texts])  # fmt: skip
        for item in drawn(own, len(own) if each is None else each, seed, language):
            text = item.texts[language]
            asked = ContentText(text=item.texts["en"] if language != "en" else item.texts.get("fr", text))
            cost = sum(costs[byte] for byte in text.encode())
            yield Record(
                f"{item.id}:{language}", text, (asked,), language=language, groups={"language": language},
                more={"baseline_bits": cost},
            )  # fmt: skip


def _byte_costs(texts: list[str]) -> list[float]:
    """Bits of each byte by its frequency in the training texts, one added to every count (Laplace)."""
    counts = Counter(b"".join(text.encode() for text in texts))
    total = counts.total() + 256
    return [-math.log2((counts[byte] + 1) / total) for byte in range(256)]
