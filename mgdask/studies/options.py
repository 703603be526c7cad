"""Base class of study options: one frozen pydantic model per study.

Each option is written once. The command line, the manual, the model card and the schema
of the service are made from the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from mgdask.errors import ParameterError
from mgdask.store.location import local_place


@dataclass(frozen=True)
class CommandLine:
    """Spelling of an option on the command line, if it differs from the name in Python.

    Parameters
    ----------
    option
        Spelling such as ``"--draws"``. Default: ``--`` and the name of the field.
    argument
        Name of a positional argument, such as ``"STORES"``. Default: an option.
    separator
        Character between the values of a list that is typed as one text.
        Default: a list is typed as a repeated option.
    """

    option: str = ""
    argument: str = ""
    separator: str = ""


class OptionError(ParameterError):
    """Options of a study that are not valid; the message uses their names in Python.

    Parameters
    ----------
    options
        The options model.
    error
        Error raised by pydantic.
    """

    def __init__(self, options: type[StudyOptions], error: ValidationError) -> None:
        self._options = options
        self._problems = [
            (
                ".".join(map(str, problem["loc"][:1])),
                problem["type"],
                problem["msg"].removeprefix("Value error, "),
                problem["input"],
            )
            for problem in error.errors()
        ]
        super().__init__(self._message({}))

    def as_typed(self) -> str:
        """Return the message with the options named as on the command line."""
        return self._message(
            {name: spelling(self._options, name) for name in self._options.model_fields}
        )

    def _message(self, spelled: Mapping[str, str]) -> str:
        lines = []
        for name, kind, text, value in self._problems:
            option = spelled.get(name, name)
            if kind == "missing":
                lines.append(f"{option} is missing")
            elif kind == "extra_forbidden":
                names = ", ".join(spelled.get(one, one) for one in self._options.model_fields)
                lines.append(f"unknown option {option}; the options are {names}")
            elif option:
                lines.append(f"{option}={_typed(value)}: {text}")
            else:
                lines.append(text)
        # validators of several options quote their names in backticks
        return re.sub(r"`(\w+)`", lambda match: spelled.get(match[1], match[1]), "\n".join(lines))


def _typed(value: Any) -> str:
    return str(value) if isinstance(value, str | Path | int | float) else repr(value)


def as_list(value: Any) -> Any:
    """Return a single path or text as a list of one."""
    return (value,) if isinstance(value, str | Path) else value


def split_commas(value: Any) -> Any:
    """Return a text such as ``"Cu, Zr"`` as a list."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _local_paths(value: Any) -> Any:
    """Return paths with ``file://`` resolved; refuse those of other machines."""
    if isinstance(value, str | Path):
        return local_place(value, "a study reads and writes")
    return tuple(map(_local_paths, value)) if isinstance(value, tuple | list) else value


Stores = Annotated[tuple[Path, ...], BeforeValidator(as_list), Field(min_length=1)]
"""One or more paths of stores."""
Texts = Annotated[tuple[str, ...], BeforeValidator(as_list)]
"""Any number of texts; on the command line a repeated option."""


class StudyOptions(BaseModel):
    """Options of a study: a subclass adds one field per option.

    A field has an annotation, a default unless it is required, and a description, which
    is its help text. ``CommandLine`` in the annotation changes how it is typed.

    Raises
    ------
    OptionError
        If an option is unknown, missing or out of range.

    Examples
    --------
    >>> class Demo(StudyOptions):
    ...     n_rounds: Annotated[int, CommandLine("--rounds")] = Field(3, ge=1)
    >>> Demo(out="demo").n_rounds
    3
    >>> try:
    ...     Demo(out="demo", n_rounds=0)
    ... except OptionError as error:
    ...     print(error.as_typed())
    --rounds=0: Input should be greater than or equal to 1
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    study: ClassVar[str] = ""
    """Name of the study in the registry and on the command line."""
    summary: ClassVar[str] = ""
    """One sentence on what the study does."""
    examples: ClassVar[tuple[str, ...]] = ()
    """Command lines that the help of the study shows."""
    adding_stages: ClassVar[frozenset[str]] = frozenset()
    """Options that only add stages, whose names or identities contain their values.

    Other stages are not repeated if they, or the stores that they name, change.
    """

    out: Path = Field(description="Folder for everything that the study writes.")
    seed: int = Field(0, ge=0, description="Seed of all random choices.")

    def __init__(self, **values: Any) -> None:
        fields = type(self).model_fields
        for name in {*values} & {name for name, field in fields.items() if holds_paths(field)}:
            values[name] = _local_paths(values[name])
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise OptionError(type(self), error) from None

    def paths(self) -> dict[str, tuple[Path, ...]]:
        """Return the files and stores that the study reads, by name of the option."""
        paths = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name != "out" and holds_paths(field) and value is not None:
                paths[name] = (value,) if isinstance(value, Path) else tuple(value)
        return paths

    def check_inputs(self) -> None:
        """Raise ``ParameterError`` if the inputs do not suit the options.

        It is called when all inputs exist, and before anything is computed.
        """

    def parameters(self) -> dict[str, Any]:
        """Return all options but paths as JSON values, for a model card.

        They do not depend on where the files are.
        """
        fields = type(self).model_fields
        places = {name for name, field in fields.items() if holds_paths(field)}
        return self.model_dump(mode="json", exclude=places)


def inner_type(field: FieldInfo) -> tuple[Any, bool]:
    """Return the type of one value of a field, and whether it takes several values."""
    kind = field.annotation
    while True:
        origin, inner = get_origin(kind), get_args(kind)
        if origin is Annotated:
            kind = inner[0]
        elif origin is tuple:
            one = inner[0]
            return (get_args(one)[0] if get_origin(one) is Annotated else one), True
        elif type(None) in inner:
            kind = next(one for one in inner if one is not type(None))
        else:
            return kind, False


def holds_paths(field: FieldInfo) -> bool:
    """Return whether the values of a field are paths."""
    return inner_type(field)[0] is Path


def command_line(name: str, field: FieldInfo) -> CommandLine:
    """Return how a field is typed, with the spelling filled in."""
    given = next((one for one in field.metadata if isinstance(one, CommandLine)), CommandLine())
    return CommandLine(
        given.option or f"--{name.replace('_', '-')}", given.argument, given.separator
    )


def spelling(options: type[StudyOptions], name: str) -> str:
    """Return an option as it is typed: ``--draws``, or ``STORES`` for an argument."""
    typed = command_line(name, options.model_fields[name])
    return typed.argument or typed.option


def typed_order(options: type[StudyOptions]) -> list[tuple[str, FieldInfo]]:
    """Return the fields in the order of help texts: required ones first."""
    common = StudyOptions.model_fields
    return sorted(
        options.model_fields.items(),
        key=lambda item: (not item[1].is_required(), item[0] in common),
    )


def default_text(field: FieldInfo) -> str | None:
    """Return the default of a field as text, or None if there is none to show."""
    if field.is_required() or field.default is None or field.default is False:
        return None
    if isinstance(field.default, tuple):
        shown = [f"{one:g}" if isinstance(one, float) else str(one) for one in field.default]
        return ",".join(shown) or None
    return str(field.default)


def markdown_table(options: type[StudyOptions]) -> str:
    """Return the options of a study as a Markdown table.

    Parameters
    ----------
    options
        The options model.

    Returns
    -------
    text
        One row per option: spelling, name in Python, type, default, and meaning.
    """
    rows = [
        (
            f"`{spelling(options, name)}`",
            f"`{name}`",
            _type_text(field, command_line(name, field)),
            "required" if field.is_required() else default_text(field) or "",
            field.description or "",
        )
        for name, field in typed_order(options)
    ]
    return "\n".join(
        _row(cells)
        for cells in (("option", "in Python", "type", "default", "meaning"), ("---",) * 5, *rows)
    )


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type_text(field: FieldInfo, typed: CommandLine) -> str:
    kind, several = inner_type(field)
    if get_origin(kind) is Literal:
        text = " or ".join(f"`{value}`" for value in get_args(kind))
    else:
        text = {Path: "path", str: "text", bool: "flag", int: "integer", float: "number"}[kind]
    if not several:
        return text
    return f"{text}, separated by `{typed.separator}`" if typed.separator else f"{text}, repeatable"
