"""One self-contained HTML page of text, tables, figures and numbers.

Pages are made with jinja2; the templates are in ``templates``. All text is escaped, and
figures are embedded, so a page needs no other file and no network.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from mgdask.errors import ParameterError
from mgdask.report.json import to_json


@dataclass(frozen=True)
class Text:
    """Paragraphs of plain text.

    Parameters
    ----------
    paragraphs
        One string per paragraph. Markup is shown as it is written, not interpreted.
    """

    template: ClassVar[str] = "text.html"
    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Parameters
    ----------
    caption
        What the table shows.
    header
        One heading per column.
    rows
        Rows of formatted cells, one cell per heading.
    note
        Remark below the table; none if empty.

    Raises
    ------
    ParameterError
        If a row and the header differ in length.
    """

    template: ClassVar[str] = "table.html"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def __post_init__(self) -> None:
        for k, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ParameterError(
                    f"table {self.caption!r}: row {k} has {len(row)} cells, but there are "
                    f"{len(self.header)} headings"
                )

    @property
    def words(self) -> frozenset[int]:
        """Indices of the columns without a number, which are aligned to the left."""
        return frozenset(
            k
            for k in range(len(self.header))
            if self.rows
            and not any(any(map(str.isdigit, row[k][:2])) for row in self.rows)
            and any(any(map(str.isalpha, row[k])) for row in self.rows)
        )


@dataclass(frozen=True)
class Figure:
    """A PNG picture with its caption.

    Parameters
    ----------
    png
        Content of the PNG file.
    alt
        What the picture shows, for readers who cannot see it.
    caption
        Paragraphs below the picture. Empty ones are left out.
    """

    template: ClassVar[str] = "figure.html"
    png: bytes
    alt: str
    caption: Sequence[str] = ()

    @classmethod
    def read(cls, path: str | Path, alt: str, caption: Sequence[str] = ()) -> Figure:
        """Read the picture from a file.

        Parameters
        ----------
        path
            PNG file.
        alt, caption
            See the class.

        Returns
        -------
        figure
            The figure, which no longer needs the file.
        """
        return cls(Path(path).read_bytes(), alt, caption)

    @property
    def source(self) -> str:
        """Picture as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"


@dataclass(frozen=True)
class Numbers:
    """Raw numbers as JSON, folded until the reader opens them.

    Parameters
    ----------
    caption
        What the numbers are.
    values
        Nested mappings, arrays and numbers; see ``mgdask.report.json.to_plain``.
    """

    template: ClassVar[str] = "numbers.html"
    caption: str
    values: Mapping[str, Any]

    @property
    def text(self) -> str:
        """Numbers as JSON text."""
        return to_json(self.values)


Block = Text | Table | Figure | Numbers


@dataclass(frozen=True)
class Section:
    """Blocks under one heading.

    Parameters
    ----------
    heading
        Heading of the section; none if empty.
    blocks
        What the section shows, in this order.
    """

    heading: str
    blocks: Sequence[Block]


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("mgdask.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@dataclass(frozen=True)
class Page:
    """A report as one HTML page.

    Parameters
    ----------
    title
        Title of the page.
    sections
        Sections from top to bottom.
    footer
        Last paragraph, for example the method's reference; none if empty.
    language
        Language code of the text.
    about
        Label and text of each line below the title, such as the version, the date, the
        seed and the data.

    Examples
    --------
    >>> table = Table("Scores", ("score", "value"), [("AUC", "0.75")])
    >>> page = Page("Results <1>", [Section("Test", [Text(["One glass."]), table])])
    >>> "<h1>Results &lt;1&gt;</h1>" in page.render()
    True
    """

    title: str
    sections: Sequence[Section] = field(default_factory=tuple)
    footer: str = ""
    language: str = "en"
    about: Sequence[tuple[str, str]] = ()

    def render(self) -> str:
        """Return the page as HTML text."""
        return _environment().get_template("page.html").render(page=self)

    def save(self, path: str | Path) -> Path:
        """Write the page to a file.

        Parameters
        ----------
        path
            File to write. An existing file is replaced.

        Returns
        -------
        path
            Path of the written file.
        """
        target = Path(path)
        target.write_text(self.render(), encoding="utf-8")
        return target
