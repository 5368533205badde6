"""Messages of user interfaces: marks, markup, placeholders and plural rules, on catalogues compiled by polib."""

from pathlib import Path

import polib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni.train.data.parse import catalogues
from omni.train.data.parse.base import Package
from omni.train.data.parse.messages import Marks, clean, placeholders, why_unusable

SLOVENIAN = "nplurals=4; plural=(n%100==1 ? 1 : n%100==2 ? 2 : n%100==3 || n%100==4 ? 3 : 0);"


@pytest.mark.parametrize(
    ("message", "marks", "text"),
    [
        ("&File", Marks.QT, "File"),
        ("Save &As…", Marks.QT, "Save As…"),
        ("Cut && Paste", Marks.QT, "Cut & Paste"),
        ("文件(&F)", Marks.QT, "文件"),
        ("R&amp;D &lt;1&gt;", Marks.QT, "R&D <1>"),
        ("Rev_ert", Marks.GTK, "Revert"),
        ("開く(_O)", Marks.GTK, "開く"),
        ("use my_long_name here", Marks.GTK, "use my_long_name here"),
        ("<b>%1</b> of <i>%2</i>\n files", Marks.QT, "%1 of %2 files"),
        ("a < b", Marks.QT, "a < b"),
    ],
)
def test_clean(message: str, marks: Marks, text: str) -> None:
    assert clean(message, marks) == text


@given(st.text(max_size=60), st.sampled_from(list(Marks)))
def test_cleaning_gives_one_trimmed_line(message: str, marks: Marks) -> None:
    text = clean(message, marks)
    assert text == " ".join(text.split())


@pytest.mark.parametrize("message", ["gimp_file_load", "<br/>", "%1 x %2", "a", "/usr/share/x", "x" * 201])
def test_what_is_no_message_is_left_out(message: str) -> None:
    assert why_unusable(message, clean(message, Marks.QT)) is not None


def test_placeholders_are_counted_as_often_as_they_stand_there() -> None:
    assert placeholders("%1 and %1 of %2, {name}: %s %5.2f") == sorted(["%1", "%1", "%2", "{name}", "%s", "%5.2f"])
    assert placeholders("100 % sure") == []


def compiled(folder: Path, language: str, plural: str, *entries: polib.POEntry) -> None:
    catalogue = polib.POFile()
    catalogue.metadata = {"Content-Type": "text/plain; charset=utf-8", "Plural-Forms": plural}
    catalogue.extend(entries)
    path = folder / "usr/share/locale" / language / "LC_MESSAGES" / "app.mo"
    path.parent.mkdir(parents=True)
    catalogue.save_as_mofile(str(path))


def test_languages_are_merged_by_message_and_plurals_follow_the_rule(tmp_path: Path) -> None:
    forms = {0: "%1 datotek", 1: "%1 datoteka", 2: "%1 datoteki", 3: "%1 datoteke"}
    compiled(
        tmp_path, "sl", SLOVENIAN,
        polib.POEntry(msgid="&Open file", msgstr="&Odpri datoteko"),
        polib.POEntry(msgid="%1 file", msgid_plural="%1 files", msgstr_plural=forms),
        polib.POEntry(msgid="Copy of %1", msgstr="Kopija"),
        polib.POEntry(msgid="Your names", msgctxt="NAME OF TRANSLATORS", msgstr="Janez Novak"),
    )  # fmt: skip
    compiled(
        tmp_path, "pt_BR", "nplurals=2; plural=(n > 1);",
        polib.POEntry(msgid="&Open file", msgstr="&Abrir arquivo"),
        polib.POEntry(msgid="Krita", msgstr="Krita"),
    )  # fmt: skip
    package = Package("krita-l10n", tmp_path, "GPL-2.0-or-later", "Krita")
    (outcome,) = catalogues.SOURCE.combine(catalogues.parse(job, 64) for job in catalogues.plan([package]))
    texts = {item.texts["en"]: item.texts for item in outcome.items}
    assert texts == {
        "Open file": {"en": "Open file", "sl": "Odpri datoteko", "pt-br": "Abrir arquivo"},
        "%1 file": {"en": "%1 file", "sl": "%1 datoteka"},
        "%1 files": {"en": "%1 files", "sl": "%1 datotek"},
    }
    assert outcome.dropped["translation with other placeholders than the message"] == 1
    assert outcome.dropped["translation equal to the English message"] == 1


def test_a_form_that_spells_the_number_out_gives_way_to_the_one_for_21() -> None:
    rule = catalogues.plural_rule(
        "nplurals=4; plural=n==1 ? 3 : n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 ? 1 : 2;"
    )
    assert rule
    entry = polib.POEntry(
        msgid="%1 image", msgid_plural="%1 images",
        msgstr_plural={0: "%1 зображення", 1: "%1 зображення", 2: "%1 зображень", 3: "одне зображення"},
    )  # fmt: skip
    assert list(catalogues.plural_pairs(entry, rule)) == [("%1 image", "%1 зображення"), ("%1 images", "%1 зображень")]


@pytest.mark.parametrize("header", ["", "nplurals=2; plural=import os", "nplurals=2; plural=n/0"])
def test_a_broken_plural_rule_is_none(header: str) -> None:
    assert catalogues.plural_rule(header) is None
