"""Selection of a model's columns in a store by name, and of the rows that have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mgdask._typing import AnyArray, BoolArray
from mgdask.errors import ParameterError
from mgdask.learn.data.rows import Part, Rows
from mgdask.store.location import local_place
from mgdask.store.open import check_complete


def rows_of_store(
    store: str | Path, columns: Sequence[str], variables: Sequence[str] | None = None
) -> Rows:
    """Return the columns of a finished feature store as ``Rows``.

    Parameters
    ----------
    store
        Feature store.
    columns
        Names of the columns, in the order to take.
    variables
        Arrays (frame, atom, column) to select from. Columns are named as ``Rows`` does:
        label, or variable/label if there are several arrays. Default: all arrays, or
        the one array that has every column.

    Returns
    -------
    rows
        Rows of the store, in its own precision.

    Raises
    ------
    ParameterError
        If a column is not in the store, or several arrays have all columns.

    Examples
    --------
    >>> rows_of_store("features.zarr", model.columns).count()  # doctest: +SKIP
    """
    store = local_place(store, "learn reads")
    group, _ = check_complete(store, kind="features")
    arrays = {str(name): array for name, array in sorted(group.arrays()) if array.ndim == 3}
    if not arrays:
        raise ParameterError(
            f"{store} has no array (frame, atom, column); compute features of atoms first"
        )
    parts = (Part(str(store)),)
    choices: list[tuple[str, ...]] = [tuple(variables or arrays)]
    if not variables and len(arrays) > 1:
        choices += [(name,) for name in arrays]
    named = {choice: Rows(parts, choice).names() for choice in choices}
    fitting = [choice for choice, names in named.items() if set(columns) <= set(names)]
    if len(fitting) > 1:
        raise ParameterError(
            f"{store}: {' and '.join(', '.join(choice) for choice in fitting)} each have all "
            "columns of the model; "
            f"choose the arrays with variables=, such as variables=[{fitting[0][0]!r}]"
        )
    if not fitting:
        closest = max(choices, key=lambda choice: len(set(columns) & set(named[choice])))
        k = next(k for k, name in enumerate(columns) if name not in set(named[closest]))
        raise ParameterError(
            f"column {k} of the model, {columns[k]!r}, is not in {store}, whose "
            f"{len(named[closest])} columns of {', '.join(closest)} begin with "
            f"{', '.join(map(repr, named[closest][:3]))}; compute the features that the model was "
            "trained with"
        )
    wide = any(arrays[name].dtype != np.float32 for name in fitting[0])
    return Rows(parts, fitting[0], tuple(columns), dtype="float64" if wide else "float32")


def select(rows: Rows, columns: Sequence[str]) -> Rows:
    """Return the same rows with other columns.

    Parameters
    ----------
    rows
        Rows of a table.
    columns
        Names of the columns, in the order to take.

    Raises
    ------
    ParameterError
        If a column is not there. It names the first one.
    """
    available = rows.names()
    for k, name in enumerate(columns):
        if name not in available:
            raise ParameterError(
                f"column {k} of the model, {name!r}, is not among the {len(available)} columns of "
                "the rows, which begin with "
                f"{', '.join(map(repr, available[:3]))}; take the features that the model was "
                "trained with"
            )
    return replace(rows, columns=tuple(columns))


def usable(values: AnyArray, columns: Sequence[str], missing: Sequence[str]) -> BoolArray:
    """Mark the rows that have no unexpected NaN.

    Parameters
    ----------
    values
        Matrix, shape (row, column).
    columns
        Names of the columns.
    missing
        Columns in which the model accepts NaN.

    Returns
    -------
    mask
        True for rows without NaN in any other column, shape (row,).
    """
    accepted = set(missing)
    mask = np.ones(len(values), dtype=bool)
    for k, name in enumerate(columns):  # by column, to need no second matrix
        if name not in accepted:
            mask &= ~np.isnan(values[:, k])
    return mask
