"""Sums of the barcode over groups of elements, against the energy.

Liu C. et al., Acta Mater. 259, 119281 (2023), Fig. 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray, IntArray
from mgdask.learn.evaluation.correlation import correlation_intervals
from mgdask.studies.barcode.elements import N_RESAMPLES, Barcodes
from mgdask.studies.barcode.polyhedra import KASPER, NON_KASPER
from mgdask.studies.barcode.records import Bounds, Record

BINS = 12
"""Number of bins of the energy."""


@dataclass(frozen=True, eq=False)
class BinnedCurve(Record):
    """Mean and standard deviation of a quantity in bins of the energy.

    Parameters
    ----------
    energy
        Centers (bin,) in eV per atom. Bins without samples are left out.
    mean, std
        Of the samples of the bin (bin,).
    count
        Number of samples (bin,).
    """

    energy: FloatArray
    mean: FloatArray
    std: FloatArray
    count: IntArray


@dataclass(frozen=True, eq=False)
class GroupSums(Record):
    """Sums of the barcode over each group, and their correlation with the energy.

    Parameters
    ----------
    run
        Run of each sample.
    energy
        Energy (sample,) in eV per atom.
    group1, group2, icosahedral
        Sums (sample,) over Kasper polyhedra, over the others, and over <0,0,12,0>.
    pearson
        Correlation of each sum with the energy, by the name of the sum.
    curves
        Each sum in bins of the energy, by the name of the sum.
    """

    run: tuple[str, ...]
    energy: FloatArray
    group1: FloatArray
    group2: FloatArray
    icosahedral: FloatArray
    pearson: dict[str, Bounds]
    curves: dict[str, BinnedCurve]


def group_sums(
    samples: Barcodes,
    icosahedral: npt.ArrayLike,
    *,
    bins: int = BINS,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> GroupSums:
    """Sum barcodes over each group, and correlate the sums with the energy.

    Parameters
    ----------
    samples
        Barcodes.
    icosahedral
        Whether the polyhedron of an element is <0,0,12,0> (element,).
    bins
        Number of bins of equal width between the lowest and the highest energy.
    n_resamples
        Number of resamples.
    seed
        Seed of the resamples.

    Returns
    -------
    sums
        Samples, correlations with intervals over runs, and binned curves.

    References
    ----------
    Liu C. et al., Acta Mater. 259, 119281 (2023), Fig. 7.
    """
    sums = {
        "group1": samples.values[:, samples.groups == KASPER].sum(axis=1),
        "group2": samples.values[:, samples.groups == NON_KASPER].sum(axis=1),
        "icosahedral": samples.values[:, np.asarray(icosahedral, dtype=bool)].sum(axis=1),
    }
    intervals = correlation_intervals(
        np.column_stack(list(sums.values())),
        samples.energy,
        np.array(samples.run),
        n_resamples=n_resamples,
        seed=seed,
    )
    return GroupSums(
        run=samples.run,
        energy=samples.energy,
        **sums,
        pearson={name: Bounds.of(one) for name, one in zip(sums, intervals, strict=True)},
        curves={name: binned(samples.energy, one, bins) for name, one in sums.items()},
    )


def binned(energy: FloatArray, values: FloatArray, bins: int = BINS) -> BinnedCurve:
    """Average values in bins of the energy.

    Parameters
    ----------
    energy
        Energy (sample,).
    values
        Values (sample,).
    bins
        Number of bins of equal width.

    Returns
    -------
    curve
        Bins that have samples.

    Examples
    --------
    >>> energy, values = np.array([0.0, 1.0, 9.0, 10.0]), np.array([1.0, 3.0, 5.0, 5.0])
    >>> curve = binned(energy, values, 2)
    >>> curve.energy.tolist(), curve.mean.tolist(), curve.std.tolist()
    ([2.5, 7.5], [2.0, 5.0], [1.0, 0.0])
    """
    edges = np.linspace(energy.min(), energy.max(), bins + 1)
    place = np.clip(np.searchsorted(edges, energy, side="right") - 1, 0, bins - 1)
    used = np.unique(place)
    parts = [values[place == k] for k in used]
    return BinnedCurve(
        energy=0.5 * (edges[used] + edges[used + 1]),
        mean=np.array([part.mean() for part in parts]),
        std=np.array([part.std() for part in parts]),
        count=np.array([len(part) for part in parts], dtype=np.int64),
    )
