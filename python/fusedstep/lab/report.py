"""The report: one HTML file with everything in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ..measurement import machine
from ..measurement.table import Table
from .claim import Claim
from .page import Page, Picture

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 3rem; border-top: 1px solid #ccc; padding-top: 1.5rem }
figure { margin: 1.5rem 0 } img { max-width: 100% } figcaption, .note { color: #555 }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0 }
th, td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.8rem 0.2rem 0; text-align: right; vertical-align: top }
th:first-child, td:first-child, .words td, .words th { text-align: left }
.seen { color: #0072B2 } .not { color: #D55E00 } .seen, .not { font-weight: 600; white-space: nowrap }
summary { cursor: pointer }
"""


def report(pages: Sequence[Page], versions: Mapping[str, Any]) -> str:
    """All pages, the overview first."""
    parts = [
        "<h1>fusedstep: the lab's report</h1>",
        f"<p>{escape(machine.in_words(dict(versions)))}</p>",
        overview(pages),
        *map(section, pages),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>fusedstep: the lab</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def overview(pages: Sequence[Page]) -> str:
    rows = [
        f'<tr><td><a href="#{page.name}">{page.name}</a></td><td>{escape(page.summary)}</td>'
        f"<td>{sum(claim.seen for claim in page.claims)} of {len(page.claims)}</td></tr>"
        for page in pages
    ]
    head = "<tr><th>experiment</th><th>what it is about</th><th>effects seen</th></tr>"
    return f'<table class="words">{head}{"".join(rows)}</table>'


def section(page: Page) -> str:
    """The verdicts first, then the pictures and tables, then what the experiment was told."""
    summary = page.summary[0].upper() + page.summary[1:]
    settings = Table("Settings", ["name", "value"], [[name, repr(v)] for name, v in page.settings.as_data().items()])
    parts = [
        f'<h2 id="{page.name}">{page.name}</h2>',
        f"<p>{escape(summary)}.</p>",
        *(f'<p class="note">{escape(note)}</p>' for note in page.notes),
        verdicts(page.claims),
        *map(illustration, page.pictures),
        *map(grid, page.tables),
        f"<details><summary>Settings</summary>{grid(settings)}</details>",
    ]
    return "\n".join(parts)


def verdicts(claims: Sequence[Claim]) -> str:
    rows = [
        f'<tr><td class="{"seen" if claim.seen else "not"}">{claim.verdict}</td>'
        f'<td>{escape(claim.text)}<br><span class="note">{escape(claim.evidence())}</span></td></tr>'
        for claim in claims
    ]
    return f'<table class="words"><tr><th></th><th>expected effect, and its numbers</th></tr>{"".join(rows)}</table>'


def illustration(picture: Picture) -> str:
    caption = escape(picture.caption)
    return f'<figure><img src="{picture.uri()}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def grid(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows]
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    return f"<table><caption>{escape(table.title)}</caption><tr>{head}</tr>{''.join(rows)}</table>{notes}"
