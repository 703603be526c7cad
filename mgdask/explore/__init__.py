"""Interactive exploration: the accessor ``ds.mg``, pictures, and export.

Opened stores and lazy features have the accessor. Importing this module gives it to
every Dataset and DataArray. Pictures for reports are in ``mgdask.plot``, text and pages
in ``mgdask.report``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mgdask._accessor import register

if TYPE_CHECKING:
    from mgdask.explore.exporting.run import export as export
    from mgdask.explore.exporting.table import to_dataframe as to_dataframe
    from mgdask.explore.exporting.table import to_table as to_table

_FUNCTIONS = {
    "export": "exporting.run",
    "to_dataframe": "exporting.table",
    "to_table": "exporting.table",
}
"""Module of each function, which is imported when it is first used."""

register()


def __getattr__(name: str) -> Any:
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
