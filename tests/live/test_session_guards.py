"""Guards in a session: what they stop, and when."""

from collections.abc import Callable

import numpy as np
import pytest
from talking import Talking, only, silence, text

from omni.live.guard import Guard, Guards


class Strict:
    """A guard that minds one moment, after so many samples, or fails then; before and after it lets all pass."""

    def __init__(self, samples: int, fails: bool) -> None:
        self.left, self.fails = samples, fails

    def feed(self, samples: np.ndarray, transcript: str) -> str | None:
        before, self.left = self.left, self.left - len(samples)
        if self.left > 0 or before <= 0:
            return None
        if self.fails:
            raise RuntimeError("broken")
        return "not one of our voices"


@pytest.mark.parametrize("fails", [False, True])
def test_a_guard_stops_the_answer_and_so_does_one_that_fails(pipeline, fails: bool) -> None:
    talking = Talking(pipeline, Guards(lambda voice: Strict(3000, fails)))
    talking.say("conversation.item.create", item=text("How are you?"))
    events = talking.say("response.create")
    done = only(events, "response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "content_filter")
    response, codec = talking.session.speaking.last, pipeline.tokenizers.audio
    assert response.sent <= 3000 / 24_000
    remembered = [one for one in talking.talk.items[response.item] if one.modality == "audio"]
    assert sum(len(one.codes) for one in remembered) <= (response.sent + response.skipped) * codec.frame_rate
    assert not talking.worker.busy


@pytest.mark.parametrize("fails", [False, True])
def test_a_guard_stops_what_a_pause_drew_up_too(pipeline, spoken: np.ndarray, fails: bool) -> None:
    """The answer is whole before it begins: a silence of two seconds, in which the model works as much as it likes."""
    talking = Talking(pipeline, Guards(lambda voice: Strict(3000, fails)))
    talking.say("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": {
        "type": "server_vad", "silence_duration_ms": 2000}}}})  # fmt: skip
    events = talking.hear(np.concatenate((silence(0.3), spoken, silence(2.5))))
    done = only(events, "response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "content_filter")
    assert only(events, "error")["error"]["code"] == "content_filter"
    assert talking.session.speaking.last.sent <= 3000 / 24_000


def test_guards_of_a_conversation_know_of_its_earlier_answers_and_of_no_other(pipeline) -> None:
    """One that minds a moment of the conversation, in its second answer; what is answered out of band has its own."""
    begun = []

    def conversation() -> Callable[[str | None], Guard]:
        begun.append(guard := Strict(1, False))
        guard.left = 10**6
        return lambda voice: guard

    guards = Guards(lambda voice: Strict(10**9, False), conversation=conversation)
    talking = Talking(pipeline, guards)
    talking.say("conversation.item.create", item=text("How are you?"))
    assert only(talking.say("response.create"), "response.done")["response"]["status"] == "completed"
    (guard,) = begun
    heard = 10**6 - guard.left
    talking.say("response.create", response={"conversation": "none"})
    assert heard == 10**6 - guard.left > 0
    guard.left = 100                                                    # what is left until it minds something
    events = talking.say("response.create")
    assert only(events, "response.done")["response"]["status"] == "incomplete" and len(begun) == 1
    Talking(pipeline, guards)
    assert len(begun) == 2


class LastWord:
    """A guard that minds the last word of a text that stands."""

    def __init__(self) -> None:
        self.text = ""

    def feed(self, samples: np.ndarray, transcript: str) -> str | None:
        before, self.text = self.text, transcript
        return "it ends badly" if before == transcript != "" and not len(samples) else None


def test_the_end_of_a_written_answer_is_looked_at_too(pipeline) -> None:
    talking = Talking(pipeline, Guards(lambda voice: LastWord()))
    talking.say("session.update", session={"type": "realtime", "output_modalities": ["text"]})
    talking.say("conversation.item.create", item=text("How are you?"))
    done = only(talking.say("response.create"), "response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "content_filter")
