"""A glass with a subset of its atoms and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.studies.softness.data import Glass


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenGlass(Glass):
    """A ``Glass`` with a subset of its atoms and columns.

    Parameters
    ----------
    atoms
        Indices of the atoms (row,), increasing.
    names
        Names of the columns.
    """

    atoms: IntArray
    names: tuple[str, ...]

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return self.names

    def rows(self) -> tuple[FloatArray, BoolArray, IntArray]:
        """Return features (row,column), labels and atoms (row,) of the subset."""
        values, label, atoms = super().rows()
        rows = np.searchsorted(atoms, self.atoms)
        columns = super().columns()
        if self.names != columns:
            values = values[:, [columns.index(name) for name in self.names]]
        return values[rows], label[rows], self.atoms


def choose(
    glass: Glass, *, atoms: IntArray | None = None, columns: Sequence[str] | None = None
) -> ChosenGlass:
    """Return a glass with a subset of its atoms and columns.

    Parameters
    ----------
    glass
        The glass.
    atoms
        Indices of atoms (row,), increasing. Default: all of ``glass.rows()``.
    columns
        Names of columns, in the order of the result. Default: all.

    Returns
    -------
    subset
        The glass with these rows and columns.

    Raises
    ------
    ParameterError
        If atoms are excluded, lack a feature or are not increasing, or if a column is
        unknown.

    Examples
    --------
    >>> half = choose(glass, atoms=glass.rows()[2][::2])  # doctest: +SKIP
    """
    usable, names = glass.rows()[2], glass.columns()
    rows = usable if atoms is None else np.asarray(atoms, dtype=np.int64)
    if not np.isin(rows, usable).all() or (np.diff(rows) <= 0).any():
        raise ParameterError(
            f"{glass.name}: atoms must be increasing and among the {len(usable)} included atoms "
            "that have all features"
        )
    unknown = [name for name in columns or () if name not in names]
    if unknown:
        raise ParameterError(
            f"{glass.name} has no column {unknown[0]!r}; it has {', '.join(names[:3])}, ..."
        )
    given = {item.name: getattr(glass, item.name) for item in fields(Glass)}
    return ChosenGlass(**given, atoms=rows, names=names if columns is None else tuple(columns))


def resampled_regions(glass: Glass, atoms: IntArray) -> IntArray | None:
    """Return the region of each atom (row,), or None if all are in one region.

    ``bootstrap`` resamples atoms if it is given None.
    """
    regions = glass.regions()[atoms]
    return regions if len(np.unique(regions)) > 1 else None
