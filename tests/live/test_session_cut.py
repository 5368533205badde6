"""Answers that are interrupted or truncated: the conversation holds what was heard."""

import json
from dataclasses import replace

import numpy as np
import pytest
from talking import Talking, kinds, only, refused, silence, text

from omni.decode.sentences import Sentences
from omni.live.cut import begun
from omni.live.engine import messages
from omni.live.protocol.settings import Settings
from omni.sequence import Segment


def test_an_interrupted_answer_is_forgotten_from_where_it_was_not_heard(talking: Talking, spoken: np.ndarray) -> None:
    talking.say("conversation.item.create", item=text("How are you?"))
    talking.raw(json.dumps({"type": "response.create"}), steps=1)
    response = talking.session.speaking.current
    while response.sent < 0.12:
        talking.work(1)
    assert talking.session.speaking.current is response
    events = talking.hear(np.concatenate((silence(0.1), spoken[:12_000])), steps=0)
    assert "input_audio_buffer.speech_started" in kinds(events)
    done = only(events, "response.done")["response"]
    assert done["status"] == "cancelled" and done["status_details"]["reason"] == "turn_detected"
    events = talking.say(
        "conversation.item.truncate", item_id=response.item, content_index=0, audio_end_ms=80
    )
    assert only(events, "conversation.item.truncated")["audio_end_ms"] == 80
    kept = {segment.modality: segment for segment in talking.talk.items[response.item]}
    assert len(kept["audio"].codes) <= (0.08 + response.skipped) * 25 + 1 if kept else True
    item = only(talking.say("conversation.item.retrieve", item_id=response.item), "conversation.item.retrieved")["item"]
    assert item["content"] == [{"type": "output_audio", "transcript": None}]


@pytest.mark.parametrize("by", ["client", "user", "a user on a busy server"])
def test_of_an_answer_that_is_stopped_the_model_remembers_no_text_that_was_not_spoken(talking, spoken, by: str) -> None:
    """Text is there before its sound."""
    talking.say("conversation.item.create", item=text("How are you?"))
    talking.raw(json.dumps({"type": "response.create"}), steps=1)
    response = talking.session.speaking.current
    while response.sent < 0.6:
        talking.work(1)
    assert not talking.talk.speech.over
    if by == "client":
        talking.raw(json.dumps({"type": "response.cancel"}), steps=0)
    else:
        response.first_audio -= 99 if "busy" in by else 0               # all that was sent was heard, or less
        talking.hear(np.concatenate((silence(0.1), spoken[:12_000])), steps=0)
    assert response.status == "cancelled"
    kept, room = "", 0.0
    if talking.talk.items[response.item]:
        written, sound = talking.talk.items[response.item]
        kept, room = talking.worker.pipeline.tokenizers.text.decode(written.codes), len(sound.codes) / 25 * 16
    assert response.text.startswith(kept) and len(kept) <= room < len(response.text)
    if by != "user":                                                    # nor less, by words
        words = response.text.split()
        starts = [" ".join(words[:count]) for count in range(len(words))]
        assert kept == max((some for some in starts if len(some) <= room), key=len) != ""


def test_of_an_answer_whose_first_sound_is_held_back_nothing_is_remembered(talking: Talking) -> None:
    """Where others talk, too, the first frames are sent together."""
    talking.worker.take(messages.Open("other"))
    talking.say("conversation.item.create", item=text("How are you?"))
    talking.raw(json.dumps({"type": "response.create"}), steps=1)
    speech, response = talking.talk.speech, talking.session.speaking.current
    while not speech.held:
        talking.work(1)
    talking.raw(json.dumps({"type": "response.cancel"}), steps=0)
    assert talking.talk.items[response.item] == [] and not response.sent


def test_of_a_sentence_that_is_written_and_not_spoken_yet_nothing_is_remembered(
    talking: Talking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly the first was spoken, which would leave room for the second."""
    monkeypatch.setattr(Sentences, "pause", lambda self, codes: len(codes) == 4)
    monkeypatch.setattr("omni.live.cut.LETTERS_A_SECOND", 1000)
    talking.say("conversation.item.create", item=text("Tell me who you are, and what you can do."))
    talking.raw(json.dumps({"type": "response.create"}), steps=1)
    speech, response = talking.talk.speech, talking.session.speaking.current
    while not speech.sounded or speech.written == speech.sounded:
        talking.work(1)
    assert speech.sounded == 3
    first = talking.worker.pipeline.tokenizers.text.decode(speech.said[0].codes[:3].tolist())
    talking.raw(json.dumps({"type": "response.cancel"}), steps=0)
    written, sound = talking.talk.items[response.item]
    assert len(sound.codes) and response.text.startswith(first) and len(response.text) > len(first)
    assert talking.worker.pipeline.tokenizers.text.decode(written.codes.tolist()) == first.rstrip()


def test_an_answer_that_is_interrupted_before_its_first_sound_was_not_given(talking: Talking, spoken) -> None:
    talking.say("conversation.item.create", item=text("How are you?"))
    talking.raw(json.dumps({"type": "response.create"}), steps=1)
    response = talking.session.speaking.current
    while not response.text:
        talking.work(1)
    assert not response.sent
    events = talking.hear(np.concatenate((silence(0.1), spoken[:12_000])), steps=0)
    assert only(events, "response.done")["response"]["status"] == "cancelled"
    assert talking.talk.items[response.item] == []
    (kept,) = talking.say("conversation.item.retrieve", item_id=response.item)
    assert kept["item"]["content"] == [{"type": "output_audio", "transcript": None}]


def test_more_cannot_be_truncated_than_was_said(talking: Talking) -> None:
    talking.say("conversation.item.create", item=text("Hello"))
    item = only(talking.say("response.create"), "response.output_item.done")["item"]["id"]
    error = refused(talking.say("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=10**6))
    assert error["param"] == "audio_end_ms"


def test_an_earlier_answer_can_be_truncated_and_what_was_not_spoken_cannot(talking: Talking) -> None:
    answers = []
    for words in ("Hello", "How are you?"):
        talking.say("conversation.item.create", item=text(words, id=words))
        answers.append(only(talking.say("response.create"), "response.output_item.done")["item"]["id"])
    before = [len(talking.talk.items[item][-1].codes) for item in answers]
    (told,) = talking.say("conversation.item.truncate", item_id=answers[0], content_index=0, audio_end_ms=80)
    assert (told["type"], told["audio_end_ms"]) == ("conversation.item.truncated", 80)
    after = [sum(len(segment.codes) for segment in talking.talk.items[item] if segment.modality == "audio")
             for item in answers]  # fmt: skip
    assert after[0] < before[0] and after[1] == before[1]
    for item, param in (("Hello", "item_id"), ("nothing", "item_id")):
        error = refused(talking.say("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=0))
        assert error["param"] == param


@pytest.mark.parametrize(
    ("share", "expected"), [(1.0, "a red owl"), (0.99, "a red"), (0.5, "a"), (0.0, ""), (5 / 9, "a red")]
)
def test_the_text_that_is_kept_is_whole_words(talking: Talking, share: float, expected: str) -> None:
    tokenizer = talking.talk.pipeline.tokenizers.text
    words, sound = np.array(tokenizer.encode("a red owl"), np.int64), np.zeros((2, 5), np.int64)
    said = [Segment("text", words, "assistant"), Segment("audio", sound, "assistant")]
    kept = begun(said, 2, 2 / share if share else 1e9, tokenizer)
    assert tokenizer.decode(kept[0].codes.tolist()) == expected and len(kept[1].codes) == 2


def test_a_bill_out_of_band_tells_how_much_of_an_answer_is_kept(talking: Talking) -> None:
    """So `omni bench barge-in` knows it, whatever the client was told."""

    def codes() -> int:
        asked = {"conversation": "none", "output_modalities": ["text"], "max_output_tokens": 1}
        done = only(talking.say("response.create", response=asked), "response.done")["response"]
        return done["usage"]["input_token_details"]["audio_tokens"]

    talking.say("conversation.item.create", item=text("Who are you?"))
    (item,) = only(talking.say("response.create"), "response.done")["response"]["output"]
    assert codes() == sum(each.codes.size for each in talking.talk.items[item["id"]] if each.modality == "audio")
    talking.say("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=320)
    assert 0 < codes() <= (0.32 + 1) * 125                              # a second, and the silence cut before


@pytest.mark.parametrize(
    ("room", "tools", "tokens", "seconds"),
    [(2048, [], 32, 20), (512, [], 32, 20), (8192, [], 128, 80), (1 << 17, [], 256, 160), (2048, ["f"], 256, 20)],
)
def test_a_model_with_more_room_may_speak_longer(talking, room, tools, tokens, seconds) -> None:
    settings = Settings(replace(talking.session.line.facts, max_steps=room), 600)
    settings.update({"tools": [{"type": "function", "name": name} for name in tools]})
    assert (settings.ask.how["max_tokens"], settings.ask.how["max_seconds"]) == (tokens, seconds)
    assert settings.with_response({"max_output_tokens": 7}).ask.how["max_tokens"] == 7


@pytest.mark.parametrize("then", ["response.cancel", "the end", "speech"])
def test_an_answer_truncated_while_it_is_made_is_kept_as_far_as_it_was_heard(talking: Talking, spoken, then) -> None:
    """Whoever speaks later does not bring back what was not heard, nor does the end of the answer."""
    talking.say("conversation.item.create", item=text("How are you?"))
    talking.raw(json.dumps({"type": "response.create"}), steps=1)
    response = talking.session.speaking.current
    while response.sent < 0.6:
        talking.work(1)
    where = {"item_id": response.item, "content_index": 0, "audio_end_ms": 320}
    talking.raw(json.dumps({"type": "conversation.item.truncate", **where}), steps=0)
    response.first_audio -= 99                                          # by the clock all was heard
    if then == "response.cancel":
        talking.say(then)
    elif then == "speech":
        talking.hear(np.concatenate((silence(0.1), spoken[:12_000])), steps=0)
    talking.work()
    written, sound = talking.talk.items[response.item]
    assert len(sound.codes) == int((0.32 + response.skipped) * 25)
    kept = talking.worker.pipeline.tokenizers.text.decode(written.codes)
    assert response.text.startswith(kept) and 0 < len(kept) < len(response.text)
    held = only(talking.events, "response.done")["response"]["output"][0]
    assert held["content"][0]["transcript"] == response.text            # that is what was sent
    (got,) = talking.say("conversation.item.retrieve", item_id=response.item)
    assert got["item"]["content"] == [{"type": "output_audio", "transcript": None}]
    told = [event["item"] for event in talking.events if event["type"] == "conversation.item.done"]
    assert "transcript" not in json.dumps(told) or response.text not in json.dumps(told)


@pytest.mark.parametrize("limit", ["max_output_tokens", "room"])
def test_an_answer_that_ends_for_want_of_room_is_kept_as_far_as_it_was_spoken(pipeline, monkeypatch, limit) -> None:
    if limit == "room":                                                 # for less than a second
        monkeypatch.setattr(pipeline.model, "config", replace(pipeline.model.config, max_steps=56))
    talking = Talking(pipeline)
    talking.say("conversation.item.create", item=text("Who are you?"))
    asked = {"max_output_tokens": 40} if limit == "max_output_tokens" else {}
    events = talking.say("response.create", response=asked)
    done = only(events, "response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "max_output_tokens")
    response = talking.session.speaking.last
    written, sound = talking.talk.items[response.item]
    assert done["usage"]["output_token_details"]["audio_tokens"] == sound.codes.size
    tokenizer = talking.worker.pipeline.tokenizers.text
    kept = tokenizer.decode(written.codes)
    told = done["usage"]["output_token_details"]["text_tokens"]
    assert told >= len(tokenizer.encode(response.text)) > len(written.codes)
    assert response.text.startswith(kept) and 0 < len(kept) <= len(sound.codes) / 25 * 16 < len(response.text)
    (got,) = talking.say("conversation.item.retrieve", item_id=response.item)
    assert got["item"]["content"] == [{"type": "output_audio", "transcript": kept}]
    assert got["item"] == only(events, "conversation.item.done")["item"]
    (told,) = talking.say("conversation.item.truncate", item_id=response.item, content_index=0, audio_end_ms=80)
    assert told["type"] == "conversation.item.truncated"
    assert len(talking.talk.items[response.item][-1].codes) < len(sound.codes)


def test_an_answer_that_is_stopped_is_billed_as_far_as_it_was_made(talking: Talking) -> None:
    """Out of band, so that all of them answer the same, and with the same words."""
    asked = {"type": "response.create", "response": {"conversation": "none"}}
    talking.say("conversation.item.create", item=text("How are you?"))
    whole = only(talking.raw(json.dumps(asked)), "response.done")["response"]["usage"]
    bills = []
    for seconds in (0.0, 0.3):
        created = only(talking.raw(json.dumps(asked), steps=1), "response.created")["response"]["id"]
        while talking.session.speaking.find(created).sent < seconds:
            talking.work(1)
        done = only(talking.say("response.cancel", response_id=created), "response.done")["response"]
        assert done["status"] == "cancelled"
        bills.append(done["usage"])
    for bill in bills:
        assert bill["input_token_details"] == whole["input_token_details"]
        assert bill["output_tokens"] == sum(bill["output_token_details"].values())
        assert bill["total_tokens"] == bill["input_tokens"] + bill["output_tokens"]
    first, second = (bill["output_token_details"] for bill in bills)
    made = whole["output_token_details"]
    assert first["audio_tokens"] == 0 and first["text_tokens"] < made["text_tokens"] == second["text_tokens"]
    assert 0 < second["audio_tokens"] < made["audio_tokens"]


def test_clearing_what_is_played_is_always_told(talking: Talking) -> None:
    cleared = only(talking.say("output_audio_buffer.clear"), "output_audio_buffer.cleared")
    assert cleared["response_id"] == ""                                 # nothing was ever said
    talking.say("conversation.item.create", item=text("Hello"))
    given = talking.raw(json.dumps({"type": "response.create"}), steps=3)
    name = only(given, "response.created")["response"]["id"]
    events = talking.say("output_audio_buffer.clear")
    assert only(events, "response.done")["response"]["status"] == "cancelled"
    assert events[-1]["type"] == "output_audio_buffer.cleared" and events[-1]["response_id"] == name
    assert only(talking.say("output_audio_buffer.clear"), "output_audio_buffer.cleared")["response_id"] == name
