"""Registry of the studies by name, one line per study.

Modules are imported when a study is first used, so listing them is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from mgdask.errors import ParameterError
from mgdask.studies.options import StudyOptions

if TYPE_CHECKING:
    from mgdask.studies.study import Study


class Entry(NamedTuple):
    """Where a study is defined."""

    module: str
    study: str
    options: str


STUDIES: dict[str, Entry] = {}
"""Every known study; filled by ``register``."""


def register(name: str, module: str, *, study: str, options: str) -> None:
    """Make a study known to the command line, the manual and ``get_study``.

    Parameters
    ----------
    name
        Name on the command line.
    module
        Module that defines both classes. It is imported on first use.
    study, options
        Names of the ``Study`` class and of its ``StudyOptions``.

    Raises
    ------
    ParameterError
        If another study has this name.
    """
    entry = Entry(module, study, options)
    if STUDIES.get(name, entry) != entry:
        raise ParameterError(f"the study {name!r} is already defined in {STUDIES[name].module}")
    STUDIES[name] = entry


def available() -> tuple[str, ...]:
    """Return the names of all studies, in the order of their registration.

    Returns
    -------
    names
        Names as typed after ``mgdask study``.

    Examples
    --------
    >>> available()[:3]
    ('softness', 'compare', 'transfer')
    """
    return tuple(STUDIES)


def get_study(name: str) -> type[Study[Any]]:
    """Return the class of a study.

    Parameters
    ----------
    name
        One of ``available()``.

    Returns
    -------
    study
        A subclass of ``Study``.

    Raises
    ------
    ParameterError
        If there is no such study.

    Examples
    --------
    >>> get_study("softness").__name__
    'SoftnessStudy'
    """
    entry = _entry(name)
    study: type[Study[Any]] = getattr(import_module(entry.module), entry.study)
    return study


def get_options(name: str) -> type[StudyOptions]:
    """Return the options model of a study, without importing its computations.

    Parameters
    ----------
    name
        One of ``available()``.

    Returns
    -------
    options
        A subclass of ``StudyOptions``.

    Raises
    ------
    ParameterError
        If there is no such study.

    Examples
    --------
    >>> get_options("softness").model_fields["n_undersamples"].default
    20
    """
    entry = _entry(name)
    options: type[StudyOptions] = getattr(import_module(entry.module), entry.options)
    return options


def _entry(name: str) -> Entry:
    if name not in STUDIES:
        raise ParameterError(f"no study {name!r}; the studies are {', '.join(STUDIES)}")
    return STUDIES[name]


SOFTNESS = "mgdask.studies.softness"
register("softness", SOFTNESS, study="SoftnessStudy", options="SoftnessOptions")
register("compare", SOFTNESS, study="ComparisonStudy", options="ComparisonOptions")
register("transfer", SOFTNESS, study="TransferStudy", options="TransferOptions")
register("barcode", "mgdask.studies.barcode", study="BarcodeStudy", options="BarcodeOptions")
register(
    "temperature",
    "mgdask.studies.temperature",
    study="TemperatureStudy",
    options="TemperatureOptions",
)
