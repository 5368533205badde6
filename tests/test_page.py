import base64
import io
import re
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from omni.page import Page, picture, sound, verdict


def test_text_is_escaped_and_media_come_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    wave = np.sin(np.arange(800) / 9).astype(np.float32)
    page = Page("A <report>")
    page.table(["name", "verdict"], [["<b>owl</b>", verdict("above chance", good=True)]])
    page.cards([[picture(pixels, 'an "owl"'), sound(wave, 16000), "caption & more"]])
    page.write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;owl&lt;/b&gt;" in text and "caption &amp; more" in text and "<b>owl" not in text
    png = base64.b64decode(re.findall(r"data:image/png;base64,([^\"]+)", text)[0])
    assert (np.asarray(Image.open(io.BytesIO(png))) == pixels).all()
    wav = base64.b64decode(re.findall(r"data:audio/wav;base64,([^\"]+)", text)[0])
    heard, rate = soundfile.read(io.BytesIO(wav))
    assert rate == 16000 and np.abs(heard - wave).max() < 1e-4
    assert not re.search(r"(src|href)=\"?http", text)
