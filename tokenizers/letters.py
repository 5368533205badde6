"""What counts as a letter, of a text and of a text tokenizer's pieces: whoever spells speech agrees on it."""

from collections.abc import Iterable


def plain(text: str) -> str:
    """A text in small letters and digits, one space between words."""
    return " ".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())


def letters_in(pieces: Iterable[bytes]) -> dict[str, int]:
    """The number of each piece that is one small letter, a digit or the space between words, by its letter."""
    found = {piece.decode(errors="replace"): number for number, piece in enumerate(pieces)}  # broken ones are longer
    return {letter: number for letter, number in found.items() if len(letter) == 1 and _is_letter(letter)}


def _is_letter(letter: str) -> bool:
    return letter == " " or (letter.isalnum() and letter == letter.lower())
