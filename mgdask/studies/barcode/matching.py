"""Pairs of samples of equal energy, and their differences.

Samples of different runs are independent; those of one run are not. Pairs are therefore
summed by run, and resamples draw whole runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np

from mgdask._typing import BoolArray, FloatArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import coded, generator
from mgdask.learn.evaluation.bootstrap import MIN_GROUPS, interval_ends
from mgdask.studies.barcode.elements import Barcodes
from mgdask.studies.barcode.records import Bounds

BLOCK = 5
"""Number of successive samples of one driven run that are resampled together."""
MAX_HALVINGS = 500
"""Maximum number of ways to halve the thermal runs that are tried."""


@dataclass(frozen=True, eq=False)
class PairSums:
    """Sums over pairs of samples of equal energy.

    Parameters
    ----------
    driven
        Sum (driven, run) over pairs of a driven sample and a thermal one of the run.
    thermal
        Sum (driven, run, run) over pairs of thermal samples of two runs that both match
        the driven sample.
    n_driven, n_thermal
        Numbers of these pairs.
    """

    driven: FloatArray
    thermal: FloatArray
    n_driven: FloatArray
    n_thermal: FloatArray

    def means(self, weight: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Average over driven samples the mean over their pairs.

        Parameters
        ----------
        weight
            How often each driven sample is drawn (resample, driven).
        counts
            How often each thermal run is drawn (resample, run).

        Returns
        -------
        driven, control
            Means (resample,) over pairs with driven samples, and over pairs of thermal
            samples of different runs.
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


@dataclass(frozen=True, eq=False)
class Draws:
    """Resamples of driven samples and of thermal runs. The first is the data itself.

    Parameters
    ----------
    driven
        How often each driven sample is drawn (resample, sample).
    runs
        How often each thermal run is drawn (resample, run).
    resampled
        What was drawn, in words.
    note
        Why the intervals are not reliable; empty if they are.
    """

    driven: FloatArray
    runs: FloatArray
    resampled: str
    note: str

    def bounds(self, values: FloatArray) -> Bounds:
        """Return value and 95 % interval from the values (resample,)."""
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


def draw(driven: Barcodes, n_runs: int, n_resamples: int, seed: int) -> Draws:
    """Draw driven samples, and thermal runs as a whole.

    Parameters
    ----------
    driven
        Barcodes of the driven samples. Whole runs are drawn if there are at least 5,
        otherwise blocks of successive samples.
    n_runs
        Number of thermal runs.
    n_resamples
        Number of resamples, at least 20.
    seed
        Seed.
    """
    if n_resamples < 20:
        raise ParameterError(f"n_resamples={n_resamples} must be at least 20; 1000 is customary")
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
    return Draws(drawn(n_units)[:, unit], drawn(n_runs), what, "; ".join(notes))


def pairwise_std(one: FloatArray, other: FloatArray) -> FloatArray:
    """Compute the standard deviation over elements of all differences of barcodes.

    Parameters
    ----------
    one, other
        Barcodes (sample, element).

    Returns
    -------
    std
        Shape (other sample, sample). Values below 1e-8 are rounding noise.
    """
    n_elements = one.shape[1]
    first, second = (part - part.mean(axis=1)[:, None] for part in (one, other))
    own, others = (first**2).sum(axis=1), (second**2).sum(axis=1)
    squares = others[:, None] + own - 2.0 * (second @ first.T)
    result: FloatArray = np.sqrt(np.maximum(squares, 0.0) / n_elements)
    return result


def sum_pairs(warm: FloatArray, std: FloatArray, near: BoolArray, member: FloatArray) -> PairSums:
    """Sum standard deviations over pairs of samples of equal energy, by run.

    Parameters
    ----------
    warm
        Barcodes (thermal, element) of the thermal samples.
    std
        Standard deviations (driven, thermal), from ``pairwise_std``.
    near
        Whether energies are equal (driven, thermal).
    member
        1 for the run of each thermal sample, 0 for others (thermal, run).
    """
    n_driven, n_runs = len(near), member.shape[1]
    thermal, n_thermal = np.zeros((2, n_driven, n_runs, n_runs))
    for k, mask in enumerate(near):
        rows = np.flatnonzero(mask)
        own = member[rows]
        thermal[k] = own.T @ pairwise_std(warm[rows], warm[rows]) @ own
        n_thermal[k] = np.outer(own.sum(axis=0), own.sum(axis=0))
    diagonal = np.arange(n_runs)
    thermal[:, diagonal, diagonal] = n_thermal[:, diagonal, diagonal] = 0.0
    return PairSums(
        driven=np.where(near, std, 0.0) @ member,
        thermal=thermal,
        n_driven=near @ member,
        n_thermal=n_thermal,
    )


def sum_ratios(
    warm: FloatArray, other: FloatArray, near: BoolArray, member: FloatArray, draws: Draws
) -> tuple[FloatArray, FloatArray]:
    """Divide sums of barcodes: thermal by driven, and other runs by one run.

    Parameters
    ----------
    warm, other
        Barcodes (sample, element) of thermal and of driven samples.
    near, member
        As of ``sum_pairs``.
    draws
        Resamples.

    Returns
    -------
    ratio, control
        Ratios (resample,). The control treats each thermal run as the driven one, and
        averages over runs.
    """
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
            one = np.divide(
                total[:, r], count[:, r], where=count[:, r] > 0, out=np.zeros(len(near))
            )
            reference = np.where(both > 0, (rest @ total.T) / n_rest, 0.0)
            value = (both * reference).sum(axis=1) / (both * one).sum(axis=1)
            parts.append((value, draws.runs[:, r] * np.isfinite(value)))
        values, weights = (np.stack(part) for part in zip(*parts, strict=True))
        control = (weights * np.nan_to_num(values)).sum(axis=0) / weights.sum(axis=0)
    return ratio, control


def split_difference(near: BoolArray, warm: FloatArray, first: BoolArray) -> float:
    """Compare the mean barcodes of two parts of the thermal samples.

    Each part is averaged at the energies of those driven samples that both can match.

    Parameters
    ----------
    near
        Whether energies are equal (driven, thermal).
    warm
        Barcodes (thermal, element).
    first
        Whether a sample is in the first part (thermal,).

    Returns
    -------
    std
        Standard deviation over elements of the difference; NaN if no energies match.
    """
    one, other = near & first, near & ~first
    both = one.any(axis=1) & other.any(axis=1)
    if not both.any():
        return float("nan")
    means = [(half[both] @ warm) / half[both].sum(axis=1)[:, None] for half in (one, other)]
    return float((means[0] - means[1]).mean(axis=0).std())


def halvings(n_runs: int) -> list[tuple[int, ...]]:
    """Return ways to halve the runs: all, or some of them evenly spaced.

    Parameters
    ----------
    n_runs
        Number of runs.

    Examples
    --------
    >>> halvings(4)
    [(0, 1), (0, 2), (0, 3)]
    """
    # the second half of the combinations of an even number are the other halves
    n_ways = comb(n_runs, n_runs // 2) // (1 if n_runs % 2 else 2)
    step = -(-n_ways // MAX_HALVINGS)
    return list(islice(combinations(range(n_runs), n_runs // 2), 0, n_ways, step))


def counting_noise(
    thermal: Barcodes, driven: Barcodes, near: BoolArray, columns: BoolArray
) -> float:
    """Compute the standard deviation of delta s that counting alone gives.

    With c = 1/n + 1/n' for the numbers n, n' of atoms in elements, the covariance of
    delta s is c (diag(s) - s s^T). The mean variance over K elements is its trace / K
    minus its sum / K^2.

    Parameters
    ----------
    thermal, driven
        Barcodes.
    near
        Whether energies are equal (driven, thermal).
    columns
        Elements of the group (element,).

    Returns
    -------
    noise
        Root mean square over pairs.
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
