"""The page is spoken to, answers and is interrupted."""

import itertools
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .conftest import Server, Watched

LOUD = 10 ** (-50 / 20)
LONG = ("Say the alphabet.", "Can you imitate my voice?", "Who is speaking in this recording?", "Who are you?") * 3


def test_it_hears_and_is_heard_and_tells_how_long_that_took(
    server: Server, visit: Callable[..., Watched], microphone: Callable[..., Path]
) -> None:
    watched = visit(server.address, microphone(1.0, "What is this?", 12.0), ear=True)
    watched.connected()
    watched.page.click("#speak")
    watched.wait(lambda: "response.done" in watched.kinds(watched.received))
    watched.wait(lambda: watched.page.query_selector(".assistant .time"))
    watched.wait(lambda: watched.page.query_selector(".user .text:not(:empty)"))
    shown = watched.page.inner_text(".assistant .text")
    assert shown == next(each for each in watched.received if each["type"].endswith("transcript.done"))["transcript"]
    told = int(re.match(r"(-?\d+) ms", watched.page.inner_text(".assistant .time"))[1])  # type: ignore[index]
    measured = latency(watched)
    print(f"latency: the page says {told} ms, an ear outside of it {measured:.0f} ms")
    assert abs(told - measured) < 60
    parts = [int(each.inner_text()[:-3]) for each in watched.page.query_selector_all("#latency dd")]
    assert len(parts) == 4 and abs(sum(parts) - told) <= 4


def test_speaking_interrupts_and_the_server_is_told_what_was_heard(
    server: Server, visit: Callable[..., Watched], microphone: Callable[..., Path]
) -> None:
    watched = visit(server.address, microphone("What is that over there?", 3.0), ear=True)  # without a pause
    watched.connected()
    for question in LONG:                                               # until an answer is long enough
        asked = ask(watched, question)
        before = len(watched.received)
        watched.page.click("#speak")                                    # the user begins to speak at once
        watched.wait(partial(began_since, watched, before))
        watched.page.wait_for_timeout(300)
        if cuts(watched, asked):
            break
        watched.page.click("#speak")                                    # mute, and another time
        watched.page.wait_for_timeout(2000)
    began, ended = cut_where_it_was_heard_to_end(watched, asked)
    assert watched.page.wait_for_selector(".assistant .note")
    spoke = next(at for at in loud(watched, "you") if at > began)
    print(f"the last sound came {ended - spoke:.0f} ms after the user's first")


def test_the_button_stops_an_answer_at_once(server: Server, visit: Callable[..., Watched]) -> None:
    watched = visit(server.address, ear=True)
    watched.connected()
    for question in LONG:
        asked = ask(watched, question)
        watched.page.evaluate("document.querySelector('#stop').click()")  # nothing where the answer has just ended
        watched.page.wait_for_timeout(300)
        if cuts(watched, asked):
            break
    cut_where_it_was_heard_to_end(watched, asked)
    assert watched.page.is_disabled("#stop")


def ask(watched: Watched, question: str) -> int:
    """Type a question, and wait for the first sound of the answer. Returns how many events were sent by then."""
    since = watched.page.evaluate("ear.now()")
    watched.page.fill("[name=text]", question)
    watched.page.press("[name=text]", "Enter")
    watched.wait(lambda: [at for at in loud(watched, "omni") if at > since])
    return len(watched.sent)


def began_since(watched: Watched, since: int) -> bool:
    return "input_audio_buffer.speech_started" in watched.kinds(watched.received[since:])


def cuts(watched: Watched, since: int) -> list[dict[str, Any]]:
    return [event for event in watched.sent[since:] if event["type"] == "conversation.item.truncate"]


def cut_where_it_was_heard_to_end(watched: Watched, since: int) -> tuple[float, float]:
    """Compare what the server was told with what was heard. Returns when the answer that was cut began and ended."""
    (cut,) = cuts(watched, since)
    watched.page.wait_for_timeout(1000)                                 # in which nothing more must be heard
    times = loud(watched, "omni")
    pauses = [after for before, after in itertools.pairwise(times) if after - before > 1000]
    began, ended = (pauses or times)[-1 if pauses else 0], times[-1]
    heard = [(at, peak) for at, peak in watched.page.evaluate("ear.omni") if began <= at <= ended]
    # An exact 0 is no answer but a gap, where the server had nothing to play.
    played = sum(after - at for (at, peak), (after, _) in itertools.pairwise(heard) if peak > 0)
    print(f"heard {played:.0f} ms, and the server was told of {cut['audio_end_ms']} ms")
    assert abs(cut["audio_end_ms"] + late(watched) - played) < 100
    assert not [event for event in watched.received if event["type"] == "error"]
    return began, ended


def latency(watched: Watched) -> float:
    """From the last sound of the microphone's file to the first of the loudspeaker, in ms."""
    first = loud(watched, "omni")[0]
    return first + late(watched) - max(at for at in loud(watched, "you") if at < first)


def late(watched: Watched) -> float:
    """Milliseconds that a sample is on its way from the page to the loudspeaker."""
    return float(watched.page.evaluate("ear.late()"))


def loud(watched: Watched, side: str) -> Sequence[float]:
    """When there was sound, in ms."""
    return [at for at, peak in watched.page.evaluate(f"ear.{side}") if peak > LOUD]
