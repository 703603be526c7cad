"""Validation of the values of site files, and their quoting for a shell.

Names reach the head of a job script, which queueing systems read. Paths and commands
reach its shell lines, where each word is quoted. The environment of the node is still
read there: ``~`` and ``$TMPDIR`` are replaced. Directives and lines of the prologue are
the user's own script: they are one line each, and are otherwise left as they are.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:@+/=-]*")
_LOG_PATH = re.compile(r"(?!-)[\w./@%+=:,~-]+")
_RESOURCE = re.compile(r"""(?!-)[A-Za-z0-9_.,:@+/=<>!{}'" -]+""")
_VARIABLE = re.compile(r"(\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*\})", flags=re.ASCII)


def check_printable(value: str) -> str:
    """Return a text, unless it has line breaks or other control characters."""
    if not value.isprintable():
        raise ValueError(f"{value!r} contains a line break or another control character")
    return value


def check_name(value: str) -> str:
    """Return the name of a queue, project, interface or property, if it is one."""
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a name: it may contain letters, digits and _.,:@+/=- and must "
            "begin with a letter, a digit or _"
        )
    return value


def check_resource(value: str) -> str:
    """Return a resource request, if it is one word; spaces must be in quotes."""
    try:
        words = shlex.split(value) if _RESOURCE.fullmatch(value) else []
    except ValueError:  # a quotation that does not end
        words = []
    if len(words) != 1:
        raise ValueError(
            f"{value!r} is not a resource request: it must be one word of letters, digits, quotes "
            "and _.,:@+/=<>!{}-, such as select=1:ncpus=4"
        )
    return value


def check_path(value: str) -> str:
    """Return a path, unless it looks like an option or contains a command."""
    if value.startswith("-"):
        raise ValueError(f"{value!r} begins with -, as an option does; write ./{value}")
    if "`" in value or "$(" in value:
        raise ValueError(f"{value!r} contains a command; write shell lines in the prologue")
    return check_printable(value)


def check_log_directory(value: str) -> str:
    """Return a path that every queueing system can read in the head of a job script."""
    if not _LOG_PATH.fullmatch(value):
        raise ValueError(
            f"{value!r} cannot be read by all queueing systems: use letters, digits and "
            "_./@%+=:,~- only"
        )
    return str(Path(value).expanduser())


def check_size(value: object) -> object:
    """Return a number with or without a unit; pydantic would read a part of a text."""
    if isinstance(value, str) and not re.fullmatch(r"\d*\.?\d+ *[A-Za-z]*", value, re.ASCII):
        raise ValueError(f"{value!r} is not a size: write 2GiB, 500MB or a number of bytes")
    return value


def check_command(value: str) -> str:
    """Return a command with arguments, unless it needs a shell."""
    check_path(value)
    try:
        tokens = list(shlex.shlex(value, posix=True, punctuation_chars=True))
    except ValueError as error:
        raise ValueError(f"{value!r}: {error}") from None
    if not tokens or any(set(token) <= set("();<>|&") for token in tokens):
        raise ValueError(
            f"{value!r} is not a command with arguments, such as /path/to/python; write shell "
            "lines in the prologue"
        )
    return value


def split_lines(value: object) -> object:
    """Return a text as its lines, and a sequence of texts as the lines of all."""
    if isinstance(value, str):
        return value.splitlines()
    if isinstance(value, list | tuple):
        return [line for each in value for line in (str(each).splitlines() or [""])]
    return value


def check_line(value: str) -> str:
    """Return a line of a script, unless it has control characters other than tabs."""
    check_printable(value.replace("\t", " "))
    return value


def quote(text: str) -> str:
    """Quote a word for a shell, which still replaces a leading ``~/`` and variables."""
    parts = [text] if not text.startswith("~/") else ["$HOME", text[1:]]
    pieces = [piece for part in parts for piece in _VARIABLE.split(part) if piece]
    return "".join(
        f'"{piece}"' if _VARIABLE.fullmatch(piece) else shlex.quote(piece) for piece in pieces
    )


def quote_command(text: str) -> str:
    """Quote each word of a command."""
    return " ".join(quote(word) for word in shlex.split(text))
