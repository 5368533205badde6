import re

import jiwer
import pytest

from omni.train.data.lines import days, line_items, months, neighbours, numbers, sums, table

LANGUAGES = ("en", "fr", "es", "ru", "it", "de")


def test_every_line_has_a_text_and_a_name_of_its_own() -> None:
    items = line_items(LANGUAGES)
    assert len({item.id for item in items}) == len(items) > 500
    assert all(item.texts and all(text.strip() for text in item.texts.values()) for item in items)
    assert not [item for item in items for text in item.texts.values() if "{" in text]


def test_no_wording_kept_for_testing_is_trained_on() -> None:
    items = line_items(LANGUAGES)
    trained = {text for item in items if item.split == "train" for text in item.texts.values()}
    kept = {text for item in items if item.split == "test" for text in item.texts.values()}
    assert kept and not trained & kept


@pytest.mark.parametrize("group", ["refuse", "comply"])
def test_no_wording_of_a_topic_is_a_word_away_from_the_one_kept_for_testing(group: str) -> None:
    for topic, rows in table()[group].items():
        for language, (variants, _) in ((key, row) for key, row in rows.items() if key != "given"):
            *trained, kept = map(_words, variants)
            assert not [one for one in trained if _differ(one, kept) < 2], f"{topic}, {language}"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _differ(one: list[str], other: list[str]) -> float:
    return jiwer.process_words(" ".join(other), " ".join(one)).wer * len(other)


def test_sums_are_right_and_a_tenth_is_kept() -> None:
    for kind, a, b, result, _ in sums():
        assert result == (a + b if kind == "plus" else a - b) and 0 <= result <= 20
    share = sum(split == "test" for *_, split in sums()) / len(sums())
    assert 0.05 < share < 0.15


def test_other_languages_are_left_out() -> None:
    assert {language for item in line_items(["fr"]) for language in item.texts} == {"fr"}
    assert line_items(["xx"]) == []


@pytest.mark.parametrize("language", ["en", "fr", "es", "it", "de"])
def test_numbers_days_and_months_are_words_without_gaps(language: str) -> None:
    words = [numbers()[number][language] for number in range(21)]
    assert len(set(words)) == 21 and not any(re.search(r"\d", word) for word in words)
    assert len({day[language] for day in days()}) == 7 and len({month[language] for month in months()}) == 12
    assert len(neighbours()) == 19 + 7 + 12


def test_every_language_of_a_question_has_one_to_train_on_and_one_to_test() -> None:
    for topic, rows in table()["ask"].items():
        assert all(len(variants) >= 2 for variants in rows.values()), topic
