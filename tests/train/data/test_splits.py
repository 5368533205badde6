"""Splits against a brute-force definition of what may not be parted."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni.train.data.splits import Facts, assign, draw, groups, normalise

WORDS = st.sampled_from(["owl", "An owl.", "OWL!", "the cat", "Cat", "сова", "a very long name indeed", "A", "", "?"])
LANGUAGES = st.sampled_from(["en", "en-gb", "fr", "ru", "gl"])
FACTS = st.builds(
    lambda texts, joins: (texts, joins),
    st.dictionaries(LANGUAGES, WORDS, max_size=3),
    st.lists(st.sampled_from(["picture:1", "picture:2", "audio:1"]), max_size=1),
)


def linked(first: Facts, second: Facts) -> bool:
    """The rule as docs/data.md puts it, pair by pair."""
    if set(first.joins) & set(second.joins):
        return True
    for language, text in first.texts.items():
        for other_language, other in second.texts.items():
            english = language.startswith("en") and other_language.startswith("en")
            if normalise(text) == normalise(other) and (english or (len(text) > 12 and len(other) > 12)):
                return True
    return False


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(FACTS, max_size=12))
def test_groups_are_the_connected_components_of_the_rule(rows: list[tuple[dict[str, str], list[str]]]) -> None:
    items = [Facts(f"item/{index}", texts, joins) for index, (texts, joins) in enumerate(rows)]
    label = list(range(len(items)))
    for _ in items:  # spread the smallest label until nothing moves
        for i, first in enumerate(items):
            for j, second in enumerate(items):
                if linked(first, second):
                    label[i] = label[j] = min(label[i], label[j])
    assert groups(items) == label


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(FACTS, min_size=1, max_size=12), data=st.data())
def test_the_split_does_not_depend_on_the_order_of_items(
    rows: list[tuple[dict[str, str], list[str]]], data: st.DataObject
) -> None:
    items = [Facts(f"item/{index}", texts, joins) for index, (texts, joins) in enumerate(rows)]
    shuffled = data.draw(st.permutations(items))
    first = dict(zip([item.id for item in items], assign(items).of, strict=True))
    again = dict(zip([item.id for item in shuffled], assign(shuffled).of, strict=True))
    assert first == again


@given(text=st.text(max_size=30))
def test_normalising_twice_is_normalising_once_but_for_a_second_article(text: str) -> None:
    once = normalise(text)
    assert once == once.strip()
    assert normalise(text.upper()) == normalise(unicodedata.normalize("NFKC", text.upper()))
    assert bool(once) == bool(unicodedata.normalize("NFKC", text).casefold().strip())


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("An owl.", "owl", True),
        ("THE LETTER A", "letter a", True),
        ("?", "!", False),
        ("की", "का", False),
        ("a", "an", False),
    ],
)
def test_what_counts_as_the_same_text(first: str, second: str, same: bool) -> None:
    assert (normalise(first) == normalise(second)) is same


def test_shares_are_ninety_five_five() -> None:
    drawn = [draw(f"name {index}") for index in range(20_000)]
    assert abs(drawn.count("test") - 1000) < 130  # 4 standard deviations
    assert abs(drawn.count("valid") - 1000) < 130


def test_a_group_too_large_to_hold_out_is_trained_on() -> None:
    items = [Facts(f"item/{index}", {"en": "star"}, []) for index in range(41)]
    assert set(assign(items).of) == {"train"}
