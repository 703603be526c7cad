"""Allowed values of parameters in words, and values from the text of a command line.

Both are read from the JSON schema of the parameters, so that they cannot differ from
what is checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]
_PLUS = re.compile(r"(?<![\d.][eE])\+|,|\s")
"""What separates the items of a list; the plus sign of 1e+3 does not."""
_UNIT = re.compile(r"\bin (Å|ps|K|units of sigma)(?![\w²³])")
"""A unit in the description of a parameter."""


def options_of(schema: Schema) -> list[Schema]:
    """Return the alternatives of a schema, without null."""
    alternatives = schema.get("anyOf", [schema])
    return [each for each in alternatives if each.get("type") != "null"]


def describe(schema: Schema, *, sentence: bool = False, quoted: bool = False) -> str:
    """Return the allowed values of a parameter in words.

    Parameters
    ----------
    schema
        JSON schema of the parameter.
    sentence
        Whether nouns have an article, as in a sentence.
    quoted
        Whether words are quoted, as in Python.

    Returns
    -------
    Words such as "number > 0".

    Examples
    --------
    >>> describe({"type": "number", "exclusiveMinimum": 0})
    'number > 0'
    >>> describe({"type": "array", "items": {"type": "integer", "minimum": 0}})
    'list of integers >= 0'
    >>> describe({"enum": ["none", "area", "volume"]})
    'none, area or volume'
    """
    parts = list(dict.fromkeys(_describe(each, quoted) for each in options_of(schema)))
    # "voronoi or cutoff, or list of voronoi or cutoff"
    parts = [
        "list of them" if f"list of {parts[0]}" == part and part != parts[0] else part
        for part in parts
    ]
    if sentence:
        parts = [f"{_ARTICLES.get(part.split()[0], '')}{part}" for part in parts]
    return (", or " if any(" or " in part for part in parts) else " or ").join(parts)


_ARTICLES = {"number": "a ", "list": "a ", "integer": "an ", "mapping": "a "}


def _describe(schema: Schema, quoted: bool) -> str:
    kind = schema.get("type")
    if "enum" in schema or "const" in schema:
        names = schema.get("enum", [schema.get("const")])
        words = [repr(name) if quoted else str(name) for name in names]
        return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    if kind == "boolean":
        return "true or false"
    if kind == "object":
        return "a feature" if schema.get("maxProperties") == 1 else "mapping"
    if kind == "array" and "prefixItems" in schema:
        items = [_describe(item, quoted) for item in schema["prefixItems"]]
        if len(set(items)) == 1:
            return f"{len(items)} {_plural(items[0])}"
        return ":".join(items)
    if kind == "array":
        return f"list of {_plural(_describe(schema.get('items', {}), quoted))}"
    if kind in ("number", "integer"):
        return f"{kind}{_bounds(schema)}"
    return "name"


def _plural(text: str) -> str:
    noun, space, bounds = text.partition(" ")
    if noun in ("number", "integer", "name") and ":" not in text:
        return f"{noun}s{space}{bounds}"
    return text


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    words = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    parts = [f"{sign} {schema[key]:g}" for key, sign in words.items() if key in schema]
    return f" {' and '.join(parts)}" if parts else ""


def unit_of(schema: Schema, description: str) -> str:
    """Return the unit of a parameter, as its description states it; empty if none.

    Examples
    --------
    >>> unit_of({"type": "number"}, "Cutoff distance in Å of the neighbors.")
    'Å'
    """
    if "number" not in str(schema):
        return ""
    found = _UNIT.search(description)
    return found[1].removeprefix("units of ") if found else ""


def example_of(schema: Schema, description: str) -> dict[str, float] | None:
    """Return an example of numbers by element or by pair of elements, if allowed."""
    pairs = [
        each["items"]["prefixItems"]
        for each in options_of(schema)
        if "prefixItems" in each.get("items", {})
    ]
    if not pairs or [each.get("type") for each in pairs[0]] != ["string", "number"]:
        return None
    if "pair of" in description or "per pair" in description:
        return {"Cu-Cu": 3.2, "Cu-Zr": 3.7, "Zr-Zr": 4.1}
    return {"Cu": 0.5, "Zr": 0.5} if "maximum" in pairs[0][1] else {"Cu": 1.28, "Zr": 1.58}


def choices(schema: Schema) -> list[str]:
    """Return the words that a parameter accepts, alone or in a list."""
    found: list[str] = []
    for each in options_of(schema):
        inner = each.get("items", {}) if each.get("type") == "array" else each
        found += map(str, inner.get("enum", [inner["const"]] if "const" in inner else []))
    return list(dict.fromkeys(found))


def from_text(schema: Schema, text: str) -> Any:
    """Return the value that a text on a command line stands for.

    Items of a list are joined by + or commas, and those of a tuple by colons. Numbers
    remain texts, which are converted when they are checked.

    Parameters
    ----------
    schema
        JSON schema of the parameter.
    text
        What was typed.

    Returns
    -------
    The text, or a tuple of texts.

    Examples
    --------
    >>> numbers = {"type": "array", "items": {"type": "number"}}
    >>> from_text(numbers, "0.5+1")
    ('0.5', '1')
    >>> pair = [{"type": "string"}, {"type": "number"}]
    >>> pairs = {"type": "array", "items": {"type": "array", "prefixItems": pair}}
    >>> from_text(pairs, "Cu-Cu:3.2,Cu-Zr:3.7")
    (('Cu-Cu', '3.2'), ('Cu-Zr', '3.7'))
    """
    alternatives = options_of(schema)
    if text in choices({"anyOf": [each for each in alternatives if each.get("type") != "array"]}):
        return text
    if len(alternatives) < len(schema.get("anyOf", [schema])) and text.lower() in ("none", "null"):
        return None
    arrays = [each for each in alternatives if each.get("type") == "array"]
    pieces = [piece for piece in _PLUS.split(text) if piece]
    if not arrays or (len(arrays) < len(alternatives) and _is_scalar(alternatives, pieces, text)):
        return text
    inner = arrays[0].get("items", {})
    if inner.get("type") == "array":
        if ":" not in text:
            return text
        items = (tuple(piece.split(":")) for piece in pieces)
        # pairs are a mapping, whose order does not matter
        return tuple(sorted(items) if example_of(schema, "") else items)
    return tuple(pieces)


def _is_scalar(alternatives: Sequence[Schema], pieces: Sequence[str], text: str) -> bool:
    """Whether a text is meant as one value, although a list is allowed too."""
    numbers = any(each.get("type") in ("number", "integer") for each in alternatives)
    return numbers and len(pieces) == 1 and ":" not in text and not text.endswith(("+", ","))


def to_text(value: Any) -> str:
    """Return a value as it is typed on a command line.

    Examples
    --------
    >>> to_text((4, 6)), to_text({"Cu-Zr": 3.7}), to_text(True), to_text(None)
    ('4+6', 'Cu-Zr:3.7', 'true', 'none')
    """
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{to_text(item)}" for key, item in value.items())
    if isinstance(value, tuple | list):
        nested = any(isinstance(item, tuple | list) for item in value)
        parts = [":".join(map(to_text, i)) if isinstance(i, tuple | list) else i for i in value]
        return ("," if nested else "+").join(map(to_text, parts))
    return str(value).removesuffix(".0")
