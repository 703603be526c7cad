"""Barcodes of driven and of thermal samples at equal energy.

Liu C. et al., Acta Mater. 259, 119281 (2023), section 3.3 and Fig. 6, compare samples
made by cooling with samples driven by shear. They measure the heterogeneity by the
standard deviation of the difference of two barcodes. Here the same quantity is also
computed between independent coolings, which shows how much of it is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import coded
from mgdask.studies.barcode.elements import Barcodes
from mgdask.studies.barcode.matching import (
    Draws,
    counting_noise,
    draw,
    halvings,
    pairwise_std,
    split_difference,
    sum_pairs,
    sum_ratios,
)
from mgdask.studies.barcode.polyhedra import KASPER, NON_KASPER
from mgdask.studies.barcode.records import Bounds, Record
from mgdask.studies.barcode.strain import StrainSpread

TOLERANCE = 0.25e-3
"""Maximum difference between energies that count as equal, in eV per atom.

For 2000 atoms it is 0.5 eV, about half of the 0.98 eV error of the paper's model. It is
a quarter of the spread of the energies along steady shear flow.
"""
N_RESAMPLES = 1000
NOTE = (
    "delta s is the difference of the barcodes of one thermal and one driven sample whose energies "
    "per atom differ by at most the tolerance; its standard deviation is over the elements of a "
    "group, and is averaged over all such pairs. The control takes pairs of thermal samples of "
    "different coolings at the energies of the same driven samples. Counting noise is the value "
    "for two samples of one underlying barcode, because each has a finite number of atoms."
)


class NoEqualEnergyError(ParameterError):
    """No driven sample has the energy of thermal samples."""


@dataclass(frozen=True, eq=False)
class GroupContrast(Record):
    """Difference of the barcodes within one group of elements.

    Parameters
    ----------
    group
        1 for Kasper polyhedra, 2 for all others.
    n_elements
        Number of elements of the group. With fewer than 2, all numbers are NaN.
    std
        Mean over pairs of the standard deviation of delta s over the elements.
    std_spread
        Standard deviation of it over pairs.
    control
        The same mean over pairs of thermal samples of different runs.
    excess
        ``std`` minus ``control``, from the same resamples. An effect of driving is
        supported only if this interval lies above 0.
    counting_noise
        Root mean square that counting a finite number of atoms alone gives.
    ratio
        Sum over the group of the thermal samples, divided by that of the driven ones.
    ratio_control
        The same ratio between thermal samples of different runs.
    std_of_means
        Standard deviation over the elements of the difference of mean barcodes.
    halves
        The same between the two halves of the thermal runs, for each way to halve them.
    single_runs
        The same between each thermal run and the others (run,).
    share_of_halves_below, share_of_single_runs_below
        Fractions of ``halves`` and of ``single_runs`` that are smaller than
        ``std_of_means``.
    """

    group: int
    n_elements: int
    std: Bounds
    std_spread: float
    control: Bounds
    excess: Bounds
    counting_noise: float
    ratio: Bounds
    ratio_control: Bounds
    std_of_means: float
    halves: FloatArray
    single_runs: FloatArray
    share_of_halves_below: float
    share_of_single_runs_below: float


@dataclass(frozen=True, eq=False)
class Comparison(Record):
    """One set of driven samples, compared with thermal samples of equal energy.

    Parameters
    ----------
    name
        Name of the driven set.
    tolerance
        Largest difference of energies in eV per atom.
    n_driven, n_matched, n_pairs
        Number of driven samples, of those with a thermal sample of equal energy, and of
        pairs.
    n_thermal_runs
        Number of thermal runs that have samples of these energies.
    energy
        Energy (sample,) of the matched driven samples in eV per atom.
    driven
        Their barcodes (sample, element).
    thermal
        Mean barcode (sample, element) of the thermal samples of equal energy.
    delta
        Mean of thermal minus driven (element,).
    labels, groups
        Names and groups of the elements.
    contrasts
        One per group.
    strain
        Von Mises strain of the driven set; None if it was not computed.
    """

    name: str
    tolerance: float
    n_driven: int
    n_matched: int
    n_pairs: int
    n_thermal_runs: int
    energy: FloatArray
    driven: FloatArray
    thermal: FloatArray
    delta: FloatArray
    labels: tuple[str, ...]
    groups: IntArray
    contrasts: tuple[GroupContrast, ...]
    strain: StrainSpread | None = None

    def with_strain(self, strain: StrainSpread) -> Comparison:
        """Return the comparison with the strain of the driven set.

        Parameters
        ----------
        strain
            Its von Mises strain.
        """
        return replace(self, strain=strain)


@dataclass(frozen=True, eq=False)
class Heterogeneity(Record):
    """All comparisons.

    Parameters
    ----------
    comparisons
        One per driven set.
    left_out
        Why a driven set is not compared, in words, one per such set.
    note
        How pairs and control are made, in words.
    """

    comparisons: tuple[Comparison, ...]
    left_out: tuple[str, ...] = ()
    note: str = NOTE


def compare(
    name: str,
    thermal: Barcodes,
    driven: Barcodes,
    *,
    tolerance: float = TOLERANCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare driven samples with thermal ones of equal energy.

    Parameters
    ----------
    name
        Name of the driven set.
    thermal, driven
        Barcodes of the same elements.
    tolerance
        Largest difference of energies that count as equal, in eV per atom.
    n_resamples
        Number of resamples, at least 20.
    seed
        Seed of the resamples.

    Returns
    -------
    The comparison.

    Raises
    ------
    NoEqualEnergyError
        If no energies are equal.
    ParameterError
        If elements differ, or the thermal samples have fewer than two runs.

    Notes
    -----
    Thermal runs are drawn whole. Driven runs are drawn whole if there are at least 5;
    otherwise blocks of 5 successive samples are drawn. The interval is then too narrow,
    and is marked as unreliable.
    """
    _check(name, thermal, driven, tolerance)
    runs, run = coded("run", list(thermal.run))
    near = np.abs(driven.energy[:, None] - thermal.energy) <= tolerance
    member = (run[:, None] == np.arange(len(runs))).astype(np.float64)
    runs_of = (near @ member) > 0
    matched = runs_of.sum(axis=1) >= 2  # the control needs two runs
    if not matched.any():
        gap = np.abs(driven.energy[:, None] - thermal.energy).min()
        raise NoEqualEnergyError(
            f"{name}: no sample has an energy within {tolerance:g} eV per atom of samples of two "
            f"thermal runs. The smallest difference to any sample is {gap:.3g} eV per atom. "
            f"Energies are {driven.energy.min():.4f} to {driven.energy.max():.4f} (driven) and "
            f"{thermal.energy.min():.4f} to {thermal.energy.max():.4f} (thermal). Give a larger "
            "tolerance or other samples"
        )
    kept, near = driven.take(matched), near[matched]
    draws = draw(kept, len(runs), n_resamples, seed)
    reference = (near @ thermal.values) / near.sum(axis=1)[:, None]
    return Comparison(
        name=name,
        tolerance=tolerance,
        n_driven=len(driven.energy),
        n_matched=int(matched.sum()),
        n_pairs=int(near.sum()),
        n_thermal_runs=int(runs_of[matched].any(axis=0).sum()),
        energy=kept.energy,
        driven=kept.values,
        thermal=reference,
        delta=(reference - kept.values).mean(axis=0),
        labels=thermal.labels,
        groups=thermal.groups,
        contrasts=tuple(
            _contrast(group, thermal, kept, near, run, member, draws)
            for group in (KASPER, NON_KASPER)
        ),
    )


def _contrast(
    group: int,
    thermal: Barcodes,
    driven: Barcodes,
    near: BoolArray,
    run: IntArray,
    member: FloatArray,
    draws: Draws,
) -> GroupContrast:
    columns = thermal.groups == group
    if columns.sum() < 2:
        return _undefined(group, int(columns.sum()), member.shape[1])
    warm, other = thermal.values[:, columns], driven.values[:, columns]
    std = pairwise_std(warm, other)
    spread = sum_pairs(warm, std, near, member)
    mean, control = spread.means(draws.driven, draws.runs)
    ratio, ratio_control = sum_ratios(warm, other, near, member, draws)
    difference = ((near @ warm) / near.sum(axis=1)[:, None] - other).mean(axis=0)
    splits = [np.isin(run, half) for half in halvings(member.shape[1])]
    halves = np.array([split_difference(near, warm, first) for first in splits])
    single = np.array([split_difference(near, warm, one > 0) for one in member.T])
    pairs = std[near]
    return GroupContrast(
        group=group,
        n_elements=int(columns.sum()),
        std=draws.bounds(mean),
        std_spread=float(pairs.std()),
        control=draws.bounds(control),
        excess=draws.bounds(mean - control),
        counting_noise=counting_noise(thermal, driven, near, columns),
        ratio=draws.bounds(ratio),
        ratio_control=draws.bounds(ratio_control),
        std_of_means=float(difference.std()),
        halves=halves,
        single_runs=single,
        share_of_halves_below=_share_below(halves, float(difference.std())),
        share_of_single_runs_below=_share_below(single, float(difference.std())),
    )


def _undefined(group: int, n_elements: int, n_runs: int) -> GroupContrast:
    """Return NaN for a group with too few elements for a standard deviation."""
    nan = float("nan")
    none = Bounds(nan, reliable=False, note=f"the group has {n_elements} elements")
    halves, single = np.full(len(halvings(n_runs)), nan), np.full(n_runs, nan)
    return GroupContrast(
        group, n_elements, none, nan, none, none, nan, none, none, nan, halves, single, nan, nan
    )


def _share_below(values: FloatArray, limit: float) -> float:
    defined = values[np.isfinite(values)]
    return float((defined < limit).mean()) if len(defined) else float("nan")


def _check(name: str, thermal: Barcodes, driven: Barcodes, tolerance: float) -> None:
    if not 0.0 < tolerance < np.inf:
        raise ParameterError(f"tolerance={tolerance} must be an energy above 0 in eV per atom")
    if thermal.labels != driven.labels or not np.array_equal(thermal.groups, driven.groups):
        raise ParameterError(
            f"{name}: the driven samples have {len(driven.labels)} elements and the thermal ones "
            f"{len(thermal.labels)}, or their groups differ; make both from one table"
        )
    if len(set(thermal.run)) < 2:
        raise ParameterError(
            f"{name}: the thermal samples are of one run, {str(thermal.run[0])!r}. Two independent "
            "runs are needed to distinguish an effect of driving from chance"
        )


def heterogeneity(
    thermal: Barcodes,
    driven: Sequence[tuple[str, Barcodes]],
    *,
    tolerance: float = TOLERANCE,
    strain: Callable[[str], StrainSpread | None] = lambda name: None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Heterogeneity:
    """Compare several driven sets with the thermal samples.

    Parameters
    ----------
    thermal
        Barcodes of the thermal samples.
    driven
        Name and barcodes of each driven set.
    tolerance
        Largest difference of energies that count as equal, in eV per atom.
    strain
        Function that returns the strain of a set by its name, or None.
    n_resamples
        Number of resamples.
    seed
        Seed of the resamples.

    Returns
    -------
    The comparisons, in the order of ``driven``. Sets whose energies no thermal sample
    has are left out.
    """
    comparisons, left_out = [], []
    for name, one in driven:
        try:
            found = compare(
                name, thermal, one, tolerance=tolerance, n_resamples=n_resamples, seed=seed
            )
        except NoEqualEnergyError as error:
            left_out.append(str(error))
            continue
        spread = strain(name)
        comparisons.append(found if spread is None else found.with_strain(spread))
    return Heterogeneity(tuple(comparisons), tuple(left_out))
