"""HTML for notebooks: small tables, with every text escaped and no JavaScript.

Classes call it in ``_repr_html_``. Paths, labels and messages come from files, so that
none of them may act as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_CELL = "padding:0.15em 0.8em 0.15em 0;text-align:left;vertical-align:top;"
_HEAD = f"{_CELL}font-weight:normal;opacity:0.7;white-space:pre;"
_TEXT = f"{_CELL}white-space:pre-wrap;overflow-wrap:anywhere;"


def table(title: str, rows: Iterable[tuple[str, str]], notes: Sequence[str] = ()) -> str:
    """Return a table of names and values as HTML.

    Parameters
    ----------
    title
        First line, in bold.
    rows
        Name and value of each row.
    notes
        Sentences below the table.

    Returns
    -------
    str
        One ``div`` element. Styles are inline, and colors are those of the page.

    Examples
    --------
    >>> html = table("Store", [("path", "<script> & b.zarr")])
    >>> "&lt;script&gt; &amp; b.zarr" in html, "<script>" in html
    (True, False)
    """
    lines = (
        f'<tr><th scope="row" style="{_HEAD}">{escape(name)}</th>{_cell(value)}</tr>'
        for name, value in rows
    )
    return _framed(title, f'<table style="margin:0">{"".join(lines)}</table>', notes)


def grid(
    title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str] = ()
) -> str:
    """Return a table with several named columns as HTML.

    Parameters
    ----------
    title
        First line, in bold.
    heads
        Names of the columns.
    rows
        Texts of each row, one per column.
    notes
        Sentences below the table.

    Returns
    -------
    str
        One ``div`` element, as that of ``table``.
    """
    head = "".join(f'<th scope="col" style="{_HEAD}">{escape(name)}</th>' for name in heads)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    body = f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody>"
    return _framed(title, f'<table style="margin:0">{body}</table>', notes)


def _cell(text: str) -> str:
    return f'<td style="{_TEXT}">{escape(text)}</td>'


def _framed(title: str, body: str, notes: Sequence[str]) -> str:
    below = "".join(f'<div style="{_TEXT}opacity:0.8">{escape(note)}</div>' for note in notes)
    first = f'<div style="font-weight:bold">{escape(title)}</div>'
    return f'<div class="mgdask">{first}{body}{below}</div>'


__all__ = ["grid", "table"]
