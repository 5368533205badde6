"""Self-contained HTML pages: tables, plots, pictures and sounds in one file that opens anywhere."""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from omni.files import write_text

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --good: #1a7f4b; --bad: #b3541e; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; } h2 { margin-top: 2.6rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; margin: 1rem 0; display: block;
  overflow-x: auto; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.text { white-space: normal; min-width: 11rem; } tr:hover { background: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-radius: .6rem; padding: .8rem; overflow-wrap: anywhere; }
.card img { image-rendering: auto; width: 6.5rem; height: 6.5rem; border-radius: .3rem; background: #fff;
  margin-right: .4rem; }
.card audio { width: 100%; height: 2.2rem; } .plot { max-width: 100%; }
.small { font-size: .85rem; opacity: .75; } .good { color: var(--good); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; } dt { opacity: .7; } dd { margin: 0; }
"""
LONG = 32                                                               # letters of a cell, from which its lines break


@dataclass(frozen=True)
class Markup:
    """Text that is HTML already; everything else is escaped."""

    text: str


Content = str | Markup


def render(content: Content) -> str:
    return content.text if isinstance(content, Markup) else html.escape(content)


def verdict(text: str, good: bool) -> Markup:
    """A word in the colour of success or shortfall."""
    return Markup(f'<span class="{"good" if good else "bad"}">{html.escape(text)}</span>')


def picture(pixels: np.ndarray, label: str) -> Markup:
    """An image [height, width, 3] uint8."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    name = html.escape(label)
    return Markup(f'<img alt="{name}" title="{name}" src="{_data("image/png", file.getvalue())}">')


def sound(wave: np.ndarray, sample_rate: int) -> Markup:
    """A player for a mono wave [samples] in -1..1."""
    file = io.BytesIO()
    soundfile.write(file, wave.clip(-1, 1), sample_rate, format="WAV", subtype="PCM_16")
    return Markup(f'<audio controls preload="none" src="{_data("audio/wav", file.getvalue())}"></audio>')


def plot(path: Path, label: str) -> Markup:
    """A PNG file."""
    return Markup(f'<img class="plot" alt="{html.escape(label)}" src="{_data("image/png", path.read_bytes())}">')


def _cell(content: Content) -> str:
    written = render(content)
    text = " class=text" if len(html.unescape(re.sub(r"<[^>]*>", "", written))) > LONG else ""
    return f"<td{text}>{written}</td>"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@dataclass
class Page:
    """A page that is written section by section."""

    title: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, content: Content, small: bool = False) -> None:
        self.parts.append(f"<p{' class=small' if small else ''}>{render(content)}</p>")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[Content]]) -> None:
        titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
        body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
        self.parts.append(f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>")

    def facts(self, pairs: Iterable[tuple[str, Content]]) -> None:
        rows = "".join(f"<dt>{html.escape(name)}</dt><dd>{render(value)}</dd>" for name, value in pairs)
        self.parts.append(f"<dl>{rows}</dl>")

    def cards(self, cards: Iterable[Sequence[Content]]) -> None:
        """Boxes side by side; each is a list of lines."""
        boxes = "".join(
            '<div class="card">' + "".join(f"<div>{render(line)}</div>" for line in card) + "</div>" for card in cards
        )
        self.parts.append(f'<div class="cards">{boxes}</div>')

    def write(self, path: Path) -> None:
        """Write the page atomically."""
        title = html.escape(self.title)
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        head += f"<title>{title}</title><style>{STYLE}</style>"
        body = f"<h1>{title}</h1>" + "\n".join(self.parts)
        write_text(path, f"<!doctype html><html lang=en><head>{head}</head><body>{body}</body></html>\n")
