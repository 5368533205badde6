"""study.html: the claims of one study or of many, with protocols and plots."""

from collections.abc import Sequence
from pathlib import Path

from omni.page import Content, Page, plot, verdict
from omni.train.studies.harness.claims import COLUMNS, Claim
from omni.train.studies.harness.conduct import Conducted

NOTE = (
    "A claim is shown when the whole 95 % interval lies where it says, not shown when none of it does, else"
    " inconclusive. The protocol was written down before the first measurement."
)


def write_page(conducted: Sequence[Conducted], path: Path) -> None:
    """Write one page about these studies."""
    one = len(conducted) == 1
    page = Page(conducted[0].study.title if one else "Studies")
    page.paragraph(NOTE, small=True)
    if not one:
        rows = [[done.name, *_row(claim)] for done in conducted for claim in done.claims]
        page.table(("study", *COLUMNS), rows)
    for done in conducted:
        if not one:
            page.heading(f"{done.name}: {done.study.title}")
        page.paragraph(f"After {done.study.paper}. {done.spent}.")
        if done.mixed:
            page.paragraph(f"Between the cells this code changed: {', '.join(done.mixed)}.")
        for what, (count, among) in done.counts.items():
            page.paragraph(f"{what.capitalize()}: {count:,} of {among:,}.")
        page.table(COLUMNS, [_row(claim) for claim in done.claims])
        for title, (head, *body) in done.tables.items():
            page.paragraph(title)
            page.table(head, body)
        for title, file in done.plots.items():
            page.paragraph(title)
            page.paragraph(plot(file, title))
        page.paragraph("Protocol")
        for paragraph in done.study.protocol.strip().split("\n\n"):
            page.paragraph(paragraph, small=True)
    page.write(path)


def _row(claim: Claim) -> list[Content]:
    *cells, word = claim.row()
    return [*cells, word if word == "inconclusive" else verdict(word, word == "shown")]
