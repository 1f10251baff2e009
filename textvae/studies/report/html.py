"""Pieces of HTML: every text is escaped, every picture embedded, nothing is fetched."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

__all__ = ["cell", "chip", "details", "document", "figure", "grouped", "listed", "section", "sentence", "table"]

STYLE = Path(__file__).with_name("page.css")
CHIPS = {
    "alive": ("alive", "●"),
    "partly": ("partly", "◐"),
    "collapsed": ("collapsed", "○"),
    "undecided": ("partly", "?"),
    "failed": ("collapsed", "✕"),
}
"""CSS class and sign for a word; the signs are distinguishable without colour."""


def document(title: str, *body: str) -> str:
    """A complete page."""
    head = (
        f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{escape(title)}</title>"
    )
    style = f"<style>{STYLE.read_text('utf-8')}</style>"
    return f"<!doctype html><html lang='en'><head>{head}{style}</head><body>{''.join(body)}</body></html>\n"


def section(title: str, *body: str, level: int = 2, note: str = "") -> str:
    """A heading, a note and the body; empty if the body is."""
    inside = "".join(body)
    said = f"<p class='note'>{escape(note)}</p>" if note else ""
    return f"<section><h{level}>{escape(title)}</h{level}>{said}{inside}</section>" if inside else ""


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A table from cells in HTML; the first `texts` columns are left-aligned, the others right-aligned."""
    return grouped(headings, [("", rows)], texts)


def grouped(headings: Sequence[str], groups: Iterable[tuple[str, Iterable[Sequence[str]]]], texts: int = 1) -> str:
    """A table whose rows come in groups, each under its title if it has one."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    bodies = "".join(f"<tbody>{_group(title, rows, len(headings))}</tbody>" for title, rows in groups)
    return f"<div class='wide'><table class='texts-{texts}'><thead><tr>{head}</tr></thead>{bodies}</table></div>"


def _group(title: str, rows: Iterable[Sequence[str]], width: int) -> str:
    above = f"<tr class='group'><th colspan='{width}'>{escape(title)}</th></tr>" if title else ""
    return above + "".join(f"<tr>{''.join(f'<td>{inside}</td>' for inside in row)}</tr>" for row in rows)


def cell(value: str, *notes: str) -> str:
    """A value, and smaller notes under it."""
    small = "".join(f"<small>{escape(note)}</small>" for note in notes if note)
    return f"{escape(value)}{small}"


def chip(word: str, count: int = 1) -> str:
    """A verdict or state with its sign, and its count."""
    kind, sign = CHIPS.get(word, ("plain", ""))
    times = f" × {count}" if count > 1 else ""
    return f"<span class='chip {kind}'>{sign} {escape(word)}{times}</span>"


def listed(title: str, lines: Sequence[str]) -> str:
    """Sentences under a small heading; empty if there are none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h5>{escape(title)}</h5><ol>{items}</ol>" if lines else ""


def details(title: str, inside: str) -> str:
    """A collapsible section; empty if `inside` is."""
    return f"<details><summary>{escape(title)}</summary>{inside}</details>" if inside else ""


def sentence(text: str) -> str:
    """Text of a cell that may wrap."""
    return f"<div class='sentence'>{escape(text)}</div>"


def figure(png: bytes, caption: str) -> str:
    source = base64.b64encode(png).decode()
    said = escape(caption, quote=True)
    return (
        f"<figure><img alt='{said}' src='data:image/png;base64,{source}'><figcaption>{said}</figcaption></figure>"
    )
