"""Parameters of a feature: a frozen dataclass that pydantic validates."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass as pydantic_dataclass

from mgdask.errors import MgdaskError, ParameterError
from mgdask.features import allowed, naming

F = TypeVar("F")
_CALL_ERRORS = {
    "missing": "missing argument",
    "unexpected_keyword_argument": "unexpected argument",
    "unexpected_positional_argument": "too many positional arguments, from index",
    "multiple_argument_values": "several values for argument",
}
"""What pydantic says of a call that does not match the signature."""


InnerFeature = pydantic.WithJsonSchema(
    {
        "description": "A feature as {family: {parameter: value}}, or the name of its family.",
        "anyOf": [
            {"type": "string"},
            {
                "type": "object",
                "additionalProperties": {"type": "object"},
                "minProperties": 1,
                "maxProperties": 1,
            },
        ],
    }
)
"""JSON schema of a parameter that is itself a feature, for use in ``Annotated``."""


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def feature_dataclass(kind: type[F]) -> type[F]:
    """Make a feature class a frozen dataclass with validated parameters.

    Annotations decide what is allowed, as in pydantic: ``float``,
    ``Literal["a", "b"]``, ``Annotated[float, pydantic.Field(gt=0)]``.
    ``__post_init__`` runs on validated values and may check more. Class attributes
    without annotation, or annotated ``ClassVar``, are not parameters.

    Parameters
    ----------
    kind
        A subclass of ``Feature``.

    Returns
    -------
    The same class. It raises ``ParameterError`` with the value and what is allowed.

    Examples
    --------
    >>> from mgdask import Coordination
    >>> Coordination(cutoff=-1.0)  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    ParameterValueError: Coordination: cutoff=-1.0 is not allowed; it must be ...
    """
    # defaults are validated too, so that they are stored as the annotated type
    config = pydantic.ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, validate_default=True
    )
    pydantic_dataclass(frozen=True, config=config)(kind)  # changes the class in place
    validate = kind.__init__

    @functools.wraps(validate)
    def init(self: F, *args: Any, **kwargs: Any) -> None:
        try:
            validate(self, *args, **kwargs)
        except pydantic.ValidationError as error:
            raise _refusal(kind, error, args, kwargs) from None

    kind.__init__ = init  # type: ignore[assignment]
    return kind


class ParameterValueError(ParameterError):
    """A parameter has a value that is not allowed.

    Parameters
    ----------
    message
        What is wrong.
    parameter
        Name of the parameter.
    verdict
        What is wrong with its value, such as "is not finite".
    """

    def __init__(self, message: str, parameter: str, verdict: str) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.verdict = verdict

    def __reduce__(self) -> tuple[type[ParameterValueError], tuple[str, str, str]]:
        return type(self), (str(self), self.parameter, self.verdict)


def _refusal(
    kind: type, error: pydantic.ValidationError, args: tuple[Any, ...], kwargs: Any
) -> Exception:
    """Return the first fault that pydantic found, in the words of this package."""
    first = error.errors()[0]
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, MgdaskError) and not first["loc"]:  # from __post_init__
        return raised
    names = [item.name for item in dataclasses.fields(kind)]
    place = first["loc"][0] if first["loc"] else ""
    name = names[place] if isinstance(place, int) and place < len(names) else str(place)
    if first["type"] in _CALL_ERRORS and len(first["loc"]) == 1:
        return TypeError(f"{kind.__name__}: {_CALL_ERRORS[first['type']]} {name!r}")
    value = {**dict(zip(names, args, strict=False)), **kwargs}.get(name)
    if isinstance(raised, MgdaskError):
        return ParameterError(f"{kind.__name__}: {name}={value!r}: {raised}")
    schemas = schema_of(kind)
    words = allowed.describe(schemas[name]) if name in schemas else "name"
    if words == "name" or "a feature" in words:
        return ParameterError(f"{kind.__name__}: {name}={value!r}: {first['msg']}")
    if first["type"] == "finite_number":
        return refusal(kind, name, value, verdict="is not finite")
    return refusal(kind, name, value)


def refusal(
    kind: type, name: str, value: Any, *, as_typed: bool = False, verdict: str = ""
) -> ParameterValueError:
    """Return the error of a value that is not allowed.

    It says what is allowed, in which unit, and gives an example.

    Parameters
    ----------
    kind
        Class of the feature.
    name
        Name of the parameter.
    value
        The value.
    as_typed
        Whether words are written as on a command line, and not as in Python.
    verdict
        What is wrong, such as "is not finite". Default: what the type says.

    Returns
    -------
    The error.
    """
    schema = schema_of(kind)[name]
    if isinstance(value, str) and not verdict:
        verdict = _NOT_OF_TYPE.get(str(schema.get("type")), "")
        if _is_number(value):
            verdict = "is not an integer" if "." in value and "integer" in verdict else ""
    description = parameter_descriptions(kind).get(name, "")
    unit = allowed.unit_of(schema, description)
    words = allowed.describe(schema, sentence=True, quoted=not as_typed)
    text = (
        f"{kind.__name__}: {name}={value!r} {verdict or 'is not allowed'}; "
        f"it must be {words}{f' in {unit}' if unit else ''}"
    )
    example = allowed.example_of(schema, description)
    if example is None and words.startswith(("a ", "an ")) and words != "a feature":
        example = example_of(kind, name)
    if example is not None:
        text += f", such as {allowed.to_text(example) if as_typed else repr(example)}"
    if isinstance(value, str):
        close = naming.nearest(value, allowed.choices(schema))
        text += f". Did you mean {close[0]}?" if close else ""
    return ParameterValueError(text, name, verdict)


_NOT_OF_TYPE = {"number": "is not a number", "integer": "is not an integer"}
"""What is said of a text that is not of the type."""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=128)
def schema_of(kind: type) -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each parameter by name; do not modify it."""
    found = pydantic.TypeAdapter(kind).json_schema()
    definitions = found.get("$defs", {})
    entries = found.get("properties", {})
    for entry in entries.values():
        reference = entry.get("$ref", "").rpartition("/")[2]
        entry.update(definitions.get(reference, {}))
    return dict(entries)


def example_of(kind: type, name: str) -> Any:
    """Return an example of a parameter: of the class, its default, or None."""
    given = getattr(kind, "example_parameters", {}).get(name)
    if given is not None:
        return given
    default = next(item.default for item in dataclasses.fields(kind) if item.name == name)
    if default is dataclasses.MISSING or len(allowed.to_text(default)) > 40:
        return None
    return default


def parameter_descriptions(kind: Callable[..., Any]) -> dict[str, str]:
    """Return the entries of the Parameters section of a numpydoc docstring."""
    text = inspect.cleandoc(kind.__doc__ or "")
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[^\n]*\n-+\n|\Z)", text, re.M | re.S)
    if section is None:
        return {}
    entries = re.findall(r"^(\w+)[^\n]*\n((?:[ \t]+[^\n]*\n?|\n)+)", section[1], re.M)
    return {name: " ".join(lines.split()) for name, lines in entries}


def is_required(item: dataclasses.Field[Any]) -> bool:
    """Return whether a parameter has no default."""
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
