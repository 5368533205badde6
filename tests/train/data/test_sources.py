"""Each parser on a small package of real files made here: pictures, sounds, a bitmap font, XML."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib import TTFont, newTable
from fontTools.ttLib.tables._g_l_y_f import Glyph
from fontTools.ttLib.tables.BitmapGlyphMetrics import SmallGlyphMetrics
from fontTools.ttLib.tables.C_B_D_T_ import cbdt_bitmap_format_17
from fontTools.ttLib.tables.E_B_L_C_ import SbitLineMetrics, Strike, eblc_index_sub_table_1
from PIL import Image

from omni.train.data.parse import clipart, emoji, prompts, stamps, words
from omni.train.data.parse.base import Outcome, Package, Source, language_code

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10">{}<circle cx="5" cy="5" r="4" fill="blue"/></svg>'


def write_sound(path: Path, frequency: float, seconds: float = 0.4, rate: int = 8000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate), rate)


def write_picture(path: Path, colour: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20), colour).save(path)


def parse(source: Source, *packages: Package) -> Outcome:
    whole = Outcome()
    for outcome in source.combine(source.parse(job, 16) for job in source.plan(list(packages))):
        whole.items += outcome.items
        whole.dropped += outcome.dropped
    return whole


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("pt_BR", "pt-br"),
        ("ca@valencia", "ca-valencia"),
        ("sr@latin", "sr-latn"),
        ("no", "nb"),
        ("zh_Hant", "zh-tw"),
        ("en", "en"),
    ],
)
def test_language_codes_have_one_spelling(name: str, code: str) -> None:
    assert language_code(name) == code


def test_a_stamp_has_picture_captions_speech_and_sound(tmp_path: Path) -> None:
    root = tmp_path / stamps.STAMPS / "animals"
    write_picture(root / "owl.png", "brown")
    write_picture(root / "owl_mirror.png", "brown")
    (root / "owl.txt").write_text(
        "An owl.\nfr.utf8=Un  hibou.\nde.utf8=An owl.\nen_GB.utf8=An owl.\npt_BR.utf8=Coruja\n"
    )
    write_sound(root / "owl_desc.ogg", 300)
    write_sound(root / "owl_desc_pt_BR.wav", 350)
    write_sound(root / "owl.ogg", 400, seconds=13)
    outcome = parse(stamps.SOURCE, Package("stamps", tmp_path, "GPL-2.0-only", "Tux Paint"))
    (item,) = outcome.items
    assert item.id == "stamps/animals/owl"
    assert item.texts == {"en": "An owl.", "fr": "Un hibou.", "en-gb": "An owl.", "pt-br": "Coruja"}
    assert [(clip.language, clip.kind, clip.speaker) for clip in item.clips] == [
        ("en", "speech", "stamps/en"),
        ("pt-br", "speech", "stamps/pt-br"),
    ]
    assert item.pictures[0].shape == (16, 16, 3)
    assert sum(outcome.dropped.values()) == 2  # the mirror image, the long sound


def test_a_recording_that_is_too_short_for_its_caption_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / stamps.STAMPS
    write_picture(root / "rook.png", "black")
    (root / "rook.txt").write_text("A rook, which moves along rows.\nca.utf8=Una torre, que es mou per files.\n")
    write_sound(root / "rook_desc.ogg", 300, seconds=2)
    write_sound(root / "rook_desc_ca.ogg", 300, seconds=1)
    write_sound(root / "rook.ogg", 400, seconds=0.3)
    outcome = parse(stamps.SOURCE, Package("stamps", tmp_path, "", ""))
    assert [clip.language for clip in outcome.items[0].clips] == ["en", None]
    assert outcome.dropped == {"recording too short for its caption": 1}


def test_a_stamp_whose_drawing_is_broken_falls_back_on_its_bitmap(tmp_path: Path) -> None:
    root = tmp_path / stamps.STAMPS
    write_picture(root / "a.png", "green")
    (root / "a.svg").write_text("<svg")
    (root / "a.txt").write_text("A leaf.\n")
    (item,) = parse(stamps.SOURCE, Package("stamps", tmp_path, "", "")).items
    assert len(item.pictures) == 1


def test_a_prompt_has_takes_in_all_languages_and_the_transcripts_its_name_tells(tmp_path: Path) -> None:
    packages = []
    for index, voice in enumerate(("en_US_f_Allison", "ru_RU_f_IvrvoiceRU")):
        folder = tmp_path / voice / prompts.SOUNDS / voice
        write_sound(folder / "digits/7.wav", 300 + index)
        write_sound(folder / "vm-next.wav", 400 + index)
        write_sound(folder / "beep.wav", 1000)
        packages.append(Package(voice, tmp_path / voice, "CC-BY-3.0" if index else "CC-BY-SA-3.0", voice))
    items = {item.id: item for item in parse(prompts.SOURCE, *packages).items}
    assert items["prompts/digits/7"].texts == {"en": "seven", "ru": "семь"}
    assert items["prompts/digits/7"].licence == "CC-BY-3.0 AND CC-BY-SA-3.0"
    assert [clip.speaker for clip in items["prompts/vm-next"].clips] == ["prompts/allison", "prompts/ivrvoiceru"]
    assert items["prompts/vm-next"].texts == {}
    assert [(clip.kind, clip.language) for clip in items["prompts/beep"].clips] == [("effect", None)]


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("digits/28", {"es": "veintiocho", "it": "ventotto"}),
        ("digits/91", {"it": "novantuno"}),
        ("digits/90", {"en": "ninety", "es": "noventa", "fr": "quatre-vingt-dix", "it": "novanta", "ru": "девяносто"}),
        ("digits/500", {"es": "quinientos"}),
        ("digits/day-0", {"en": "Sunday", "es": "domingo", "fr": "dimanche", "it": "domenica", "ru": "воскресенье"}),
        ("digits/mon-11", {"en": "December", "es": "diciembre", "fr": "décembre", "it": "dicembre"}),
        ("digits/h-3", {"en": "third"}),
        ("letters/z", {"en": "Z", "es": "Z", "fr": "Z", "it": "Z"}),
        ("phonetic/z_p", {"en": "zulu"}),
    ],
)
def test_the_table_of_prompts(prompt: str, texts: dict[str, str]) -> None:
    assert prompts.TEXTS[prompt] == texts


def test_a_word_is_merged_over_the_sound_themes(tmp_path: Path) -> None:
    root = tmp_path / words.SOUNDS
    for language, frequency in (("en", 300), ("sr@latin", 350)):
        write_sound(root / language / "camel.wav", frequency)
        sounds = (
            f'<sound name="egypt_camel" file="{language}/camel.wav"/><sound name="egypt_man" file="{language}/no.wav"/>'
        )
        (root / f"{language}.soundtheme").write_text(f'<language code="{language}">{sounds}</language>')
    outcome = parse(words.SOURCE, Package("words", tmp_path, "GPL-2.0-or-later", "KTuberling"))
    (item,) = outcome.items
    assert (item.id, item.texts) == ("words/egypt_camel", {"en": "camel"})
    assert [clip.language for clip in item.clips] == ["en", "sr-latn"]
    assert outcome.dropped["recording named but not in the package"] == 2


def test_clip_art_says_what_it_shows_and_who_drew_it(tmp_path: Path) -> None:
    root = tmp_path / clipart.DRAWINGS / "food"
    root.mkdir(parents=True)
    about = (
        '<metadata><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        'xmlns:cc="http://web.resource.org/cc/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><cc:Work><dc:title>pink_cake 02</dc:title><dc:subject><rdf:Bag>'
        "<rdf:li>food</rdf:li><rdf:li>Ren&amp;Atilde;&amp;copy;</rdf:li><rdf:li>0xa131b28</rdf:li><rdf:li/></rdf:Bag>"
        "</dc:subject><dc:creator><cc:Agent><dc:title>Ren&amp;Atilde;&amp;copy;</dc:title></cc:Agent></dc:creator></cc:Work></rdf:RDF></metadata>"
    )
    (root / "cake.svg").write_text(SVG.format(about))
    (root / "untitled.svg").write_text(SVG.format(""))
    (root / "broken.svg").write_text("<svg")
    outcome = parse(clipart.SOURCE, Package("clipart", tmp_path, "CC-PDDC", "Open Clip Art Library"))
    (item,) = outcome.items
    assert (item.id, item.texts, item.keywords) == ("clipart/food/cake", {"en": "pink cake"}, {"en": ["food"]})
    assert item.attribution == "René; Open Clip Art Library"
    assert sum(outcome.dropped.values()) == 2


def test_a_title_that_very_many_drawings_have_is_that_of_a_collection(tmp_path: Path) -> None:
    about = SVG.format(
        '<metadata><cc:Work xmlns:cc="http://creativecommons.org/ns#"><dc:title xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "Fine Theme</dc:title></cc:Work></metadata>"
    )
    root = tmp_path / clipart.DRAWINGS
    root.mkdir(parents=True)
    for index in range(61):
        (root / f"{index}.svg").write_text(about)
    outcome = parse(clipart.SOURCE, Package("clipart", tmp_path, "", ""))
    assert not outcome.items and sum(outcome.dropped.values()) == 61


def bitmap_font(path: Path) -> None:
    """A font with two colour bitmaps: red for 🦉, blue for the sequence 🏳 ZWJ 🦉."""
    names = [".notdef", "owl", "flag", "joiner", "owlflag"]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({0x1F989: "owl", 0x1F3F3: "flag", 0x200D: "joiner"})
    builder.setupGlyf({name: Glyph() for name in names})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader()
    builder.setupPost()
    builder.addOpenTypeFeatures("feature ccmp { sub flag joiner owl by owlflag; } ccmp;")
    font = builder.font
    strike = {}
    for name, colour in (("owl", "red"), ("owlflag", "blue")):
        png = io.BytesIO()
        Image.new("RGBA", (12, 12), colour).save(png, format="PNG")
        glyph = cbdt_bitmap_format_17(b"", font)
        glyph.metrics = SmallGlyphMetrics()
        for field in ("height", "width", "BearingX", "BearingY", "Advance"):
            setattr(glyph.metrics, field, 12)
        glyph.imageData = png.getvalue()
        strike[name] = glyph
    font["CBDT"] = newTable("CBDT")
    font["CBDT"].version, font["CBDT"].strikeData = 3.0, [strike]
    font["CBLC"] = newTable("CBLC")
    font["CBLC"].version, font["CBLC"].strikes = 3.0, [_strike(font, list(strike))]
    path.parent.mkdir(parents=True)
    font.save(path)


def _strike(font: TTFont, names: list[str]) -> Strike:
    """The index of one size of bitmaps; all measures that nobody reads are 0."""
    strike = Strike()
    size = strike.bitmapSizeTable
    size.hori, size.vert = SbitLineMetrics(), SbitLineMetrics()
    measures = "ascender descender widthMax caretSlopeNumerator caretSlopeDenominator caretOffset minOriginSB "
    measures += "minAdvanceSB maxBeforeBL minAfterBL pad1 pad2"
    for metrics in (size.hori, size.vert):
        vars(metrics).update(dict.fromkeys(measures.split(), 0))
    vars(size).update(colorRef=0, flags=0, ppemX=12, ppemY=12, bitDepth=32, startGlyphIndex=0, endGlyphIndex=0)
    table = eblc_index_sub_table_1(b"", font)
    table.names, table.indexFormat, table.imageFormat = names, 1, 17
    strike.indexSubTables = [table]
    return strike


def test_an_emoji_is_named_in_every_language_and_shown_as_in_the_font(tmp_path: Path) -> None:
    bitmap_font(tmp_path / "font" / emoji.FONT)
    folder = tmp_path / "cldr" / emoji.ANNOTATIONS
    rows = {
        "annotations/en": ("owl", "bird | owl | wise"),
        "annotations/pt": ("coruja", "ave"),
        "annotations/es_MX": ("↑↑↑", "↑↑↑"),
    }
    for name, (title, keywords) in rows.items():
        path = folder / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'<ldml><annotations><annotation cp="🦉">{keywords}</annotation>'
            f'<annotation cp="🦉" type="tts">{title}</annotation>'
            f'<annotation cp="{{" type="tts">brace</annotation></annotations></ldml>'
        )
    (folder / "annotationsDerived").mkdir()
    (folder / "annotationsDerived/en.xml").write_text(
        '<ldml><annotations><annotation cp="🏳️‍🦉" type="tts">owl flag</annotation>'
        '<annotation cp="👋🏽" type="tts">waving hand: medium skin tone</annotation></annotations></ldml>'
    )
    packages = [
        Package("font", tmp_path / "font", "OFL-1.1", "Noto"),
        Package("cldr", tmp_path / "cldr", "Unicode", "CLDR"),
    ]
    outcome = parse(emoji.SOURCE, *packages)
    items = {item.id: item for item in outcome.items}
    assert sorted(items) == ["emoji/1f3f3-200d-1f989", "emoji/1f989"]
    owl = items["emoji/1f989"]
    assert owl.texts == {"en": "owl", "pt-br": "coruja"}
    assert owl.keywords == {"en": ["bird", "wise"], "pt-br": ["ave"]}
    assert outcome.dropped == {"sign with a name but without a bitmap in the font": 1}


def test_a_man_and_a_woman_doing_one_thing_share_a_motif() -> None:
    assert emoji.motif("🚶‍♀") == emoji.motif("🚶‍♂") == emoji.motif("🚶")
    assert emoji.motif("👩‍🚒") == emoji.motif("👨‍🚒") != emoji.motif("👩‍🚀")
    assert emoji.motif("👩") == "👩"
