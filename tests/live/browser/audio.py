"""The page's sound, sample by sample, in the browser that runs it."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Playwright
from scipy.signal import chirp

from omni.live.hearing.pcm import Resampler, to_base64

from .conftest import Server, Watched, chromium


@pytest.fixture(scope="module")
def page(server: Server, playwright: Playwright) -> Iterator[Any]:
    with chromium(playwright, None) as browser:
        page = browser.new_page()
        page.goto(server.address)
        yield page


@pytest.mark.parametrize(("rate", "wanted"), [(48_000, 24_000), (44_100, 24_000), (24_000, 48_000), (24_000, 44_100)])
def test_resampling_keeps_the_sound_however_it_is_cut(page: Any, rate: int, wanted: int) -> None:
    """Against the server's resampler, and against the sound itself at the other rate."""
    seconds = 0.25
    wave = chirp(np.arange(int(seconds * rate)) / rate, 100, seconds, 9_000).astype(np.float32)
    made = np.array(page.evaluate("""async ([wave, rate, wanted]) => {
        const { Resampler } = await import("/page/audio/resampler.js");
        const resampler = new Resampler(rate, wanted), out = [];
        for (let at = 0, size = 1; at < wave.length; at += size, size = (size * 7) % 997 + 1)
            out.push(...resampler.push(Float32Array.from(wave.slice(at, at + size))));
        return [...out, ...resampler.finish()]; }""", [wave.tolist(), rate, wanted]))
    ours = Resampler(rate, wanted)
    expected = np.concatenate((ours(wave), ours.finish()))
    assert len(made) == len(expected) and np.abs(made - expected).max() < 1e-5
    ideal = chirp(np.arange(len(made)) / wanted, 100, seconds, 9_000)
    inside = slice(50, len(made) - 50)
    assert np.abs(made - ideal)[inside].max() < 0.02


def test_samples_survive_the_way_over_the_wire(page: Any) -> None:
    wave = np.random.default_rng(0).uniform(-1, 1, 4000).astype(np.float32)
    text = to_base64(wave, "audio/pcm")
    back, again = page.evaluate("""async text => {
        const { fromBase64, toBase64 } = await import("/page/audio/pcm.js");
        const wave = fromBase64(text);
        return [[...wave], toBase64(Int16Array.from(wave, (x) => x * 32768).buffer)]; }""", text)
    assert np.abs(np.array(back) - wave).max() <= 1 / 32768
    assert again == text and len(base64.b64decode(text)) == 8000


def test_playback_loses_nothing_waits_after_a_gap_and_tells_what_was_heard(
    server: Server, visit: Callable[..., Watched]
) -> None:
    """The worklet itself in an offline context, so that every sample and time is known."""
    watched = visit(server.address)
    tone = (0.5 * np.sin(np.arange(24_000) * 2 * np.pi * 440 / 24_000)).astype(np.float32)
    out, told = watched.page.evaluate("""async (wave) => {
        const context = new OfflineAudioContext(1, 3 * 24000, 24000), told = [];
        await context.audioWorklet.addModule("/page/audio/playback.js");
        const node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
        node.port.onmessage = ({ data }) => data.kind !== "level" && told.push(data);
        node.connect(context.destination);
        const give = (item, from, to) =>
            node.port.postMessage({ do: "play", item, samples: Float32Array.from(wave.slice(from, to)) });
        const at = (time, then) => context.suspend(time).then(async () => {
            then(); await new Promise((done) => setTimeout(done, 50)); context.resume(); });
        at(0.128, () => give("a", 0, 6000));                     // 0.25 s of a second that starts at once
        at(0.64, () => give("a", 6000, 6480));                   // after the gap: 20 ms are too little to go on,
        at(0.768, () => give("a", 6480, 12000));                 // 250 ms are enough
        at(1.28, () => { node.port.postMessage({ do: "end", item: "a" }); give("b", 0, 24000); });
        at(2.048, () => node.port.postMessage({ do: "stop" }));
        const made = await context.startRendering();
        await new Promise((done) => setTimeout(done, 100));
        return [[...made.getChannelData(0)], told]; }""", tone.tolist())
    wave = np.array(out)
    starts = [3072, 18432, 30720]                                       # samples, each a whole number of blocks of 128
    for start, piece in zip(starts, (tone[:6000], tone[6000:12000], tone[:18432]), strict=True):
        assert np.abs(wave[start : start + len(piece)] - piece).max() < 1e-6
    assert np.abs(wave[9072:18432]).max() == np.abs(wave[24432:30720]).max() == np.abs(wave[49152:]).max() == 0
    kinds = [each["kind"] for each in told]
    assert kinds == ["audible", "over", "audible", "stopped"]
    assert told[0]["at"] == pytest.approx(starts[0] / 24_000, abs=0.001)
    assert told[1]["item"] == "a" and told[1]["seconds"] == pytest.approx(0.5)
    assert told[2]["at"] == pytest.approx(starts[2] / 24_000, abs=0.001)
    assert told[3]["item"] == "b" and told[3]["seconds"] == pytest.approx(18432 / 24_000)
