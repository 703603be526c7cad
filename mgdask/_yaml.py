"""Reading of small YAML files: sites, recipes and options of studies.

Nothing in them is executed. A few lines of aliases that contain each other can stand
for billions of values, so their number is bounded before they are used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from mgdask.bounds import shortened
from mgdask.errors import ParameterError

MAX_BYTES = 1 << 20
"""Maximum number of bytes of a file."""
MAX_VALUES = 100_000
"""Maximum number of values of a file, those of aliases included."""


def load_yaml(path: str | os.PathLike[str], what: str, *, only_text: bool = False) -> Any:
    """Return the content of a YAML file.

    Parameters
    ----------
    path
        The file.
    what
        Name of the file in messages.
    only_text
        Whether all values are kept as text.

    Raises
    ------
    ParameterError
        If it cannot be read, is not YAML, or has too many values.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ParameterError(f"{what} cannot be read: {error.strerror}") from error
    return parse_yaml(data, what, only_text=only_text)


def parse_yaml(data: bytes, what: str, *, only_text: bool = False) -> Any:
    """Return the content of the bytes of a YAML file; see ``load_yaml``."""
    if len(data) > MAX_BYTES:
        raise ParameterError(f"{what} has more than {MAX_BYTES} bytes, which no such file needs")
    loader: Any = yaml.BaseLoader if only_text else yaml.SafeLoader
    try:
        text = data.decode("utf-8-sig")
        if _n_values(yaml.compose(text, loader), {}) > MAX_VALUES:
            raise ParameterError(
                f"{what} has more than {MAX_VALUES} values, those of its aliases (*) included; "
                "write out the values that are needed"
            )
        return yaml.load(text, Loader=loader)
    except UnicodeDecodeError:
        raise ParameterError(f"{what} is not YAML: it is not text in UTF-8") from None
    except RecursionError:
        raise ParameterError(f"{what} is not YAML: its values contain each other") from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(f"{what} is not YAML: {shortened(str(error), 500)}") from None


def _n_values(node: Any, known: dict[int, int]) -> int:
    """Return the number of values of a node, those of aliases counted each time."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_n_values(part, known) for part in parts)
    return known[id(node)]
