"""Which columns of a store a model takes, by name, and which rows have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.learn.data.rows import Part, Rows
from mgdask.store.open import check_complete

Mask = npt.NDArray[np.bool_]


def rows_of_store(
    store: str | Path, columns: Sequence[str], variables: Sequence[str] | None = None
) -> Rows:
    """The ``columns`` of a finished feature store as ``Rows``, chosen by name among those that it has.

    Parameters: ``variables``, arrays (frame, atom, column) to choose from, named as ``Rows`` does: label, or variable/label where there are
    several. By default those of all arrays, or of the one array that has every column. The matrix has the store's own precision.

    Raises ``ParameterError`` that names the first column the store does not have, or the arrays if several have them all.

    >>> rows_of_store("features.zarr", model.columns).count()  # doctest: +SKIP
    """
    group, _ = check_complete(store, kind="features")
    arrays: dict[str, Any] = {
        str(name): array for name, array in sorted(group.arrays()) if array.ndim == 3
    }
    if not arrays:
        raise ParameterError(
            f"{store} has no array (frame, atom, column); compute features of atoms first"
        )
    part, every = (Part(str(store)),), tuple(arrays)
    choices = (
        [tuple(variables)] if variables else [every, *((name,) for name in every if len(every) > 1)]
    )
    named = {choice: Rows(part, choice).names() for choice in choices}
    fitting = [choice for choice, names in named.items() if set(columns) <= set(names)]
    if len(fitting) > 1:
        raise ParameterError(
            f"{store}: {' and '.join(', '.join(choice) for choice in fitting)} each have all columns of the model; say which "
            f"with variables=, such as variables=[{fitting[0][0]!r}]"
        )
    if not fitting:
        near = max(choices, key=lambda choice: len(set(columns) & set(named[choice])))
        k = next(k for k, name in enumerate(columns) if name not in set(named[near]))
        raise ParameterError(
            f"column {k} of the model, {columns[k]!r}, is not in {store}, whose {len(named[near])} columns of {', '.join(near)} begin with "
            f"{', '.join(map(repr, named[near][:3]))}; compute the features that the model was trained with"
        )
    wide = any(arrays[name].dtype != np.float32 for name in fitting[0])
    return Rows(part, fitting[0], tuple(columns), dtype="float64" if wide else "float32")


def select(rows: Rows, columns: Sequence[str]) -> Rows:
    """The same rows with the ``columns`` of a model, by name; ``ParameterError`` that names the first which is not there."""
    there = rows.names()
    for k, name in enumerate(columns):
        if name not in there:
            raise ParameterError(
                f"column {k} of the model, {name!r}, is not among the {len(there)} columns of the rows, which begin with "
                f"{', '.join(map(repr, there[:3]))}; take the features that the model was trained with"
            )
    return replace(rows, columns=tuple(columns))


def usable(values: npt.NDArray[Any], columns: Sequence[str], missing: Sequence[str]) -> Mask:
    """Rows (n,) of a matrix (n, p) without NaN, but for the columns ``missing``, where NaN is a value of its own."""
    known = set(missing)
    needed = [k for k, name in enumerate(columns) if name not in known]
    good = np.ones(len(values), dtype=bool)
    for k in needed:  # by column: no second matrix
        good &= ~np.isnan(values[:, k])
    return good
