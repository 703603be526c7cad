"""One column of numbers from a text file, with one row per frame."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mgdask._typing import FloatArray
from mgdask.bounds import MAX_LINE
from mgdask.errors import AuditError, ParameterError
from mgdask.readers.files import Forward

_SHOWN = 60
"""Maximum number of characters of a line to show in a message."""
_PIECE = 1 << 18
"""Number of bytes that are read at once."""
_WINDOW = 4 << 20
"""Number of unpacked bytes whose growth is checked; they may be two million lines."""


@dataclass(frozen=True)
class TextColumn:
    """Numbers of one column of a text file.

    Attributes
    ----------
    path
        The file.
    column
        Number of the column, counted from 1.
    values
        The numbers (row,).
    lines
        Line of the file, counted from 1, of each row.
    """

    path: str
    column: int
    values: FloatArray
    lines: tuple[int, ...]

    @property
    def where(self) -> str:
        """File and column, for messages."""
        return f"{self.path}, column {self.column}"


def read_column(path: str | os.PathLike[str], column: int) -> TextColumn:
    """Read one column of a text file.

    Columns are separated by white space, or by commas in lines that contain one. Text
    from # to the end of a line is ignored, and so are empty lines. The file may be
    compressed with gzip.

    Parameters
    ----------
    path
        The file.
    column
        Number of the column, counted from 1.

    Returns
    -------
    column
        A ``TextColumn``.

    Raises
    ------
    AuditError
        If the file cannot be read or has no rows. Also if a row lacks the column, or
        its entry is not a finite number. The message names file, line and column.
    ParameterError
        If ``column`` is not a positive integer.
    """
    name = os.fspath(path)
    is_integer = isinstance(column, int | np.integer) and not isinstance(column, bool)
    if not is_integer or column < 1:
        raise ParameterError(
            f"column {column!r} of {name}: columns are counted from 1; give a positive integer"
        )
    values: list[float] = []
    lines: list[int] = []
    for number, line in enumerate(_read_lines(name), start=1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        # an empty field between two commas must not shift the columns after it
        words = [word.strip() for word in text.split(",")] if "," in text else text.split()
        where = f"{name}, line {number}"
        if len(words) < column:
            raise AuditError(
                f"{where}: there is no column {column}; the line has {len(words)}: {_short(text)}. "
                "Columns are counted from 1"
            )
        values.append(_number(words[column - 1], f"{where}, column {column}", first=not values))
        lines.append(number)
    if not values:
        raise AuditError(f"{name}: the file has no row of numbers; text after # is a comment")
    return TextColumn(name, int(column), np.array(values), tuple(lines))


def _number(word: str, where: str, *, first: bool) -> float:
    try:
        if "_" in word:  # only Python accepts 1_000 as a number
            raise ValueError
        value = float(word)
    except ValueError:
        hint = "begin a heading with #" if first else "repair the line, or begin it with #"
        raise AuditError(f"{where}: {word[:_SHOWN]!r} is not a number; {hint}") from None
    if not math.isfinite(value):
        raise AuditError(f"{where}: {word} is not finite; every frame needs a finite number")
    return value


def _read_lines(name: str) -> Iterator[str]:
    """Read the lines of a text file, which may be compressed with gzip."""
    path = os.path.expanduser(name)
    try:
        with open(path, "rb") as file:
            packing = "gz" if file.read(2) == b"\x1f\x8b" else "plain"
    except OSError as error:
        reason = error.strerror or error
        raise AuditError(
            f"{name}: cannot be read: {reason} (working directory {Path.cwd()})"
        ) from error
    text = Forward(path, packing, _WINDOW)
    rest, number = b"", 0
    try:
        while piece := text.read(_PIECE):
            if b"\0" in piece:
                raise AuditError(f"{name}: it is not a text file (UTF-8)")
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                number += 1
                yield _decoded(line, name, number)
            if len(rest) > MAX_LINE:
                raise AuditError(
                    f"{name}, line {number + 1} has more than {MAX_LINE} bytes; give a text file "
                    "with one row per frame"
                )
    finally:
        text.close()
    if text.cut:
        raise AuditError(
            f"{name}: cannot be read: the gzip data end before their end mark "
            f"(working directory {Path.cwd()})"
        )
    if rest:
        yield _decoded(rest, name, number + 1)


def _decoded(line: bytes, name: str, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise AuditError(f"{name}: it is not a text file (UTF-8)") from None


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
