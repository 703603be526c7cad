"""Barcodes of driven and of thermal samples at equal energy.

Liu C. et al., Acta Mater. 259, 119281 (2023), section 3.3 and Fig. 6, compare samples
made by cooling with samples driven by shear. They read the heterogeneity off the
standard deviation of the difference of two barcodes. Here the same number is also taken
between independent coolings, which shows how much of it is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import coded, generator
from mgdask.learn.evaluation.bootstrap import MIN_GROUPS, interval_ends
from mgdask.studies.barcode.elements import Barcodes
from mgdask.studies.barcode.polyhedra import KASPER, NON_KASPER
from mgdask.studies.barcode.records import Bounds, Record
from mgdask.studies.barcode.strain import StrainSpread

TOLERANCE = 0.25e-3
"""Largest difference of energies that count as equal, in eV per atom.

It is 0.5 eV for 2000 atoms: less than the error of 1 meV per atom of the model of the
paper, and a quarter of the spread of the energies along steady shear flow.
"""
N_RESAMPLES = 1000
BLOCK = 5
"""Number of successive samples of one driven run that are resampled together."""
NOTE = (
    "delta s is the difference of the barcodes of one thermal and one driven sample whose energies "
    "per atom differ by at most the tolerance; its standard deviation is over the elements of a "
    "group, and is averaged over all such pairs. The control takes pairs of thermal samples of "
    "different coolings at the energies of the same driven samples. Counting noise is what two "
    "samples of one and the same barcode would give, because each has a finite number of atoms."
)


@dataclass(frozen=True, eq=False)
class GroupContrast(Record):
    """Difference of the barcodes within one group of elements.

    Parameters
    ----------
    group
        1 for Kasper polyhedra, 2 for all others.
    n_elements
        Number of elements of the group.
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
    share_of_halves_below
        Fraction of ``halves`` that are smaller than ``std_of_means``.
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
    note
        How pairs and control are made, in words.
    """

    comparisons: tuple[Comparison, ...]
    note: str = NOTE


@dataclass(frozen=True, eq=False)
class _Matches:
    """Sums over pairs of samples of equal energy.

    ``driven`` (driven, run) sums a quantity over pairs of a driven sample and a thermal
    one of the run; ``thermal`` (driven, run, run) sums it over pairs of thermal samples
    of two runs that both match the driven one. ``n_driven`` and ``n_thermal`` are the
    numbers of pairs.
    """

    driven: FloatArray
    thermal: FloatArray
    n_driven: FloatArray
    n_thermal: FloatArray

    def means(self, weight: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean over driven samples of the mean over their pairs: driven and control.

        ``weight`` (resample, driven) and ``counts`` (resample, run) say how often each
        is drawn. Pairs within one run do not count.
        """
        pairs = counts @ self.n_driven.T
        control_pairs = np.einsum("bi,bj,dij->bd", counts, counts, self.n_thermal, optimize=True)
        control = np.einsum("bi,bj,dij->bd", counts, counts, self.thermal, optimize=True)
        # the same driven samples for both, so that both have the same energies
        used = weight * ((pairs > 0) & (control_pairs > 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            each = np.where(used > 0, (counts @ self.driven.T) / pairs, 0.0)
            each_control = np.where(used > 0, control / control_pairs, 0.0)
            total = used.sum(axis=1)
            return (used * each).sum(axis=1) / total, (used * each_control).sum(axis=1) / total


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
    ParameterError
        If elements differ, the thermal samples have fewer than two runs, or no energies
        are equal.

    Notes
    -----
    Thermal runs are drawn whole. Driven runs are drawn whole if there are at least 5;
    otherwise blocks of 5 successive samples are drawn, since there is no more
    information. The interval is then too narrow, and marked as unreliable.
    """
    _check(name, thermal, driven, tolerance)
    runs, run = coded("run", list(thermal.run))
    near = np.abs(driven.energy[:, None] - thermal.energy) <= tolerance
    member = (run[:, None] == np.arange(len(runs))).astype(np.float64)
    runs_of = (near @ member) > 0
    matched = runs_of.sum(axis=1) >= 2  # the control needs two runs
    if not matched.any():
        gap = np.abs(driven.energy[:, None] - thermal.energy).min()
        raise ParameterError(
            f"{name}: no sample has an energy within {tolerance:g} eV per atom of samples of two "
            f"thermal runs. The smallest difference to any sample is {gap:.3g} eV per atom. Energies "
            f"are {driven.energy.min():.4f} to {driven.energy.max():.4f} (driven) and "
            f"{thermal.energy.min():.4f} to {thermal.energy.max():.4f} (thermal). Give a larger "
            "tolerance or other samples"
        )
    kept, near = driven.take(matched), near[matched]
    draws = _draws(kept, len(runs), n_resamples, seed)
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
            if (thermal.groups == group).sum() >= 2
        ),
    )


@dataclass(frozen=True, eq=False)
class _Draws:
    """How often driven samples (resample, sample) and thermal runs (resample, run) are drawn.

    The first row is the data itself.
    """

    driven: FloatArray
    runs: FloatArray
    resampled: str
    note: str

    def bounds(self, values: FloatArray) -> Bounds:
        low, high = interval_ends(values[1:], 0.95)
        return Bounds(
            value=float(values[0]),
            low=float(low),
            high=float(high),
            resampled=self.resampled,
            groups=self.runs.shape[1],
            reliable=not self.note,
            note=self.note,
        )


def _draws(driven: Barcodes, n_runs: int, n_resamples: int, seed: int) -> _Draws:
    if n_resamples < 20:
        raise ParameterError(f"n_resamples={n_resamples} must be at least 20")
    rng = generator(seed)
    names, run = coded("run", list(driven.run))
    few = len(names) < MIN_GROUPS
    unit = run
    if few:
        # blocks of successive samples of each run
        place = np.array([int((run[:k] == run[k]).sum()) for k in range(len(run))])
        _, unit = np.unique(np.column_stack([run, place // BLOCK]), axis=0, return_inverse=True)
        unit = unit.reshape(-1)
    n_units = int(unit.max()) + 1

    def drawn(number: int) -> FloatArray:
        counts = rng.multinomial(number, np.full(number, 1.0 / number), size=n_resamples)
        return np.vstack([np.ones(number), counts]).astype(np.float64)

    notes = []
    if few:
        notes.append(f"{len(names)} driven runs: blocks of {BLOCK} successive samples are drawn")
    if n_runs < MIN_GROUPS:
        notes.append(f"{n_runs} thermal runs are too few to estimate their spread")
    what = f"thermal runs and driven {'blocks' if few else 'runs'}"
    return _Draws(drawn(n_units)[:, unit], drawn(n_runs), what, "; ".join(notes))


def _contrast(
    group: int,
    thermal: Barcodes,
    driven: Barcodes,
    near: BoolArray,
    run: IntArray,
    member: FloatArray,
    draws: _Draws,
) -> GroupContrast:
    columns = thermal.groups == group
    warm, other = thermal.values[:, columns], driven.values[:, columns]
    std = _pairwise_std(warm, other)
    spread = _matches(warm, std, near, member)
    mean, control = spread.means(draws.driven, draws.runs)
    ratio, ratio_control = _ratios(warm, other, near, member, draws)
    difference = ((near @ warm) / near.sum(axis=1)[:, None] - other).mean(axis=0)
    splits = [np.isin(run, half) for half in _halvings(member.shape[1])]
    halves = np.array([_split_difference(near, warm, first) for first in splits])
    single = np.array([_split_difference(near, warm, one > 0) for one in member.T])
    defined = halves[np.isfinite(halves)]
    pairs = std[near]
    return GroupContrast(
        group=group,
        n_elements=int(columns.sum()),
        std=draws.bounds(mean),
        std_spread=float(pairs.std()),
        control=draws.bounds(control),
        excess=draws.bounds(mean - control),
        counting_noise=_counting_noise(thermal, driven, near, columns),
        ratio=draws.bounds(ratio),
        ratio_control=draws.bounds(ratio_control),
        std_of_means=float(difference.std()),
        halves=halves,
        single_runs=single,
        share_of_halves_below=float((defined < difference.std()).mean()),
    )


def _pairwise_std(one: FloatArray, other: FloatArray) -> FloatArray:
    """Standard deviation over elements of other[i] - one[j], for all i and j."""
    return np.stack([(one - row).std(axis=1) for row in other])


def _matches(
    warm: FloatArray, std: FloatArray, near: BoolArray, member: FloatArray
) -> _Matches:
    """Sum standard deviations over pairs of samples of equal energy, by run."""
    n_driven, n_runs = len(near), member.shape[1]
    thermal, n_thermal = np.zeros((2, n_driven, n_runs, n_runs))
    for k, mask in enumerate(near):
        rows = np.flatnonzero(mask)
        own = member[rows]
        thermal[k] = own.T @ _pairwise_std(warm[rows], warm[rows]) @ own
        n_thermal[k] = np.outer(own.sum(axis=0), own.sum(axis=0))
    diagonal = np.arange(n_runs)
    thermal[:, diagonal, diagonal] = n_thermal[:, diagonal, diagonal] = 0.0
    return _Matches(
        driven=np.where(near, std, 0.0) @ member,
        thermal=thermal,
        n_driven=near @ member,
        n_thermal=n_thermal,
    )


def _ratios(
    warm: FloatArray,
    other: FloatArray,
    near: BoolArray,
    member: FloatArray,
    draws: _Draws,
) -> tuple[FloatArray, FloatArray]:
    """Ratios (resample,) of group sums: thermal over driven, and run over other runs."""
    sums, own = warm.sum(axis=1), other.sum(axis=1)
    total, count = (near * sums) @ member, near @ member  # (driven, run)
    drawn, n_drawn = draws.runs @ total.T, draws.runs @ count.T
    weight = draws.driven * (n_drawn > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(weight > 0, drawn / n_drawn, 0.0)
        ratio = (weight * mean).sum(axis=1) / (weight * own).sum(axis=1)
        # each run in turn is the "driven" one, at the same energies
        parts = []
        for r in range(member.shape[1]):
            rest = draws.runs.copy()
            rest[:, r] = 0.0
            n_rest = rest @ count.T
            both = draws.driven * (n_rest > 0) * (count[:, r] > 0)
            one = np.divide(total[:, r], count[:, r], where=count[:, r] > 0, out=np.zeros(len(near)))
            reference = np.where(both > 0, (rest @ total.T) / n_rest, 0.0)
            value = (both * reference).sum(axis=1) / (both * one).sum(axis=1)
            parts.append((value, draws.runs[:, r] * np.isfinite(value)))
        values, weights = (np.stack(part) for part in zip(*parts, strict=True))
        control = (weights * np.nan_to_num(values)).sum(axis=0) / weights.sum(axis=0)
    return ratio, control


def _split_difference(near: BoolArray, warm: FloatArray, first: BoolArray) -> float:
    """Standard deviation over elements of the difference of two parts' mean barcodes.

    Each part is averaged at the energies of those driven samples that both can match.
    """
    one, other = near & first, near & ~first
    both = one.any(axis=1) & other.any(axis=1)
    if not both.any():
        return float("nan")
    means = [
        (half[both] @ warm) / half[both].sum(axis=1)[:, None] for half in (one, other)
    ]
    return float((means[0] - means[1]).mean(axis=0).std())


def _halvings(n_runs: int) -> list[tuple[int, ...]]:
    """All ways to halve the runs; of even numbers each way once."""
    ways = list(combinations(range(n_runs), n_runs // 2))
    return ways if n_runs % 2 else ways[: len(ways) // 2]


def _counting_noise(
    thermal: Barcodes, driven: Barcodes, near: BoolArray, columns: BoolArray
) -> float:
    """Root mean square standard deviation of delta s from multinomial counts alone.

    With c = 1/n + 1/n' for the numbers n, n' of atoms in elements, the covariance of
    delta s is c (diag(s) - s s^T). The mean variance over K elements is its trace / K
    minus its sum / K^2.
    """
    k = int(columns.sum())
    squares = []
    for row, mask in enumerate(near):
        rows = np.flatnonzero(mask)
        s = 0.5 * (thermal.values[rows][:, columns] + driven.values[row, columns])
        n_warm = np.maximum(thermal.covered[rows] * thermal.n_atoms[rows], 1.0)
        n_own = max(float(driven.covered[row] * driven.n_atoms[row]), 1.0)
        trace = (s * (1.0 - s)).sum(axis=1) / k
        whole = (s.sum(axis=1) - s.sum(axis=1) ** 2) / k**2
        squares.append((trace - whole) * (1.0 / n_warm + 1.0 / n_own))
    return float(np.sqrt(np.concatenate(squares).mean()))


def _check(name: str, thermal: Barcodes, driven: Barcodes, tolerance: float) -> None:
    if not 0.0 < tolerance < np.inf:
        raise ParameterError(f"tolerance={tolerance} must be an energy above 0 in eV per atom")
    if thermal.labels != driven.labels or not np.array_equal(thermal.groups, driven.groups):
        raise ParameterError(
            f"{name}: the driven samples have {len(driven.labels)} elements and the thermal ones "
            f"{len(thermal.labels)}, or other groups; make both from one table"
        )
    if len(set(thermal.run)) < 2:
        raise ParameterError(
            f"{name}: the thermal samples are of one run, {thermal.run[0]!r}. Two independent runs "
            "are needed to tell an effect of driving from chance"
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
    The comparisons, in the order of ``driven``.
    """
    comparisons = []
    for name, one in driven:
        found = compare(
            name, thermal, one, tolerance=tolerance, n_resamples=n_resamples, seed=seed
        )
        spread = strain(name)
        comparisons.append(found if spread is None else found.with_strain(spread))
    return Heterogeneity(tuple(comparisons))
