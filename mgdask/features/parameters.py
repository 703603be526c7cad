"""Parameters of a feature: a frozen dataclass that pydantic validates."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from typing import Any, TypeVar, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass as pydantic_dataclass

from mgdask.errors import MgdaskError, ParameterError

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
    ParameterError: Coordination: cutoff=-1.0: Input should be greater than 0
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
    reason = raised if isinstance(raised, MgdaskError) else first["msg"]
    return ParameterError(f"{kind.__name__}: {name}={value!r}: {reason}")


def parameter_descriptions(kind: type) -> dict[str, str]:
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
