"""Answers that print as a small table, in a terminal and in a notebook."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from mgdask._html import table

WIDTH = 88
"""Length of the lines of a printed answer."""


@dataclass(frozen=True, repr=False)
class Answer:
    """Names and values, as text for reading.

    Attributes
    ----------
    title
        What is answered.
    rows
        Name and text of each line.
    notes
        Sentences below them.
    """

    title: str
    rows: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        width = max((len(name) for name, _ in self.rows), default=0)
        lines = [self.title]
        for name, text in self.rows:
            parts = [
                part
                for line in text.splitlines() or [""]
                for part in (
                    [line]  # tables are aligned already
                    if "  " in line.strip()
                    else textwrap.wrap(line, WIDTH - width - 4, break_on_hyphens=False) or [""]
                )
            ]
            lines.append(f"  {name:<{width}}  {parts[0]}".rstrip())
            lines += [f"{'':<{width + 4}}{part}".rstrip() for part in parts[1:]]
        for note in self.notes:
            lines += textwrap.wrap(note, WIDTH, break_on_hyphens=False)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return table(self.title, self.rows, self.notes)

    def __getitem__(self, name: str) -> str:
        """Return the text of a line by its name; lines of one name are joined."""
        found = [text for each, text in self.rows if each == name]
        if not found:
            raise KeyError(name)
        return "\n".join(found)
