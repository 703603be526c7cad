"""The target barcode of a search, its distance, and a goal for each atom.

The distance of a sample with fractions f to the target fractions t of some entries is
half of the sum of |f_k - t_k|, where all other entries count as one. It is the total
variation: the smallest fraction of atoms that must change their entry.

Most moves change no entry, so this distance gives no direction. Each atom that must
change therefore gets an entry as its goal. Its excess is

    u_i = |p_i - q_goal|^2 - |p_i - q_nearest|^2 >= 0,

which vanishes if and only if the atom is assigned to its goal. Goals assign atoms to
the target counts with the smallest sum of excesses (the Hungarian method).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.kernels.nearest import squared_distances
from mgdask.studies.barcode.moving import MovingSample

FREE = -1
"""Goal of an atom that may be in any entry without a target."""
ROUNDING = 1e-6
"""Maximum excess of the sum of target fractions over 1."""


@dataclass(frozen=True)
class Wanted:
    """Target fractions of some entries; the others share the rest.

    Parameters
    ----------
    entry
        Entries (wanted,) in ascending order.
    fraction
        Target fraction (wanted,) of atoms in each.
    n_entries
        Number of entries of the dictionary.
    """

    entry: IntArray
    fraction: FloatArray
    n_entries: int

    def distance(self, counts: IntArray) -> float:
        """Return the total variation between a sample and the target fractions.

        Parameters
        ----------
        counts
            Number of atoms (entry,) per entry of the dictionary.
        """
        n_atoms = int(counts.sum())
        have = counts[self.entry]
        rest = (n_atoms - int(have.sum())) / n_atoms - self.rest
        return 0.5 * (float(np.abs(have / n_atoms - self.fraction).sum()) + abs(rest))

    @property
    def rest(self) -> float:
        """Target fraction of all other entries together."""
        return max(0.0, 1.0 - float(self.fraction.sum()))

    def counts(self, n_atoms: int) -> IntArray:
        """Return the target number of atoms (wanted + 1,); the last is for the rest.

        The largest remainders are rounded up.
        """
        exact = np.append(self.fraction, self.rest)
        exact = exact / exact.sum() * n_atoms
        counts = np.floor(exact).astype(np.int64)
        missing = n_atoms - int(counts.sum())
        counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
        result: IntArray = counts
        return result

    def goals(self, sample: MovingSample) -> tuple[IntArray, FloatArray]:
        """Return the goal (atom,) of every atom, ``FREE`` or an entry, and the excess.

        Parameters
        ----------
        sample
            Sample in its present state.
        """
        vectors = sample.entries.index.vectors
        is_wanted = np.zeros(self.n_entries, dtype=bool)
        is_wanted[self.entry] = True
        to_wanted = squared_distances(sample.rows, vectors[self.entry])
        to_wanted -= sample.squared_distance[:, None]
        other, to_other = self._nearest_other(sample, is_wanted)
        if sample.entries.species is not None:
            alien = sample.entries.species[self.entry] != sample.numbers[:, None]
            to_wanted[alien] = np.inf
        cost = np.column_stack([to_wanted, to_other - sample.squared_distance])
        counts = self.counts(len(sample))
        slots = np.repeat(np.arange(len(counts)), counts)
        # an impossible goal costs more than any sum of possible ones
        limit = 1e3 * len(sample)
        atoms, taken = linear_sum_assignment(np.minimum(cost, limit)[:, slots])
        goal, excess = np.full(len(sample), FREE), np.zeros(len(sample))
        chosen = slots[taken]
        rest = chosen == len(self.entry)
        goal[atoms[~rest]] = self.entry[chosen[~rest]]
        leaving = atoms[rest & is_wanted[sample.entry[atoms]]]
        goal[leaving] = other[leaving]
        excess[atoms] = np.where(np.isfinite(cost[atoms, chosen]), cost[atoms, chosen], 0.0)
        goal[atoms[~np.isfinite(cost[atoms, chosen])]] = FREE
        excess[(goal == sample.entry) | (goal == FREE)] = 0.0
        return goal, np.maximum(excess, 0.0)

    def _nearest_other(
        self, sample: MovingSample, is_wanted: BoolArray
    ) -> tuple[IntArray, FloatArray]:
        """Return the nearest entry without a target, and its squared distance."""
        others = np.flatnonzero(~is_wanted)
        nearest, squared = sample.entry.copy(), sample.squared_distance.copy()
        for number in np.unique(sample.numbers):
            atoms = np.flatnonzero(is_wanted[sample.entry] & (sample.numbers == number))
            allowed = others
            if sample.entries.species is not None:
                allowed = others[sample.entries.species[others] == number]
            if not len(allowed):
                squared[atoms] = np.inf
            elif len(atoms):
                d = squared_distances(sample.rows[atoms], sample.entries.index.vectors[allowed])
                at = d.argmin(axis=1)
                nearest[atoms], squared[atoms] = allowed[at], d[np.arange(len(atoms)), at]
        return nearest, squared


def excess(
    rows: FloatArray,
    entry: IntArray,
    squared_distance: FloatArray,
    goal: IntArray,
    vectors: FloatArray,
) -> FloatArray:
    """Return the excess (row,) of some atoms, zero if they are at their goal.

    Parameters
    ----------
    rows
        SOAP rows (row, column) of norm 1.
    entry
        Nearest entries (row,).
    squared_distance
        Squared distances (row,) to them.
    goal
        Goals (row,) of the atoms.
    vectors
        Vectors (entry, column) of the dictionary.
    """
    out = np.zeros(len(rows))
    away = np.flatnonzero((goal != FREE) & (goal != entry))
    for i in away:
        d = rows[i] - vectors[goal[i]]
        out[i] = max(0.0, float((d * d).sum()) - squared_distance[i])
    return out


def wanted_fractions(target: Mapping[int, float] | npt.ArrayLike, n_entries: int) -> Wanted:
    """Check the target fractions.

    Parameters
    ----------
    target
        Fraction by entry, or fractions (entry,) of all entries. NaN means that an entry
        has no target.
    n_entries
        Number of entries of the dictionary.

    Returns
    -------
    The target fractions.

    Raises
    ------
    ParameterError
        If an entry does not exist, or fractions are not within 0 and 1.
    """
    if isinstance(target, Mapping):
        try:
            pairs = sorted((int(entry), float(fraction)) for entry, fraction in target.items())
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"target must give a number per entry, such as {{12: 0.05}}: {error}"
            ) from error
        entry = np.array([each for each, _ in pairs], dtype=np.int64)
        fraction = np.array([each for _, each in pairs], dtype=np.float64)
    else:
        values = np.asarray(target, dtype=np.float64)
        if values.shape != (n_entries,):
            raise ParameterError(
                f"target has shape {values.shape}; it must be a fraction for each of the "
                f"{n_entries} entries of the dictionary, or a mapping from entries to fractions"
            )
        entry = np.flatnonzero(~np.isnan(values))
        fraction = values[entry]
    if not len(entry):
        raise ParameterError("target names no entry; give a fraction for at least one")
    wrong = entry[(entry < 0) | (entry >= n_entries)]
    if len(wrong):
        raise ParameterError(
            f"target names entry {wrong[0]}, but the dictionary has the entries 0 to "
            f"{n_entries - 1}"
        )
    bad = np.flatnonzero(~((fraction >= 0.0) & (fraction <= 1.0)))
    if len(bad):
        raise ParameterError(
            f"target[{entry[bad[0]]}]={fraction[bad[0]]:g} must be a fraction between 0 and 1"
        )
    if fraction.sum() > 1.0 + ROUNDING:
        raise ParameterError(
            f"the fractions of target add up to {fraction.sum():.6g}; at most 1 is possible"
        )
    return Wanted(entry, fraction, n_entries)


__all__ = ["FREE", "Wanted", "excess", "wanted_fractions"]
