from hypothesis import given
from hypothesis import strategies as st

from omni.train.data.items import Item, Recording
from omni.train.tasks.templates import TASKS, Face, faces

LANGUAGES = ("en", "fr", "ru")


def recording(kind: str, language: str | None) -> Recording:
    return Recording(0, 100, language, kind, None, "GPL-2+")


def items() -> st.SearchStrategy[Item]:
    speech = st.sampled_from(LANGUAGES).map(lambda language: recording("speech", language))
    return st.builds(
        Item,
        id=st.text("abc", min_size=1, max_size=4),
        source=st.sampled_from(["stamps", "emoji", "prompts", "words"]),
        split=st.just("train"),
        texts=st.dictionaries(st.sampled_from(LANGUAGES), st.text("xyz", min_size=1)),
        keywords=st.just({}),
        pictures=st.lists(st.integers(0, 9), max_size=2).map(tuple),
        recordings=st.lists(speech | st.just(recording("effect", None)), max_size=4).map(tuple),
        licence=st.just(""),
        attribution=st.just(""),
    )


@given(items(), st.integers(0, 3))
def test_every_example_fits_its_task_and_draws_are_repeatable(item: Item, seed: int) -> None:
    for task in TASKS:
        found = list(task.examples(item, LANGUAGES, seed))
        assert found == list(task.examples(item, LANGUAGES, seed))
        assert len(found) == len(set(found)) <= task.limit * len(task.pairs)
        for given_face, wanted in found:
            assert given_face != wanted
            assert {given_face, wanted} <= set(faces(item, LANGUAGES))
            assert any(pair.fits(given_face, wanted) for pair in task.pairs)


def test_a_stamp_with_everything_serves_every_kind_of_task() -> None:
    speech = (recording("speech", "en"), recording("speech", "fr"), recording("effect", None))
    item = Item("owl", "stamps", "train", {"en": "An owl.", "fr": "Un hibou."}, {}, (0,), speech, "", "")
    found = {task.name: list(task.examples(item, LANGUAGES, 0)) for task in TASKS}
    expected = {
        "caption": 2, "draw": 2, "say": 2, "transcribe": 2, "translate": 2, "translate_speech": 2, "interpret": 2,
        "describe": 2, "imagine": 2, "name_sound": 2, "tell": 6, "prompts": 0,
    }  # fmt: skip
    assert {name: len(pairs) for name, pairs in found.items()} == expected


def test_languages_outside_the_choice_are_left_out() -> None:
    item = Item("owl", "stamps", "train", {"en": "An owl.", "fr": "Un hibou."}, {}, (0,), (), "", "")
    captions = next(task for task in TASKS if task.name == "caption")
    assert [wanted.language for _, wanted in captions.examples(item, ("fr",), 0)] == ["fr"]


def test_what_is_told_is_then_said_in_the_same_language() -> None:
    speech = (recording("effect", None), recording("speech", "fr"))
    item = Item("owl", "stamps", "train", {"en": "An owl.", "fr": "Un hibou."}, {}, (0,), speech, "", "")
    tell = next(task for task in TASKS if task.name == "tell")
    found = list(tell.examples(item, LANGUAGES, 0))
    assert {wanted.language for _, wanted in found} == {"fr"}           # nobody says it in English
    assert all(tell.following(item, wanted) == (Face("speech", "fr", 1),) for _, wanted in found)
