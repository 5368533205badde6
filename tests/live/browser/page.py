"""What else the page can do: come back, show pictures, be used by keyboard alone, ask for a key; and how it looks."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from .conftest import SHOTS, Server, Watched

QUESTION = "What is in this picture?"


def answered(watched: Watched, since: int = 0) -> None:
    watched.wait(lambda: "response.done" in watched.kinds(watched.received[since:]))


def ask(watched: Watched, text: str) -> None:
    since = len(watched.received)
    watched.page.fill("[name=text]", text)
    watched.page.press("[name=text]", "Enter")
    answered(watched, since)


def choose(watched: Watched, name: str, content: bytes) -> None:
    file = {"name": name, "mimeType": "image/png", "buffer": content}
    watched.page.set_input_files("#write input[type=file]", file)  # type: ignore[arg-type]


def owl() -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (1600, 900), (200, 30, 30, 120)).save(file, "PNG")
    return file.getvalue()


def pictures(watched: Watched) -> list[Image.Image]:
    """Those that were sent."""
    items = [event["item"] for event in watched.sent if event["type"] == "conversation.item.create"]
    urls = [part["image_url"] for item in items for part in item["content"] if part["type"] == "input_image"]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


def test_a_lost_connection_comes_back(serve: Callable[..., Server], visit: Callable[..., Watched]) -> None:
    server = serve()
    watched = visit(server.address)
    watched.connected()
    ask(watched, "Hello")
    server.stop()
    watched.page.wait_for_selector("#connection[data-state=waiting]")
    assert "Trying again" in watched.page.inner_text("#notice")
    watched.page.fill("[name=text]", "Are you there?")
    watched.page.press("[name=text]", "Enter")                          # it is not lost: it waits in its field
    assert watched.page.input_value("[name=text]") == "Are you there?"
    watched.received.clear()
    server.start()
    watched.connected()
    assert watched.page.is_hidden("#notice")
    assert "forgotten" in watched.page.inner_text(".rule")
    watched.page.press("[name=text]", "Enter")
    answered(watched)
    watched.wrong[:] = [each for each in watched.wrong if "ERR_CONNECTION_REFUSED" not in each]  # Chromium's words


def test_pictures_are_chosen_dropped_pasted_and_taken(server: Server, visit: Callable[..., Watched]) -> None:
    watched = visit(server.address)
    watched.connected()
    page = watched.page
    choose(watched, "owl.png", owl())
    given = "Uint8Array.from(atob(data), c => c.charCodeAt(0))"
    for kind, key in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        made = "ClipboardEvent" if kind == "paste" else "DragEvent"
        script = f"""data => {{ const files = new DataTransfer();
            files.items.add(new File([{given}], "owl.png", {{ type: "image/png" }}));
            document.dispatchEvent(new {made}("{kind}", {{ {key}: files, bubbles: true, cancelable: true }})) }}"""
        page.evaluate(script, base64.b64encode(owl()).decode())
    page.click("#camera")
    watched.wait(lambda: page.evaluate("document.querySelector('#frame video').videoWidth > 0"))
    page.click("#frame [name=take]")
    sent = watched.wait(lambda: pictures(watched) if len(pictures(watched)) == 4 else None)
    assert [image.size for image in sent[:3]] == [(512, 288)] * 3 and max(sent[3].size) <= 512
    red, green, blue = sent[0].convert("RGB").getpixel((100, 100))
    assert abs(red - 229) < 4 and abs(green - 149) < 4 and abs(blue - 149) < 4  # over white, not over black
    watched.wait(lambda: watched.kinds(watched.received).count("conversation.item.done") == 4)
    ask(watched, QUESTION)
    page.locator(".remove").first.click()
    watched.wait(lambda: "conversation.item.deleted" in watched.kinds(watched.received))
    assert page.locator(".user img").count() == 3
    choose(watched, "no.png", b"no picture")
    page.wait_for_selector("#notice:has-text('no.png is no picture')")


def test_the_keyboard_is_enough(
    server: Server, visit: Callable[..., Watched], microphone: Callable[..., Path]
) -> None:
    watched = visit(server.address, microphone("What is this?", "What is this?", 5.0))
    watched.connected()
    page = watched.page
    names = tab_order(watched)
    order = [names.index(name) for name in ("Dark", "Conversation", "Message", "Eagerness to answer")]
    assert order == sorted(order)
    focus(watched, "Hands-free")
    page.keyboard.press("ArrowRight")                                   # Hold to talk
    watched.wait(lambda: watched.sent[-1]["session"]["audio"]["input"]["turn_detection"] is None)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.down("Space")
    watched.wait(lambda: watched.kinds(watched.sent).count("input_audio_buffer.append") > 60)
    page.keyboard.up("Space")
    answered(watched)
    watched.wait(lambda: page.query_selector(".assistant .time"))
    assert "input_audio_buffer.commit" in watched.kinds(watched.sent)
    since = len(watched.received)
    focus(watched, "Message")
    page.keyboard.type("hello there, and a space")                      # which must not open the microphone
    page.keyboard.press("Enter")
    answered(watched, since)
    page.keyboard.press("Escape")
    watched.wait(lambda: page.is_disabled("#stop"))
    assert not [event for event in watched.received if event["type"] == "error"]


def test_a_voice_that_was_heard_begins_a_new_conversation(server: Server, visit: Callable[..., Watched]) -> None:
    watched = visit(server.address)
    watched.connected()
    ask(watched, "Hello")
    since = len(watched.received)
    watched.page.select_option("[name=voice]", "lena")
    watched.wait(lambda: "session.created" in watched.kinds(watched.received[since:]))
    updated = watched.wait(lambda: [each for each in watched.received[since:] if each["type"] == "session.updated"])
    assert updated[0]["session"]["audio"]["output"]["voice"] == "lena"
    watched.page.select_option("[name=turns]", "server_vad")
    watched.page.fill("[name=silence]", "600")
    watched.page.dispatch_event("[name=silence]", "change")
    watched.wait(lambda: '"silence_duration_ms": 600' in json.dumps(watched.received[-1]))
    watched.page.reload()
    watched.connected()
    assert watched.page.input_value("[name=voice]") == "lena" and watched.page.input_value("[name=silence]") == "600"


def test_a_key_is_asked_for(serve: Callable[..., Server], visit: Callable[..., Watched]) -> None:
    watched = visit(serve("--key", "sesame").address)
    watched.page.wait_for_selector("#notice form")
    watched.page.keyboard.type("salt")                                  # the field has the focus
    watched.page.keyboard.press("Enter")
    watched.page.wait_for_selector("#notice:has-text('not known here')")
    watched.page.fill("[name=key]", "sesame")
    watched.page.keyboard.press("Enter")
    watched.connected()
    assert watched.page.is_hidden("#notice")


@pytest.mark.parametrize("width,height", [(360, 740), (1280, 800)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(
    server: Server, visit: Callable[..., Watched], microphone: Callable[..., Path], width: int, height: int, scheme: str
) -> None:
    """Screenshots for a person to look at; no line overflows, and every text has the contrast of WCAG 2 AA."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    size, sound = {"width": width, "height": height}, microphone(0.5, "What is in this picture?", 8.0)
    watched = visit(server.address, sound, viewport=size, color_scheme=scheme)
    page, name = watched.page, f"{width}-{scheme}"
    watched.connected()
    page.screenshot(path=SHOTS / f"{name}-welcome.png")
    page.set_input_files("#write input[type=file]", "docs/images/owl.svg")
    watched.wait(lambda: "conversation.item.done" in watched.kinds(watched.received))
    page.click("#speak")
    answered(watched)
    watched.wait(lambda: page.query_selector(".assistant .time"))
    page.screenshot(path=SHOTS / f"{name}-talk.png")
    ask(watched, "And what colour is it? Answer with a whole sentence, please.")
    page.screenshot(path=SHOTS / f"{name}-typed.png")
    if width < 900:
        page.click("#more")
    page.screenshot(path=SHOTS / f"{name}-settings.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == scheme
    assert poor_contrast(watched) == []


def tab_order(watched: Watched) -> list[str]:
    """The names of what the Tab key reaches."""
    page = watched.page
    page.evaluate("document.activeElement.blur()")
    names: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name = focused(watched)
        if name in names:
            break
        names.append(name)
    assert all(names), names
    return names


def focus(watched: Watched, name: str) -> None:
    """Go there with the Tab key alone."""
    for _ in range(40):
        watched.page.keyboard.press("Tab")
        if focused(watched) == name:
            return
    raise AssertionError(f"the Tab key does not reach {name}")


def focused(watched: Watched) -> str:
    return str(watched.page.evaluate(
        "(e => e.getAttribute('aria-label') ?? e.labels?.[0]?.firstChild?.textContent.trim() "
        "?? e.innerText.trim())(document.activeElement)"
    ) or watched.page.evaluate("document.activeElement.labels?.[0]?.innerText.trim() ?? ''"))  # fmt: skip


def poor_contrast(watched: Watched) -> list[str]:
    """Texts that stand out from their ground by less than 4.5, as WCAG 2 computes it."""
    found = watched.page.evaluate((Path(__file__).parent / "texts.js").read_text())
    return [text for text, ink, ground in found if contrast(ink, ground) < 4.5]


def contrast(ink: list[int], ground: list[int]) -> float:
    def luminance(colour: list[int]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in colour[:3])]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(ink), luminance(ground)))
    return (high + 0.05) / (low + 0.05)
