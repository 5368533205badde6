"""Text <-> ids: byte-level byte-pair encoding (Sennrich et al. 2016; bytes as in GPT-2, Radford et al. 2019)."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from omni.errors import InputError
from omni.figures import Report
from omni.files import write_text

FILE = "text.json"
BYTES = 256
SILENT = "\u2205"                                                       # begins a token that no bytes spell
# A space between two letters. A word ends there for every cutter of byte-level BPE, whatever comes before and behind.
BETWEEN_WORDS = re.compile(r"(?<=[^\W\d_]) (?=[^\W\d_])")
SURROGATE = re.compile("[\ud800-\udfff]")
# Words with their leading space, numbers in threes, runs of punctuation, white space (the pattern of GPT-4 without its
# English contractions); combining marks stay with their letters, which the scripts of India and South-East Asia need.
WORDS = r"[^\r\n\p{L}\p{M}\p{N}]?[\p{L}\p{M}]+|\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


class TextTokenizer:
    """Byte-level BPE. All 256 bytes are in the alphabet, so any text round-trips and nothing is ever unknown.

    There are no special tokens: a control token such as `<bos>` written by a user is ordinary text here and becomes
    ordinary text ids; the real control tokens live in another span of `omni.vocab`. A tokenizer that others trained
    (omni.tokenizers.foreign) may have silent ids, its special tokens once: no text has them, and they stand for none.
    """

    def __init__(self, core: Tokenizer) -> None:
        if core.get_added_tokens_decoder():
            raise InputError("the text tokenizer has special tokens; train it with `omni tokenizer train text`")
        tokens = core.get_vocab()
        if set(pre_tokenizers.ByteLevel.alphabet()) - set(tokens):
            raise InputError("the text tokenizer lacks some of the bytes; train it with `omni tokenizer train text`")
        self._core = core
        self._silent = frozenset(number for token, number in tokens.items() if token.startswith(SILENT))

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "TextTokenizer":
        """Learn merges from `texts`. Fewer than `vocab_size` ids come out where the texts hold too few pairs.

        Raises InputError when `vocab_size` is below the 256 bytes.
        """
        if vocab_size < BYTES:
            raise InputError(f"vocab_size={vocab_size}: the {BYTES} bytes alone need more; use at least {BYTES}")
        core = _untrained()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            special_tokens=[],
            show_progress=False,
        )
        core.train_from_iterator((_valid(text) for text in texts), trainer)
        return cls(core)

    def encode(self, text: str) -> list[int]:
        """Ids of one text; lone surrogates, which no UTF-8 text can hold, become U+FFFD."""
        return self._core.encode(_valid(text)).ids

    def encode_letters(self, text: str) -> list[int]:
        """Ids of a text letter by letter: one for each, or those of its bytes where it has none of its own."""
        return [number for letter in _valid(text) for number in self._core.encode(letter).ids]

    def cut(self, text: str, letters: int) -> Iterator[str]:
        """A text in parts of so many letters or some more, whose ids, one after another, are those of the whole."""
        start = 0
        while (found := BETWEEN_WORDS.search(text, start + letters)) is not None:
            yield text[start : found.start()]
            start = found.start()
        yield text[start:]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, on all cores."""
        return [encoding.ids for encoding in self._core.encode_batch([_valid(text) for text in texts])]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; bytes that are not valid UTF-8 (a model may stop inside a letter) become U+FFFD.

        Raises ValueError for an id outside 0 .. len - 1.
        """
        ids = [int(i) for i in ids]
        if wrong := [i for i in ids if not 0 <= i < len(self)]:
            raise ValueError(f"text id {wrong[0]} lies outside 0..{len(self) - 1}")
        return self._core.decode([i for i in ids if i not in self._silent], skip_special_tokens=False)

    def __len__(self) -> int:
        return self._core.get_vocab_size()

    def pieces(self) -> list[bytes]:
        """The bytes that each id stands for, alone perhaps not valid UTF-8; none for a silent one."""
        alphabet = _byte_of_letter()
        numbers = range(len(self))
        tokens = ["" if number in self._silent else self._core.id_to_token(number) or "" for number in numbers]
        return [bytes(alphabet[letter] for letter in token) for token in tokens]

    @property
    def definition(self) -> str:
        """Everything that decides which ids a text gets, in the JSON of Hugging Face's `tokenizers`."""
        return self._core.to_str()

    @property
    def fingerprint(self) -> str:
        """Hash of the definition."""
        return hashlib.sha256(self.definition.encode()).hexdigest()[:16]

    def save(self, folder: Path | str) -> None:
        """Write `folder/text.json`, the file format of Hugging Face's `tokenizers`."""
        write_text(Path(folder) / FILE, self._core.to_str(pretty=True))

    @classmethod
    def load(cls, folder: Path | str) -> "TextTokenizer":
        """Read what `save` wrote. Raises InputError when it is missing or broken."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise InputError(f"{path}: no text tokenizer there; make one with `omni tokenizer train text --out DIR`")
        try:
            core = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:                                      # `tokenizers` raises bare Exception
            raise InputError(f"{path}: a broken tokenizer file ({error}); train it again") from None
        try:
            return cls(core)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def evaluate(tokenizer: TextTokenizer, texts: Mapping[str, Sequence[str]]) -> Report:
    """Figures on held-out texts by language.

    bytes_per_token: UTF-8 bytes a token stands for, over all texts and for each language with at least 100 texts;
    round_trip: share of texts that come back exactly; vocabulary: ids.
    """
    if not any(texts.values()):
        raise InputError("text evaluation: there are no held-out texts; prepare more data")
    report = Report("tokenizer eval text")
    report.add("vocabulary", len(tokenizer), "ids")
    sizes, counts, same, n = {}, {}, 0, 0
    for language, lines in sorted(texts.items()):
        ids = tokenizer.encode_batch(lines)
        sizes[language] = sum(len(line.encode()) for line in lines)
        counts[language] = max(1, sum(map(len, ids)))
        same += sum(tokenizer.decode(row) == line for row, line in zip(ids, lines, strict=True))
        n += len(lines)
    report.add("bytes_per_token", sum(sizes.values()) / sum(counts.values()), "bytes", n=n)
    report.add("round_trip", same / n, "share", n=n)
    for language, size in sizes.items():
        if len(texts[language]) >= 100:
            report.add(f"bytes_per_token_{language}", size / counts[language], "bytes", n=len(texts[language]))
    return report


def _untrained() -> Tokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    return core


def _byte_of_letter() -> dict[str, int]:
    """The printable letter that byte-level BPE writes for each byte, backwards (Radford et al. 2019)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _valid(text: str) -> str:
    """Text with U+FFFD for each lone surrogate: those have no UTF-8 form, so no byte could stand for them."""
    return text if text.isascii() else SURROGATE.sub("\ufffd", text)
