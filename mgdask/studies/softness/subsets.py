"""A glass of which some atoms and some columns count, and where its intervals are resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.studies.softness.data import Glass

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenGlass(Glass):
    """A ``Glass`` whose rows are those of ``atoms`` (row,), increasing, and whose columns are ``names``."""

    atoms: Integer
    names: tuple[str, ...]

    def columns(self) -> tuple[str, ...]:
        """Names of the chosen columns."""
        return self.names

    def rows(self) -> tuple[Float, npt.NDArray[np.bool_], Integer]:
        """Features (row,column), label (row,) and row of the atom (row,) of the chosen atoms."""
        values, label, atoms = super().rows()
        at = np.searchsorted(atoms, self.atoms)
        there = super().columns()
        if self.names != there:
            values = values[:, [there.index(name) for name in self.names]]
        return values[at], label[at], self.atoms


def choose(
    glass: Glass, *, atoms: Integer | None = None, columns: Sequence[str] | None = None
) -> ChosenGlass:
    """The same glass with some of its atoms and columns only.

    Parameters: ``atoms`` rows of the trajectory (row,), None for all of ``glass.rows()``; ``columns`` of ``glass.columns()``, in the order
    wanted, None for all. ``ParameterError`` for atoms that do not count, lack a feature, or are not increasing, and for unknown columns.

    >>> half = choose(glass, atoms=glass.rows()[2][::2])  # doctest: +SKIP
    """
    there, names = glass.rows()[2], glass.columns()
    wanted = there if atoms is None else np.asarray(atoms, dtype=np.int64)
    if not np.isin(wanted, there).all() or (np.diff(wanted) <= 0).any():
        raise ParameterError(
            f"{glass.name}: atoms must be increasing and among the {len(there)} that count and have all features"
        )
    unknown = [name for name in columns or () if name not in names]
    if unknown:
        raise ParameterError(
            f"{glass.name} has no column {unknown[0]!r}; it has {', '.join(names[:3])}, ..."
        )
    given = {item.name: getattr(glass, item.name) for item in fields(Glass)}
    return ChosenGlass(**given, atoms=wanted, names=names if columns is None else tuple(columns))


def resampled_regions(glass: Glass, atoms: Integer) -> Integer | None:
    """Region of each atom (row,) for ``bootstrap``; None, which resamples atoms, where all lie in one region."""
    where = glass.regions()[atoms]
    return where if len(np.unique(where)) > 1 else None
